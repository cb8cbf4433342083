"""What makes a file of a shared folder believed: bytes in, a verified envelope out. No files, no databases.

The order is fixed: form, address, signature, time. What fails is not looked into any further, and the body is opened by
whoever holds a :class:`Verified`, so there is none without the checks.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from syft_flwr._messaging import body as bodies
from syft_flwr._messaging import envelope as envelopes
from syft_flwr._messaging.body import Body
from syft_flwr._messaging.envelope import Envelope, Header
from syft_flwr._messaging.limits import MAX_LIFETIME
from syft_flwr._messaging.trust import Trust
from syft_flwr.clock import SKEW
from syft_flwr.errors import AddressError, ExpiredError


@dataclass(frozen=True, slots=True)
class Verified:
    """An envelope that is what it should be at this place, signed by whom it should be."""

    envelope: Envelope
    #: SHA-256 of the file, in hexadecimal.
    digest: str

    @property
    def header(self) -> Header:
        return self.envelope.header

    def open(self, trust: Trust, *, encryption: bool) -> Body:
        """Return the body.

        Raises:
            EncryptionError: the sides disagree about encryption, or it does not open.
            MalformedError: what is in it does not add up.
        """
        return bodies.decode(self.envelope.open(trust.identity, encryption=encryption))


def verify_request(data: bytes, *, trust: Trust, sender: str, message_id: str, app: str, now: datetime) -> Verified:
    """Check a file that lies where ``sender`` puts its request ``message_id`` to us.

    Raises:
        IncompleteError: it has not all arrived.
        MalformedError, AddressError, SignatureError, ExpiredError, TrustError: it is not such a request.
    """
    expected = {"kind": "request", "id": message_id, "app": app, "sender": sender, "answers": ""}
    verified = _verify(data, expected, trust, sender)
    header = verified.header
    if header.expires + SKEW < now:
        raise ExpiredError(f"it expired at {header.expires:%Y-%m-%d %H:%M} UTC")
    if header.created - SKEW > now or header.expires - header.created > MAX_LIFETIME:
        raise ExpiredError("its times cannot be right", hint="Compare the clocks of both machines.")
    return verified


def verify_response(
    data: bytes, *, trust: Trust, sender: str, message_id: str, app: str, run: int, kind: str, group: str, answers: str
) -> Verified:
    """Check a file that lies where ``sender`` answers our request, whose envelope has the SHA-256 ``answers``.

    Raises:
        IncompleteError: it has not all arrived.
        MalformedError, AddressError, SignatureError, TrustError: it is not this answer.
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
    return _verify(data, expected, trust, sender)


def _verify(data: bytes, expected: Mapping[str, object], trust: Trust, sender: str) -> Verified:
    envelope = envelopes.decode(data)
    ours = {"recipient": trust.email, "recipient_key": trust.identity.public.key_id}
    for name, value in (*expected.items(), *ours.items()):
        if getattr(envelope.header, name) != value:
            raise AddressError(f"its {name} is not the one that belongs here")
    envelope.verify(trust.identity_of(sender))
    return Verified(envelope, hashlib.sha256(data).hexdigest())
