"""Fixtures of the tests of the service: a federation, and a systemd user manager. They are skipped where it cannot run."""

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

sys.path.insert(0, str(Path(__file__).parent))
pytest.register_assert_rewrite("servicekit.service_federation", "servicekit.user_manager")

if TYPE_CHECKING:
    from servicekit.service_federation import ServiceFederation
    from servicekit.user_manager import UserManager


@pytest.fixture
def federation(tmp_path: Path) -> "Iterator[ServiceFederation]":
    from servicekit.service_federation import ServiceFederation

    with ServiceFederation(tmp_path) as federation:
        yield federation


@pytest.fixture
def boot(federation: "ServiceFederation") -> "Iterator[Callable[[], UserManager]]":
    """Return the function that starts the user manager of the data owner. Skip the test where it cannot run."""
    from servicekit.user_manager import UserManager, missing_needs

    if missing := missing_needs():
        pytest.skip(f"no systemd user manager can run here: {missing}")
    with ExitStack() as running:
        yield lambda: running.enter_context(UserManager(federation.home))
