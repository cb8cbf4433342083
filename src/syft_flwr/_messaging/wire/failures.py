"""The failures that a data owner sends in place of a reply: all texts that leave its machine are made here.

Such a text carries no path, name of a user, value or free space of the machine. So the text of an exception never leaves:
the aggregator gets the meaning of its class, or the text that its maker wrote for peers (``error.told``). The log and the
record of the data owner have the whole text. Only the setting ``share_tracebacks`` of the data owner sends more.
"""

from syft_flwr._messaging.wire.body import Body, Seconds, failure
from syft_flwr._messaging.wire.limits import MAX_OPEN_RUNS, MAX_WAITING, MAX_WAITING_BYTES
from syft_flwr._messaging.wire.reasons import Reason, reason_of
from syft_flwr.errors import (
    AppError,
    AppLoadError,
    ConfigError,
    EncryptionError,
    IntegrityError,
    LocalProtocolError,
    RemoteProtocolError,
    RunError,
    StorageError,
    StorageFullError,
    StoreError,
    SyftFlwrError,
    TransportError,
    TrustError,
)

#: The meaning of each class of errors for an aggregator; the first class that fits counts.
_MEANINGS: dict[type[SyftFlwrError], str] = {
    EncryptionError: "encryption is on for one side only, or the body cannot be decrypted",
    IntegrityError: "an object of the message is missing, cut off or changed",
    RemoteProtocolError: "the message does not follow the protocol",
    LocalProtocolError: "the reply is not allowed by the protocol",
    AppLoadError: "the ClientApp cannot be loaded",
    AppError: "the ClientApp gave no valid reply",
    TrustError: "the key of a participant cannot be trusted",
    StorageFullError: "no room left on a disk or in the account of the data owner",
    TransportError: "an object or a file cannot be transferred at the data owner",
    StorageError: "an object or a file on the disk of the data owner cannot be used",
    StoreError: "a private file of the data owner cannot be used",
    ConfigError: "a setting of the data owner is wrong",
    RunError: "the run failed at the data owner",
}


def told_by(error: SyftFlwrError) -> str:
    """Return the text of an error for a peer."""
    kind = next((each for each in _MEANINGS if isinstance(error, each)), SyftFlwrError)
    return error.told or _MEANINGS.get(kind, "the client of the data owner failed")


def of_error(error: SyftFlwrError, reference: str = "", seconds: Seconds | None = None) -> Body:
    """Return the failure for an error of this package."""
    return failure(reason_of(error), told_by(error), reference, seconds)


def of_reply(error: LocalProtocolError, seconds: Seconds | None) -> Body:
    """Return the failure for a reply that the protocol forbids."""
    return failure(Reason.INVALID, told_by(error), seconds=seconds)


def raised(name: str, reference: str = "") -> Body:
    """Return the failure for an exception of the app; ``name`` is that of its class."""
    return failure(Reason.APP_RAISED, f"the ClientApp raised {name}", reference)


def raised_with(traceback: str, reference: str) -> Body:
    """Return the failure for an exception of the app with its traceback, which ``share_tracebacks`` allows."""
    return failure(Reason.APP_RAISED, traceback, reference)


def not_loaded(cause: str) -> Body:
    """Return the failure for an app that cannot be loaded; ``cause`` names an exception and a module, or an exit."""
    return failure(Reason.APP_LOAD, f"the ClientApp cannot be loaded: {cause}")


def died(cause: str) -> Body:
    """Return the failure for a worker that ended; ``cause`` is its exit status, its signal, or the class of an exception."""
    return failure(Reason.WORKER_DIED, f"the ClientApp's process ended in the middle of the message ({cause})")


def deadly(deaths: int) -> Body:
    """Return the failure for a request that has killed the client too often."""
    return failure(
        Reason.WORKER_DIED,
        f"the client itself was killed {deaths} times while its app worked on this message, so it is not tried again. "
        "Usually, the app needs more memory than the machine or the container has",
    )


def stopped() -> Body:
    """Return the failure for a request that the end of the client leaves without work."""
    return failure(Reason.STOPPED, "the data owner stopped")


def stopped_while_running() -> Body:
    """Return the failure for a request that the end of the client interrupts."""
    return failure(Reason.STOPPED, "the data owner stopped while the app ran")


def withdrawn() -> Body:
    """Return the reply to a request that was withdrawn in the middle of its work. Only the data owner's log has it."""
    return failure(Reason.STOPPED, "the request was withdrawn, so its work was ended")


def withdrawn_early() -> Body:
    """Return the reply to a request that was withdrawn before its work. Only the data owner's log has it."""
    return failure(Reason.STOPPED, "the request was withdrawn before its objects were downloaded")


def run_over(*, crowded_out: bool = False) -> Body:
    """Return the failure for a request of a run that has ended, also if later runs of the aggregator ended it."""
    why = f": its aggregator began {MAX_OPEN_RUNS} later runs here without an end" if crowded_out else ""
    return failure(Reason.STOPPED, f"this run is over{why}")


def too_many() -> Body:
    """Return the failure for a request that finds too many waiting ones."""
    return failure(
        Reason.INVALID,
        f"too many requests of this aggregator wait for the app; at most {MAX_WAITING}, and {MAX_WAITING_BYTES} bytes in "
        "them, are allowed",
    )


def late() -> Body:
    """Return the failure for a request with a lifetime that ended before its work."""
    return failure(Reason.NO_ANSWER, "its lifetime was over before the app was free for it")


def late_while_running(seconds: Seconds | None) -> Body:
    """Return the failure for a request with a lifetime that ended during its work."""
    text = "its lifetime was over while the app worked on it, so the work was ended"
    return failure(Reason.NO_ANSWER, text, seconds=seconds)
