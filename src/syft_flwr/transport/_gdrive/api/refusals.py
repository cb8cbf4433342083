"""The meaning of Google's error answers: try again, or an error with a hint for a person.

The body is parsed here and not by the stock client, which passes over the reason as soon as there are other details.
A body may be missing, HTML or anything else: the status counts then. Only reasons that look like one are ever shown.
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
_DAY_HINT = "Quotas of a day are renewed at midnight, Pacific time; those of sharing within 24 hours. Start again then."

_RATE = frozenset({"rateLimitExceeded", "userRateLimitExceeded"})

_ERRORS: dict[str, tuple[type[TransportError], str, str]] = {
    "dailyLimitExceeded": (QuotaError, "the project's calls of this day are used up", _DAY_HINT),
    "quotaExceeded": (QuotaError, "a quota is used up", _DAY_HINT),
    "sharingRateLimitExceeded": (QuotaError, "the account may share nothing more for now", _DAY_HINT),
    "storageQuotaExceeded": (
        StorageFullError,
        "the account's storage is full",
        "Delete files and empty the trash at https://drive.google.com, or buy storage; `syft-flwr gc` removes what runs left.",
    ),
    "activeItemCreationLimitExceeded": (
        StorageFullError,
        "the account has as many files as Google allows",
        "Delete files.",
    ),
    "numChildrenInNonRootLimitExceeded": (
        StorageFullError,
        "the folder has as many files as Google allows",
        "Run `syft-flwr gc`, or use another app name.",
    ),
    "myDriveHierarchyDepthLimitExceeded": (
        StorageFullError,
        "the folder lies too deep",
        "Move it nearer to the top of My Drive.",
    ),
    "insufficientFilePermissions": (
        RefusedError,
        "the account has no permission for it",
        "Ask its owner, or take another account.",
    ),
    "ACCESS_TOKEN_SCOPE_INSUFFICIENT": (LoginError, "the login does not allow access to Google Drive", _SCOPE_HINT),
    "insufficientPermissions": (LoginError, "the login does not allow access to Google Drive", _SCOPE_HINT),
    "insufficientScopes": (LoginError, "the login does not allow access to Google Drive", _SCOPE_HINT),
    "appNotAuthorizedToFile": (LoginError, "the login allows access to some files only", _SCOPE_HINT),
    "accessNotConfigured": (
        RefusedError,
        "the Google Cloud project of this login has no Drive API",
        "Enable the Google Drive API in the project's console, wait five minutes, start again.",
    ),
    "domainPolicy": (RefusedError, "the rules of the account's organisation forbid it", "Ask its administrator."),
    "invalidSharingRequest": (
        RefusedError,
        "it cannot be shared with that person",
        "The email must be that of a Google account, and the organisation must allow sharing with it.",
    ),
    "cannotDownloadAbusiveFile": (RefusedError, "Google took the file for harmful", "Its owner must send it again."),
}


@dataclass(frozen=True, slots=True)
class Refusal:
    """An answer that is no success."""

    status: int
    reasons: tuple[str, ...] = ()
    #: The parameter that was wrong, if Google names one.
    location: str = ""
    #: Seconds to wait, if it says so.
    after: float | None = None

    @property
    def retryable(self) -> bool:
        return self.status >= _SERVER_ERROR or self.status == _TIMEOUT or self.rate

    @property
    def named(self) -> bool:
        """Whether Google gives a reason that says what is wrong, and that stays wrong."""
        return not _ERRORS.keys().isdisjoint(self.reasons)

    @property
    def rate(self) -> bool:
        return (self.status == _TOO_MANY and not self.named) or (
            self.status == 403 and not _RATE.isdisjoint(self.reasons)
        )

    def again(self) -> RetryableError:
        """Make what says that a later attempt may succeed."""
        if self.rate:
            # Drive says the same when the 750 GB that an account may upload in a day are used up.
            hint = "Fewer participants should use this account at once; if it goes on, try again tomorrow."
            return RetryableError("too many requests", after=self.after, rate=True, hint=hint)
        return RetryableError(f"the service has a fault (HTTP {self.status})", after=self.after)

    def error(self, what: str) -> TransportError:
        """Make the error of ours that ``what``, the call, ends with."""
        for reason in self.reasons:
            if reason in _ERRORS:
                kind, text, hint = _ERRORS[reason]
                return kind(f"Google Drive: {what}: {text}", hint=hint)
        if self.status == 404:
            return NotFoundError(f"Google Drive: {what}: it is not there, or not shared with this account")
        shown = f"HTTP {self.status}{f', {self.reasons[0]}' if self.reasons else ''}"
        if self.status == 401:
            return LoginError(f"Google Drive: {what}: Google does not accept the login ({shown})", hint=LOGIN_HINT)
        kind = RefusedError if self.status == 403 else TransportError
        return kind(f"Google Drive: {what}: Google refused it ({shown})")


def read_refusal(status: int, headers: Mapping[str, str], body: bytes, now: datetime) -> Refusal:
    """Read an error answer."""
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
