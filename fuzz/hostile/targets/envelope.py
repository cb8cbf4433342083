"""Fuzz ``envelope.decode`` with any bytes in the place of an envelope, without a valid signature."""

from collections.abc import Iterator

from hostile.invariants import Guarded
from hostile.people import ANNA, BEN, PRIVATE, load
from syft_flwr._crypto.keys import SIGNATURE_SIZE
from syft_flwr._messaging.wire.envelope import Header, decode

_PREFIX = 13


def seeds() -> Iterator[bytes]:
    for vector in load("envelopes")["vectors"]:
        yield bytes.fromhex(vector["file"])


def check(data: bytes) -> None:
    """Check that a decoded envelope contains exactly the given bytes, and that its header is in canonical form."""
    guarded = Guarded(*PRIVATE)
    envelope = guarded(decode, data)
    if envelope is None:
        return
    assert envelope.header.encode() == envelope.header_bytes
    assert Header.model_validate_json(envelope.header.encode()) == envelope.header
    parts = (data[:_PREFIX], envelope.header_bytes, envelope.signature, envelope.body)
    assert b"".join(parts) == data
    assert len(envelope.signature) == SIGNATURE_SIZE
    assert len(envelope.body) == envelope.header.body_size
    guarded(envelope.verify, ANNA.public)
    if guarded.error is not None:
        return
    for encryption in (True, False):
        guarded(envelope.open, BEN, encryption=encryption)
