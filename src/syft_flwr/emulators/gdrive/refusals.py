"""The refusals that faults make."""

from datetime import timedelta
from email.utils import format_datetime

from syft_flwr.clock import Clock
from syft_flwr.emulators.gdrive import drive_errors
from syft_flwr.emulators.gdrive.drive_errors import DriveError
from syft_flwr.emulators.gdrive.faults import Fault
from syft_flwr.emulators.gdrive.quota import PAGE

_REASONS = {500: "internalError", 502: "badGateway", 503: "backendError", 504: "gatewayTimeout"}
_REFUSALS = {
    "sharing_limit": drive_errors.sharing_limit,
    "storage_full": drive_errors.storage_full,
    "unauthorized": drive_errors.bad_token,
    "upload_limit": drive_errors.upload_limit,
}
#: The kinds of faults that answer a call of the API with a refusal.
KINDS = ("error", "rate_limit", *_REFUSALS)


def refusal(fault: Fault, clock: Clock) -> DriveError:
    """Return what a fault of one of these kinds answers with."""
    parameters = fault.parameters
    if fault.kind in _REFUSALS:
        return _REFUSALS[fault.kind]()
    headers = _retry_after(parameters["retry_after"], clock)
    if fault.kind == "rate_limit" and parameters["answer"] == "403":
        return drive_errors.user_rate_limit(headers)
    if fault.kind == "rate_limit":
        return drive_errors.rate_limit(headers, PAGE if parameters["answer"] == "429-html" else None)
    status = parameters["status"]
    reason = parameters["reason"] or _REASONS.get(status, "backendError")
    message = parameters["message"] or "Backend Error"
    return DriveError(status, reason, message, headers=headers, page=parameters["page"])


def _retry_after(said: int | str | None, clock: Clock) -> dict[str, str]:
    """Return the header for so many seconds, or for ``date`` the time in two seconds."""
    if said is None:
        return {}
    if said == "date":
        return {"Retry-After": format_datetime(clock.now() + timedelta(seconds=2), usegmt=True)}
    return {"Retry-After": str(said)}
