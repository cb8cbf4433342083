"""Translates Google's error responses: into another attempt, or into an error with a hint for a person.

This module parses the body itself, because Google's client library drops the reason if the body has other details. A
body can be missing, or be HTML; then only the status counts. A reason is shown only if it has the form of one.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from syft_flwr.errors import (
    LoginError,
    NotFoundError,
    QuotaError,
    RefusedError,
    StorageFullError,
    TransportError,
)
from syft_flwr.transport._gdrive.api.retry import RetryableError

_REASON = re.compile(r"[A-Za-z][A-Za-z_]{0,63}")
_SECONDS = re.compile(r"[0-9]{1,9}")
_SERVER_ERROR, _TOO_MANY, _TIMEOUT = 500, 429, 408

LOGIN_HINT = "Run `syft-flwr login`."
_SCOPE_HINT = f"{LOGIN_HINT} Allow access to Google Drive when Google asks."
_DAY_HINT = "Start again after midnight, Pacific time, when daily quotas are renewed; sharing quotas are renewed within 24 hours."

_RATE = frozenset({"rateLimitExceeded", "userRateLimitExceeded"})

_ERRORS: dict[str, tuple[type[TransportError], str, str]] = {
    "dailyLimitExceeded": (QuotaError, "the project has used up its calls for today", _DAY_HINT),
    "quotaExceeded": (QuotaError, "a quota is used up", _DAY_HINT),
    "sharingRateLimitExceeded": (QuotaError, "the account has reached its limit for sharing", _DAY_HINT),
    "storageQuotaExceeded": (
        StorageFullError,
        "the account's storage is full",
        "Delete files and empty the trash at https://drive.google.com, or buy storage; `syft-flwr gc` deletes the files of crashed runs.",
    ),
    "activeItemCreationLimitExceeded": (
        StorageFullError,
        "the account has as many files as Google allows",
        "Delete files and empty the trash at https://drive.google.com.",
    ),
    "numChildrenInNonRootLimitExceeded": (
        StorageFullError,
        "the folder has as many files as Google allows",
        "Run `syft-flwr gc`, or use another app name.",
    ),
    "myDriveHierarchyDepthLimitExceeded": (
        StorageFullError,
        "the folder is nested too deeply",
        "Move it closer to the top of My Drive.",
    ),
    "insufficientFilePermissions": (
        RefusedError,
        "the account has no permission for this",
        "Ask the owner of the file for access, or log in with another account.",
    ),
    "ACCESS_TOKEN_SCOPE_INSUFFICIENT": (LoginError, "the login does not allow access to Google Drive", _SCOPE_HINT),
    "insufficientPermissions": (LoginError, "the login does not allow access to Google Drive", _SCOPE_HINT),
    "insufficientScopes": (LoginError, "the login does not allow access to Google Drive", _SCOPE_HINT),
    "appNotAuthorizedToFile": (LoginError, "the login allows access to some files only", _SCOPE_HINT),
    "accessNotConfigured": (
        RefusedError,
        "the Drive API is not enabled in the Google Cloud project of this login",
        "Enable the Google Drive API in the project's console, wait five minutes, then start again.",
    ),
    "domainPolicy": (
        RefusedError,
        "the rules of the account's organisation forbid it",
        "Ask the administrator of the organisation to allow it.",
    ),
    "invalidSharingRequest": (
        RefusedError,
        "the file cannot be shared with this email",
        "Check that the email is that of a Google account, and that the organisation allows sharing with it.",
    ),
    "cannotDownloadAbusiveFile": (RefusedError, "Google treats the file as harmful", "Ask its owner to send it again."),
}


@dataclass(frozen=True, slots=True)
class Refusal:
    """An error response of Google."""

    status: int
    reasons: tuple[str, ...] = ()
    #: The parameter that was wrong, if Google names one.
    location: str = ""
    #: Seconds to wait, if the response asks for that.
    after: float | None = None

    @property
    def retryable(self) -> bool:
        return self.status >= _SERVER_ERROR or self.status == _TIMEOUT or self.rate

    @property
    def named(self) -> bool:
        """Return whether the response has a known reason that another attempt does not remove."""
        return not _ERRORS.keys().isdisjoint(self.reasons)

    @property
    def rate(self) -> bool:
        return (self.status == _TOO_MANY and not self.named) or (
            self.status == 403 and not _RATE.isdisjoint(self.reasons)
        )

    def again(self) -> RetryableError:
        """Return the error that asks for another attempt."""
        if self.rate:
            # Drive sends the same response when an account has uploaded its 750 GB of a day.
            hint = "Use this account for fewer participants at the same time; if this continues, try again tomorrow."
            return RetryableError("too many requests", after=self.after, rate=True, hint=hint)
        return RetryableError(f"the service failed (HTTP {self.status})", after=self.after)

    def error(self, what: str) -> TransportError:
        """Return the TransportError for this refusal; ``what`` names the call."""
        for reason in self.reasons:
            if reason in _ERRORS:
                kind, text, hint = _ERRORS[reason]
                return kind(f"Google Drive: {what}: {text}", hint=hint)
        if self.status == 404:
            return NotFoundError(f"Google Drive: {what}: the file does not exist, or is not shared with this account")
        shown = f"HTTP {self.status}{f', {self.reasons[0]}' if self.reasons else ''}"
        if self.status == 401:
            return LoginError(f"Google Drive: {what}: Google does not accept the login ({shown})", hint=LOGIN_HINT)
        kind = RefusedError if self.status == 403 else TransportError
        hint = "Start again. If this happens again, report the call and the status in this message."
        return kind(f"Google Drive: {what}: Google refused the call ({shown})", hint=hint)


def read_refusal(status: int, headers: Mapping[str, str], body: bytes, now: datetime) -> Refusal:
    """Parse an error response; ``now`` is needed for a Retry-After header with a date."""
    reasons, location = _read_body(body)
    return Refusal(status, reasons, location, _retry_after(headers.get("retry-after", ""), now))


def _read_body(body: bytes) -> tuple[tuple[str, ...], str]:
    try:
        error = json.loads(body)["error"]
        errors = error.get("errors") or []
        details = error.get("details") or []
        found = [item.get("reason") for item in [*details, *errors]]
        location = next((item["location"] for item in errors if "location" in item), "")
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return (), ""
    reasons = tuple(reason for reason in found if isinstance(reason, str) and _REASON.fullmatch(reason))
    return reasons, location if isinstance(location, str) else ""


def _retry_after(value: str, now: datetime) -> float | None:
    value = value.strip()
    if _SECONDS.fullmatch(value):
        return float(value)
    try:
        moment = parsedate_to_datetime(value)
    except (ValueError, TypeError, IndexError):
        return None
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return max(0.0, (moment - now).total_seconds())
