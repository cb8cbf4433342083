"""The exceptions of this package, with their meaning.

::

    SyftFlwrError
    ├── ConfigError                a setting is missing or wrong; the text names it, its source and the allowed values
    ├── StorageError               a file on the disk of this machine cannot be read or written
    │   ├── NotFoundError          the file does not exist, or not yet
    │   ├── TooLargeError          the file is over its size limit; it was not read
    │   └── StorageFullError       the disk is full
    ├── TransportError             the folder or service between the participants failed
    │   ├── NotFoundError          the file does not exist, or not yet
    │   ├── TooLargeError          the file is over its size limit; it was not read
    │   ├── ConflictError          the name exists with other bytes; each file is written once
    │   ├── RefusedError           the service denied permission
    │   ├── LoginError             the login to the service is missing or not valid any more
    │   ├── QuotaError             a daily quota of the service is used up
    │   ├── UnavailableError       the service could not be reached, or stayed busy
    │   └── StorageFullError       the disk or the account of the service is full
    ├── StoreError                 a private file of this participant is damaged, not accessible or in use
    ├── TrustError                 the key of a peer cannot be trusted
    │   ├── UnknownPeerError       the peer has not published a key yet
    │   └── ChangedKeyError        the key of the peer is not the pinned one
    ├── LocalProtocolError         this participant tried to send something that the protocol forbids
    ├── RemoteProtocolError        a file of a peer breaks the protocol and is refused
    │   ├── IncompleteError        a part of the file has not arrived yet; try again later
    │   ├── MalformedError         the file does not have the form of the protocol
    │   ├── SignatureError         the file is not signed by the pinned key of its sender
    │   ├── AddressError           the file belongs to another sender, recipient, app, run or request
    │   ├── ExpiredError           the message is past its time limit
    │   ├── EncryptionError        encryption is on for one side only, or the body cannot be decrypted
    │   └── IntegrityError         the bytes of an object differ from its envelope
    ├── AppError                   the user's app failed
    │   ├── AppLoadError           an app cannot be imported
    │   └── AppRaisedError         it raised an exception, or did not return a valid reply
    └── RunError                   the run as a whole failed

``except TransportError`` around a call of a transport catches every error of the transport, even if its storage is a
folder on this disk. ``except StorageError`` around private files catches errors of the disk. Three classes can occur in
both cases and have both parents.

The type tells which side made the mistake (Local, Remote). ``transient`` tells whether a retry can help. ``str(error)``
names the problem and the file or participant. ``hint`` tells a person what to do. Both may quote a peer, so characters that
control a terminal or hide text are escaped in them. Neither leaves this machine in a reply, unless its message ``travels``:
peers get ``told``, or the meaning of the class.
"""

from syft_flwr.text import escaped

#: Hint for errors of files in the participant's home.
HOME_HINT = "Set SYFT_FLWR_HOME to a folder that this user may write to, with room on its disk."
#: Characters of a value that an error text shows.
_SHOWN = 80


class SyftFlwrError(Exception):
    """Base class of all exceptions of this package."""

    #: The same call may succeed later, without a change by a person.
    transient = False

    def __init__(self, message: str, *, hint: str = "", travels: bool = False, told: str = "") -> None:
        message, hint = escaped(message), escaped(hint)
        super().__init__(message)
        self.hint = hint
        #: The text for peers, without a path, name of a user or value of this machine; empty for the meaning of the class.
        self.told = message if travels else told
        if hint:
            # Python and notebooks show it below the traceback.
            self.add_note(hint)

    def diagnose(self) -> str:
        """Return the message and, if it is set, the hint on a second line."""
        return f"{self}\n  {self.hint}" if self.hint else str(self)


def shown_repr(value: object) -> str:
    """Return a value of any type as short text for an error."""
    try:
        text = repr(value)
    except (ValueError, RecursionError):
        # An integer of very many digits, which TOML can have in another base, or a deep table.
        text = f"a {type(value).__name__}"
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"


class ConfigError(SyftFlwrError):
    @classmethod
    def not_allowed(cls, what: str, value: object, allowed: str) -> "ConfigError":
        """Return the error for a wrong ``value`` of the setting ``what``; a long value is shortened."""
        return cls(f"{what}: {shown_repr(value)} is not allowed", hint=f"Allowed: {allowed}.")


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


class RunError(SyftFlwrError):
    pass
