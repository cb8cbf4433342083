"""Fixtures for tests of the Drive client; a conftest imports them."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from drivekit.accounts import ANN, BEN, Person
from syft_flwr.emulators.gdrive import Emulator


@pytest.fixture
def emulator() -> Iterator[Emulator]:
    with Emulator(users=[ANN, BEN]) as emulator:
        yield emulator


@pytest.fixture
def ann(emulator: Emulator, tmp_path: Path) -> Iterator[Person]:
    person = Person(emulator, tmp_path, ANN)
    yield person
    person.drive.close()


@pytest.fixture
def ben_of_drive(emulator: Emulator, tmp_path: Path) -> Iterator[Person]:
    person = Person(emulator, tmp_path, BEN)
    yield person
    person.drive.close()
