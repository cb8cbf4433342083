"""Fixtures for a federation that resumes its run after a kill, and must leave no file at its end."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from faultkit.resuming import ResumingFederation

from syft_flwr._crypto.keys import Identity


@pytest.fixture
def identities(anna: Identity, ben: Identity, eve: Identity) -> tuple[Identity, ...]:
    """Return the keys of the aggregator and of the two data owners."""
    return anna, ben, eve


@pytest.fixture
def federation(tmp_path: Path, identities: tuple[Identity, ...]) -> Iterator[ResumingFederation]:
    federation = ResumingFederation(tmp_path, identities)
    federation.start()
    try:
        yield federation
        federation.close()
    finally:
        federation.give_back()
