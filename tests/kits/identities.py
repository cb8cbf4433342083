"""Keys of three participants, made once, because making them is the slow part; a conftest imports the fixtures."""

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
