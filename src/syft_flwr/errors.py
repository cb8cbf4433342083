"""Every exception of this package.

::

    SyftFlwrError
    ├── ConfigError                a setting is missing or wrong; names it, where it came from, what is allowed
    ├── StorageError               a file on the disk of this machine
    │   ├── NotFoundError
    │   ├── TooLargeError
    │   └── StorageFullError
    ├── TransportError             the folder or service between the participants
    │   ├── NotFoundError
    │   ├── TooLargeError          refused before it was read
    │   ├── ConflictError          the name exists with other bytes; files are written once
    │   ├── RefusedError           the service would not do it for us (no permission)
    │   ├── LoginError             no login to the service, or one that is no longer good
    │   ├── QuotaError             a daily quota of the service is used up
    │   ├── UnavailableError       the service could not be reached, or stayed busy
    │   └── StorageFullError
    ├── StoreError                 a file of our own state cannot be used
    ├── TrustError                 who a peer is
    │   ├── UnknownPeerError       the peer has published no key yet
    │   └── ChangedKeyError        the peer's key is not the pinned one
    ├── LocalProtocolError         we were asked to send what the protocol does not allow
    ├── RemoteProtocolError        what a peer wrote is not accepted
    │   ├── IncompleteError        not all of it has arrived; look again later
    │   ├── MalformedError
    │   ├── SignatureError         not signed by the pinned key of the peer that it names
    │   ├── AddressError           of another sender, recipient, app, run or request
    │   ├── ExpiredError
    │   ├── EncryptionError        plaintext where encryption is on, the reverse, or not decryptable
    │   └── IntegrityError         an object's bytes are not what its envelope announced
    ├── AppError                   the user's ClientApp
    │   ├── AppLoadError
    │   ├── AppRaisedError         raised, or returned what is no reply
    │   └── WorkerDiedError        its process ended in the middle of a message
    └── RunError                   the run as a whole failed

``except TransportError`` around a transport catches everything that it raises, also where its storage is a folder of
this disk. ``except StorageError`` around our own files says that the disk failed, not the exchange. Three outcomes are the
same for both, and their classes have both parents.

Two questions are answered by the type: whose fault it is (Local, Remote), and whether trying again can help
(``transient``). ``str(error)`` says what happened and to which object; ``hint`` says what a person can do about it.
"""

#: What a person can do where our own state cannot be written.
HOME_HINT = "Set SYFT_FLWR_HOME to a folder that this user may write to, with room on its disk."
#: Characters of a value that an error shows.
_SHOWN = 80


class SyftFlwrError(Exception):
    """Base of every exception that this package raises on purpose."""

    #: The same call may succeed later with nothing changed by a person.
    transient = False

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint

    def diagnose(self) -> str:
        """What happened and what to do, for a person."""
        return f"{self}\n  {self.hint}" if self.hint else str(self)


class ConfigError(SyftFlwrError):
    @classmethod
    def not_allowed(cls, what: str, value: object, allowed: str) -> "ConfigError":
        """Return the error for the value of the setting ``what``; a long value is cut."""
        shown = repr(value)
        if len(shown) > _SHOWN:
            shown = f"{shown[:_SHOWN]}…"
        return cls(f"{what}: {shown} is not allowed", hint=f"Allowed: {allowed}.")


class StorageError(SyftFlwrError):
    pass


class TransportError(SyftFlwrError):
    pass


class NotFoundError(TransportError, StorageError):
    transient = True


class TooLargeError(TransportError, StorageError):
    pass


class ConflictError(TransportError):
    pass


class RefusedError(TransportError):
    pass


class LoginError(TransportError):
    pass


class QuotaError(TransportError):
    transient = True


class UnavailableError(TransportError):
    transient = True


class StorageFullError(TransportError, StorageError):
    transient = True


class StoreError(SyftFlwrError):
    pass


class TrustError(SyftFlwrError):
    pass


class UnknownPeerError(TrustError):
    transient = True


class ChangedKeyError(TrustError):
    pass


class LocalProtocolError(SyftFlwrError):
    pass


class RemoteProtocolError(SyftFlwrError):
    pass


class IncompleteError(RemoteProtocolError):
    transient = True


class MalformedError(RemoteProtocolError):
    pass


class SignatureError(RemoteProtocolError):
    pass


class AddressError(RemoteProtocolError):
    pass


class ExpiredError(RemoteProtocolError):
    pass


class EncryptionError(RemoteProtocolError):
    pass


class IntegrityError(RemoteProtocolError):
    pass


class AppError(SyftFlwrError):
    pass


class AppLoadError(AppError):
    pass


class AppRaisedError(AppError):
    pass


class WorkerDiedError(AppError):
    pass


class RunError(SyftFlwrError):
    pass
