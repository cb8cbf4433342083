"""Keys that are made once, because making them is the slow part; accounts at a Drive emulator."""

import sys
from pathlib import Path

import pytest

from syft_flwr._crypto.keys import Identity

sys.path.insert(0, str(Path(__file__).parents[1] / "kits"))
pytest.register_assert_rewrite("drivekit.accounts")

from drivekit.fixtures import ann, ben_of_drive, emulator  # noqa: E402, F401 - they lie beside this file


@pytest.fixture(scope="session")
def anna() -> Identity:
    return Identity.generate()


@pytest.fixture(scope="session")
def ben() -> Identity:
    return Identity.generate()


@pytest.fixture(scope="session")
def eve() -> Identity:
    return Identity.generate()
