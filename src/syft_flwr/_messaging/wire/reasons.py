"""The codes for a request without an answer, as they travel and as a strategy's error message shows them."""

from enum import StrEnum

from syft_flwr.errors import (
    AppLoadError,
    AppRaisedError,
    ChangedKeyError,
    EncryptionError,
    IntegrityError,
    LoginError,
    QuotaError,
    RemoteProtocolError,
    StorageError,
    StorageFullError,
    SyftFlwrError,
    TransportError,
    UnavailableError,
    UnknownPeerError,
    WorkerDiedError,
)


class Reason(StrEnum):
    #: Nothing came in time.
    NO_ANSWER = "no-answer"
    #: Enough others had answered, and the time of grace was over.
    LATE = "late"
    #: The peer has published no key, so nothing was sent.
    NO_KEY = "no-key"
    #: The peer's key is not the pinned one, so nothing was sent or believed.
    CHANGED_KEY = "changed-key"
    #: The request, or the answer's arrays, could not be written.
    NOT_SENT = "not-sent"
    #: The sync service set the request aside: no permission to write there.
    SYNC_REFUSED = "sync-refused"
    #: One side encrypts and the other does not, or the body does not open.
    ENCRYPTION = "encryption"
    #: An object is missing, cut or changed.
    INTEGRITY = "integrity"
    #: What arrived breaks the protocol.
    INVALID = "invalid"
    #: No room to write it.
    STORAGE_FULL = "storage-full"
    #: The run was stopped.
    STOPPED = "stopped"
    APP_LOAD = "app-load"
    APP_RAISED = "app-raised"
    WORKER_DIED = "worker-died"


_OF_ERROR: tuple[tuple[type[SyftFlwrError], Reason], ...] = (
    (UnknownPeerError, Reason.NO_KEY),
    (ChangedKeyError, Reason.CHANGED_KEY),
    (EncryptionError, Reason.ENCRYPTION),
    (IntegrityError, Reason.INTEGRITY),
    (RemoteProtocolError, Reason.INVALID),
    (AppLoadError, Reason.APP_LOAD),
    (AppRaisedError, Reason.APP_RAISED),
    (WorkerDiedError, Reason.WORKER_DIED),
    (StorageFullError, Reason.STORAGE_FULL),
    (UnavailableError, Reason.NOT_SENT),
    (QuotaError, Reason.NOT_SENT),
    (LoginError, Reason.NOT_SENT),
    (TransportError, Reason.INTEGRITY),
    (StorageError, Reason.INTEGRITY),
)


def reason_of(error: SyftFlwrError, *, default: Reason = Reason.INVALID) -> Reason:
    """Return the code of the most specific class that the table lists."""
    return next((reason for kind, reason in _OF_ERROR if isinstance(error, kind)), default)
