"""Fixtures with the keys of three participants, created once for all tests, because creating them is slow."""

import json

import pytest

from syft_flwr._crypto.keys import Identity
from syft_flwr._messaging.wire.card import write_card


@pytest.fixture(scope="session")
def anna() -> Identity:
    return Identity.generate()


@pytest.fixture(scope="session")
def ben() -> Identity:
    return Identity.generate()


@pytest.fixture(scope="session")
def eve() -> Identity:
    return Identity.generate()


def old_card(email: str, identity: Identity) -> bytes:
    """Return the key card of version 1, which an older release writes."""
    card = json.loads(write_card(email, identity))
    del card["software"]
    statement = b"syft-flwr card 1\x00" + email.encode() + b"\x00" + identity.public.encoded
    return json.dumps(card | {"version": 1, "signature": identity.sign(statement).hex()}).encode()
