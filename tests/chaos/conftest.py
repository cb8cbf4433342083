"""Fixtures for tests that kill real processes. The kit is ``chaoskit``; a test of one thread uses ``faultkit``."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

_HERE = Path(__file__).parent
sys.path[:0] = [str(_HERE), str(_HERE.parent / "faults")]

from chaoskit.federation import Nursery  # noqa: E402 - importable from here on


@pytest.fixture(scope="session")
def nursery() -> Iterator[Nursery]:
    nursery = Nursery()
    yield nursery
    nursery.close()
