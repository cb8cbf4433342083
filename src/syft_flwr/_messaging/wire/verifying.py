"""Verifies the envelopes of a shared folder, in a fixed order: form, address, signature, time.

:func:`read_request` and :func:`read_response` check the form and the address. Thus the caller looks up a key only for
an envelope with its own address. :meth:`Unverified.verify` checks the signature and the time. Only a :class:`Verified`
envelope gives its body. All input is bytes and values; files and databases are in other modules.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from syft_flwr._crypto.keys import Identity, PublicIdentity
from syft_flwr._messaging.wire import body as bodies
from syft_flwr._messaging.wire import envelope as envelopes
from syft_flwr._messaging.wire.body import Body
from syft_flwr._messaging.wire.envelope import Envelope, Header
from syft_flwr._messaging.wire.limits import MAX_LIFETIME
from syft_flwr.clock import SKEW
from syft_flwr.errors import AddressError, ExpiredError


@dataclass(frozen=True, slots=True)
class Verified:
    """An envelope with the right address and a valid signature of its sender."""

    envelope: Envelope
    #: SHA-256 of the file, in hexadecimal.
    digest: str

    @property
    def header(self) -> Header:
        return self.envelope.header

    def open(self, recipient: Identity, *, encryption: bool) -> Body:
        """Return the body.

        Raises:
            EncryptionError: only one side has encryption on, or the body cannot be decrypted.
            MalformedError: the body does not have the form of the protocol.
        """
        return bodies.decode(self.envelope.open(recipient, encryption=encryption))


@dataclass(frozen=True, slots=True)
class Unverified:
    """An envelope with the right form and address, before the check of its signature."""

    envelope: Envelope
    digest: str

    def verify(self, sender: PublicIdentity, *, now: datetime | None = None) -> Verified:
        """Return the verified envelope. The lifetime is checked only if ``now`` is given.

        Raises:
            SignatureError: ``sender`` did not sign it.
            ExpiredError: ``now`` is outside its lifetime, or the lifetime is too long.
        """
        self.envelope.verify(sender)
        if now is not None:
            _require_current(self.envelope.header, now)
        return Verified(self.envelope, self.digest)


def read_request(
    data: bytes, *, email: str, identity: PublicIdentity, sender: str, message_id: str, app: str
) -> Unverified:
    """Read the file of the request ``message_id`` from ``sender`` to ``email`` (keys: ``identity``).

    Raises:
        IncompleteError: the file has not arrived completely.
        MalformedError, AddressError: it is not this request.
    """
    expected = {"kind": "request", "id": message_id, "app": app, "sender": sender, "answers": ""}
    return _read(data, expected, email, identity)


def read_response(
    data: bytes,
    *,
    email: str,
    identity: PublicIdentity,
    sender: str,
    message_id: str,
    app: str,
    run: int,
    kind: str,
    group: str,
    answers: str,
) -> Unverified:
    """Read the file of the reply from ``sender`` to ``email`` (keys: ``identity``).

    ``answers`` is the SHA-256 of the envelope of the request, in hexadecimal. The header of the reply must have it.

    Raises:
        IncompleteError: the file has not arrived completely.
        MalformedError, AddressError: it is not this reply.
    """
    expected = {
        "kind": "response",
        "id": message_id,
        "app": app,
        "sender": sender,
        "run": run,
        "type": kind,
        "group": group,
        "answers": answers,
    }
    return _read(data, expected, email, identity)


def _read(data: bytes, expected: Mapping[str, object], email: str, identity: PublicIdentity) -> Unverified:
    envelope = envelopes.decode(data)
    ours = {"recipient": email, "recipient_key": identity.key_id}
    for name, value in (*expected.items(), *ours.items()):
        if getattr(envelope.header, name) != value:
            old_key = (
                f"The sender uses an older key of {email}. Ask it to run: syft-flwr peers accept {email} FINGERPRINT"
            )
            raise AddressError(f"its {name} is not the expected one", hint=old_key if name == "recipient_key" else "")
    return Unverified(envelope, hashlib.sha256(data).hexdigest())


def _require_current(header: Header, now: datetime) -> None:
    if header.expires + SKEW < now:
        raise ExpiredError(
            f"it expired at {header.expires:%Y-%m-%d %H:%M} UTC",
            hint="If it is a new message, compare the clocks of both machines.",
        )
    if header.created - SKEW > now or header.expires - header.created > MAX_LIFETIME:
        raise ExpiredError("its times cannot be right", hint="Compare the clocks of both machines.")
