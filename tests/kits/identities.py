"""Fixtures with the keys of three participants, created once for all tests, because creating them is slow."""

import pytest

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
