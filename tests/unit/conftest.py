"""Keys that are made once, because making them is the slow part; accounts at a Drive emulator."""

import pytest
from drivekit.fixtures import ann, ben_of_drive, emulator  # noqa: F401 - they lie beside this file

from syft_flwr._crypto.keys import Identity


@pytest.fixture(scope="session")
def anna() -> Identity:
    return Identity.generate()


@pytest.fixture(scope="session")
def ben() -> Identity:
    return Identity.generate()


@pytest.fixture(scope="session")
def eve() -> Identity:
    return Identity.generate()
