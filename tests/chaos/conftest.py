"""Fixtures for tests that kill real processes. The kit is ``chaoskit``; a test of one thread uses ``faultkit``."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from loguru import logger

from syft_flwr._crypto.keys import Identity

_HERE = Path(__file__).parent
sys.path[:0] = [str(_HERE), str(_HERE.parent / "faults")]

from chaoskit.federation import Nursery  # noqa: E402 - importable from here on
from faultkit.world import EVERYBODY  # noqa: E402


@pytest.fixture(scope="session")
def nursery() -> Iterator[Nursery]:
    nursery = Nursery()
    yield nursery
    nursery.close()


@pytest.fixture(scope="session")
def identities() -> list[Identity]:
    """Return the keys of the participants of ``faultkit.world``."""
    return [Identity.generate() for _ in EVERYBODY]


@pytest.fixture
def quiet() -> Iterator[None]:
    """Keep the lines of hundreds of exchanges out of the report."""
    logger.disable("syft_flwr")
    yield
    logger.enable("syft_flwr")
