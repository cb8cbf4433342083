"""The codes of failed requests, as they are in replies and in the error messages of a strategy."""

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
)


class Reason(StrEnum):
    """The code of a failed request."""

    #: No reply came in time.
    NO_ANSWER = "no-answer"
    #: Enough other data owners had replied, and the grace period was over.
    LATE = "late"
    #: The peer has published no key, so nothing was sent.
    NO_KEY = "no-key"
    #: The key of the peer is not the pinned one, so nothing was sent or accepted.
    CHANGED_KEY = "changed-key"
    #: The request, or the arrays of the reply, could not be written.
    NOT_SENT = "not-sent"
    #: The sync service refused the request: no permission to write to the datasite.
    SYNC_REFUSED = "sync-refused"
    #: Only one side encrypts, or the body cannot be decrypted.
    ENCRYPTION = "encryption"
    #: An object is missing, cut off or changed.
    INTEGRITY = "integrity"
    #: The message does not follow the protocol.
    INVALID = "invalid"
    #: The disk or the storage quota has no room for the message.
    STORAGE_FULL = "storage-full"
    #: The run was stopped.
    STOPPED = "stopped"
    #: The data owner answered with a reason that only the aggregator may decide: it ended the request itself.
    REFUSED = "refused"
    APP_LOAD = "app-load"
    APP_RAISED = "app-raised"
    #: The app's process ended in the middle of the message, or the client itself was killed on it three times.
    WORKER_DIED = "worker-died"


#: The reasons of requests that the aggregator ended. They tell whether a request counts, so no reply may have one.
OF_AGGREGATOR = frozenset({Reason.LATE, Reason.STOPPED, Reason.NO_KEY, Reason.NOT_SENT, Reason.SYNC_REFUSED})

_OF_ERROR: tuple[tuple[type[SyftFlwrError], Reason], ...] = (
    (UnknownPeerError, Reason.NO_KEY),
    (ChangedKeyError, Reason.CHANGED_KEY),
    (EncryptionError, Reason.ENCRYPTION),
    (IntegrityError, Reason.INTEGRITY),
    (RemoteProtocolError, Reason.INVALID),
    (AppLoadError, Reason.APP_LOAD),
    (AppRaisedError, Reason.APP_RAISED),
    (StorageFullError, Reason.STORAGE_FULL),
    (UnavailableError, Reason.NOT_SENT),
    (QuotaError, Reason.NOT_SENT),
    (LoginError, Reason.NOT_SENT),
    (TransportError, Reason.INTEGRITY),
    (StorageError, Reason.INTEGRITY),
)


def reason_of(error: SyftFlwrError, *, default: Reason = Reason.INVALID) -> Reason:
    """Return the code of ``error``: the first class of the table that fits, or ``default``."""
    return next((reason for kind, reason in _OF_ERROR if isinstance(error, kind)), default)
