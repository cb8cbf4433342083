"""Verifies the envelopes of a shared folder: bytes in, a verified envelope out. No files, no databases.

The order is fixed: form, address, signature, time. :func:`read_request` and :func:`read_response` check form and address,
so that a key is looked up only for an envelope that is addressed to us. :meth:`Unverified.verify` checks the rest. Only a
:class:`Verified` envelope opens its body.
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
    """An envelope with the right address, signed by its sender."""

    envelope: Envelope
    #: SHA-256 of the file, in hexadecimal.
    digest: str

    @property
    def header(self) -> Header:
        return self.envelope.header

    def open(self, recipient: Identity, *, encryption: bool) -> Body:
        """Return the body.

        Raises:
            EncryptionError: the sides disagree about encryption, or it does not open.
            MalformedError: its parts do not add up.
        """
        return bodies.decode(self.envelope.open(recipient, encryption=encryption))


@dataclass(frozen=True, slots=True)
class Unverified:
    """An envelope with the right form and address; its signature is not checked yet."""

    envelope: Envelope
    digest: str

    def verify(self, sender: PublicIdentity, *, now: datetime | None = None) -> Verified:
        """Return the envelope if ``sender`` signed it; with ``now``, only if it is within its lifetime.

        Raises:
            SignatureError, ExpiredError: it is not authentic, or out of its time.
        """
        self.envelope.verify(sender)
        if now is not None:
            _require_current(self.envelope.header, now)
        return Verified(self.envelope, self.digest)


def read_request(
    data: bytes, *, email: str, identity: PublicIdentity, sender: str, message_id: str, app: str
) -> Unverified:
    """Read the file at the place of ``sender``'s request ``message_id`` to us: ``email`` with ``identity``.

    Raises:
        IncompleteError: it has not all arrived.
        MalformedError, AddressError: it is not such a request.
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
    """Read the file at the place of ``sender``'s reply to our request, of which the envelope has the SHA-256 ``answers``.

    Raises:
        IncompleteError: it has not all arrived.
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
            raise AddressError(f"its {name} is not the one that belongs here")
    return Unverified(envelope, hashlib.sha256(data).hexdigest())


def _require_current(header: Header, now: datetime) -> None:
    if header.expires + SKEW < now:
        raise ExpiredError(f"it expired at {header.expires:%Y-%m-%d %H:%M} UTC")
    if header.created - SKEW > now or header.expires - header.created > MAX_LIFETIME:
        raise ExpiredError("its times cannot be right", hint="Compare the clocks of both machines.")
