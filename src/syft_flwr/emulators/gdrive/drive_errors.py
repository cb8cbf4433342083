"""Error responses with the JSON body that Drive sends.

The texts, the order of the fields and the presence of ``location`` are copied from responses of the real service.
"""

import json
from collections.abc import Mapping
from typing import Any

_LIMITS = "usageLimits"
#: The page that Google's front end sends to a client with too many requests.
RATE_LIMIT_PAGE = "<!DOCTYPE html>\n<html><head><title>Sorry...</title></head><body>We're sorry...</body></html>\n"


class DriveError(Exception):
    """An error response of Drive.

    Attributes:
        status: HTTP status.
        reason: reason code in the JSON body, such as ``notFound``.
        headers: headers of the response, such as ``Retry-After``.
        page: HTML body instead of JSON, as proxies in front of Drive send; None for JSON.
    """

    def __init__(
        self,
        status: int,
        reason: str,
        message: str,
        *,
        domain: str = "global",
        at: tuple[str, str] | None = None,
        short: str | None = None,
        canonical: str | None = None,
        details: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        page: str | None = None,
    ) -> None:
        super().__init__(f"{status} {reason}: {message}")
        self.status = status
        self.reason = reason
        self.headers = dict(headers or {})
        self.page = page
        one: dict[str, Any] = {"message": short or message, "domain": domain, "reason": reason}
        if at:
            one["location"], one["locationType"] = at
        self._error: dict[str, Any] = {"code": status, "message": message, "errors": [one]}
        if canonical:
            self._error["status"] = canonical
        if details:
            self._error["details"] = [dict(details)]

    @property
    def content_type(self) -> str:
        return "text/html; charset=UTF-8" if self.page is not None else "application/json; charset=UTF-8"

    def body(self) -> bytes:
        if self.page is not None:
            return self.page.encode()
        return (json.dumps({"error": self._error}, indent=2) + "\n").encode()


def not_found(file_id: str) -> DriveError:
    """Return the error for a missing file; Drive sends the same one for a file without access."""
    return DriveError(404, "notFound", f"File not found: {file_id}.", at=("fileId", "parameter"))


def permission_not_found(permission_id: str) -> DriveError:
    return DriveError(404, "notFound", f"Permission not found: {permission_id}.", at=("permissionId", "parameter"))


def no_such_page(path: str) -> DriveError:
    page = f"<!DOCTYPE html>\n<html lang=en>\n<title>Error 404 (Not Found)!!1</title>\n<p>{len(path)} characters.\n"
    return DriveError(404, "notFound", "Not Found", page=page)


def forbidden() -> DriveError:
    message = "The user does not have sufficient permissions for this file."
    return DriveError(403, "insufficientFilePermissions", message)


def invalid(parameter: str, message: str = "Invalid Value", reason: str = "invalid") -> DriveError:
    return DriveError(400, reason, message, at=(parameter, "parameter"))


def invalid_field(name: str) -> DriveError:
    return invalid("fields", f"Invalid field selection {name}", "invalidParameter")


def required(parameter: str) -> DriveError:
    return invalid(parameter, f"The '{parameter}' parameter is required for this method.", "required")


def no_order() -> DriveError:
    message = (
        "Sorting is not supported for queries with fullText terms. Results are always in descending relevance order."
    )
    return invalid("orderBy", message, "badRequest")


def bad_request(message: str = "Bad Request") -> DriveError:
    return DriveError(400, "badRequest", message)


def id_in_use() -> DriveError:
    return DriveError(409, "fileIdInUse", "A file already exists with the provided ID.")


def unusable_id() -> DriveError:
    return DriveError(400, "invalid", "The provided file ID is not usable.", at=("file.id", "other"))


_SIGN_IN = (
    "Expected OAuth 2 access token, login cookie or other valid authentication credential. "
    "See https://developers.google.com/identity/sign-in/web/devconsole-project."
)


def bad_token() -> DriveError:
    message = f"Request had invalid authentication credentials. {_SIGN_IN}"
    return DriveError(
        401,
        "authError",
        message,
        at=("Authorization", "header"),
        short="Invalid Credentials",
        canonical="UNAUTHENTICATED",
    )


def no_token(method: str) -> DriveError:
    return DriveError(
        401,
        "required",
        f"Request is missing required authentication credential. {_SIGN_IN}",
        at=("Authorization", "header"),
        short="Login Required.",
        canonical="UNAUTHENTICATED",
        details=_info("CREDENTIALS_MISSING", method),
    )


def scope_missing(method: str) -> DriveError:
    return DriveError(
        403,
        "insufficientPermissions",
        "Request had insufficient authentication scopes.",
        short="Insufficient Permission",
        canonical="PERMISSION_DENIED",
        details=_info("ACCESS_TOKEN_SCOPE_INSUFFICIENT", method),
    )


def spaces_not_granted() -> DriveError:
    message = "The granted scopes do not give access to all of the requested spaces."
    return DriveError(403, "insufficientScopes", message, at=("spaces", "parameter"))


def no_account(email: str) -> DriveError:
    """Return the error for sharing without a notification mail, if the address has no account."""
    message = (
        f'Bad Request. User message: "You are trying to invite {email}. Since there is no Google account associated with '
        'this email address, you must check the "Notify people" box to invite this recipient."'
    )
    return DriveError(400, "invalidSharingRequest", message)


def not_emulated(path: str) -> DriveError:
    """Return the error for a method of Drive that the emulator does not implement."""
    return DriveError(501, "notImplemented", f"The emulator does not implement this method: {path}")


def _info(reason: str, method: str) -> dict[str, Any]:
    resource, _, verb = method.partition(".")
    full = f"google.apps.drive.v3.Drive{resource.capitalize()}.{verb[:1].upper()}{verb[1:]}"
    return {
        "@type": "type.googleapis.com/google.rpc.ErrorInfo",
        "reason": reason,
        "domain": "googleapis.com",
        "metadata": {"method": full, "service": "drive.googleapis.com"},
    }


def app_not_authorized(client: str, file_id: str) -> DriveError:
    message = f"The user has not granted the app {client} write access to the file {file_id}."
    return DriveError(403, "appNotAuthorizedToFile", message)


def user_rate_limit(headers: Mapping[str, str] | None = None) -> DriveError:
    return DriveError(403, "userRateLimitExceeded", "User Rate Limit Exceeded", domain=_LIMITS, headers=headers)


def rate_limit(headers: Mapping[str, str] | None = None, page: str | None = None) -> DriveError:
    return DriveError(429, "rateLimitExceeded", "Rate Limit Exceeded", domain=_LIMITS, headers=headers, page=page)


def upload_limit() -> DriveError:
    """Return the error for the daily limit on uploaded bytes; it looks like a rate limit but lasts all day."""
    return DriveError(403, "userRateLimitExceeded", "User rate limit exceeded.", domain=_LIMITS)


def sharing_limit() -> DriveError:
    message = 'Rate limit exceeded. User message: "Sorry, you have exceeded your sharing quota."'
    return DriveError(403, "sharingRateLimitExceeded", message)


def storage_full() -> DriveError:
    message = "The user's Drive storage quota has been exceeded."
    return DriveError(403, "storageQuotaExceeded", message, domain=_LIMITS)
