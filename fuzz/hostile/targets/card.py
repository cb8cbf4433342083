"""Fuzz ``card.read_card`` with files in the place of a peer's key card."""

import json
from collections.abc import Iterator

from hostile import frames
from hostile.invariants import Guarded
from hostile.mutation import Mutate, mutate_frames
from hostile.people import ANNA, ANNA_EMAIL, PRIVATE, load
from syft_flwr._crypto.keys import PublicIdentity
from syft_flwr._messaging.wire.card import read_card, write_card
from syft_flwr.software import MAX_SOFTWARE, SYFT_FLWR

_LABELS = {1: b"syft-flwr card 1\x00", 2: b"syft-flwr card 2\x00"}
_KEYS = {"format", "version", "email", "keys", "fingerprint", "signature"}
_AS_IT_IS, _SIGNED, _CHANGED_KEYS = 0, 1, 2


def seeds() -> Iterator[bytes]:
    for vector in load("cards")["vectors"]:
        card = json.dumps(vector["card"]).encode()
        yield from (frames.join([bytes([mode]), card]) for mode in (_AS_IT_IS, _SIGNED))
    yield frames.join([bytes([_CHANGED_KEYS]), ANNA.public.encoded[:32], ANNA.public.encoded[32:]])


def mutate(data: bytes, max_size: int, seed: int, inner: Mutate) -> bytes:
    return mutate_frames(data, max_size, seed, inner)


def check(data: bytes) -> None:
    """Check that an accepted card has the expected email and is signed by its own keys."""
    mode, card, rest = frames.split(data, 3)[:3]
    if mode[:1] == bytes([_CHANGED_KEYS]):
        card = card_of(card + rest)
    elif mode[:1] == bytes([_SIGNED]):
        card = _signed(card)
    found = Guarded(*PRIVATE)(read_card, card, ANNA_EMAIL)
    if found is None:
        return
    public, fields = found.keys, json.loads(card)
    assert fields.keys() == (_KEYS if fields["version"] == 1 else {*_KEYS, "software"})
    assert (fields["format"], fields["email"]) == ("syft-flwr card", ANNA_EMAIL)
    assert public.encoded.hex() == fields["keys"]
    assert found.software == fields.get("software", "")
    assert len(found.software) <= MAX_SOFTWARE
    assert found.software.isprintable()
    assert found.software.isascii()
    public.verify(bytes.fromhex(fields["signature"]), _statement(fields["version"], found.software, public.encoded))
    assert PublicIdentity.decode(public.encoded) == public
    # A key that may be pinned must also work for encryption.
    assert public.seal(b"question", b"info")


def _statement(version: int, software: str, encoded: bytes) -> bytes:
    middle = b"" if version == 1 else software.encode() + b"\x00"
    return _LABELS[version] + ANNA_EMAIL.encode() + b"\x00" + middle + encoded


def _signed(card: bytes) -> bytes:
    """Return a card with anna's keys and signature, so that only the other changes make it invalid."""
    try:
        fields = json.loads(card)
        software = str(fields.get("software", SYFT_FLWR))
        own = json.loads(write_card(str(fields["email"])[:254], ANNA, software))
        if fields.get("version") == 1:
            own["signature"] = ANNA.sign(_statement(1, "", ANNA.public.encoded)).hex()
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return card
    changed = {**fields, **{name: own[name] for name in ("keys", "fingerprint", "signature")}}
    return json.dumps(changed).encode("utf-8", "replace")


def card_of(encoded: bytes, signature: bytes | None = None) -> bytes:
    """Return a card with any bytes as keys, signed by anna. It is valid only if the bytes contain her signing key."""
    statement = _statement(2, SYFT_FLWR, encoded)
    fields = {
        **json.loads(write_card(ANNA_EMAIL, ANNA)),
        "keys": encoded.hex(),
        "fingerprint": PublicIdentity(encoded).fingerprint,
        "signature": (signature or ANNA.sign(statement)).hex(),
    }
    return json.dumps(fields).encode()
