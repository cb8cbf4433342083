"""Fixtures for tests that kill real processes. The kit is ``chaoskit``."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

_HERE = Path(__file__).parent
sys.path.insert(0, str(_HERE))

from chaoskit.federation import Nursery  # noqa: E402 - importable from here on


@pytest.fixture(scope="session")
def nursery() -> Iterator[Nursery]:
    nursery = Nursery()
    yield nursery
    nursery.close()
