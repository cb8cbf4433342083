"""Fixtures for the tests over the real SyftBox. The kit is ``realkit``.

``SYFT_FLWR_TEST_SYFTBOX`` names the folder of the programs ``server`` and ``syftbox``; without it, each module here is
skipped. ``make test-syftbox`` also installs the store.
"""

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

_HERE = Path(__file__).parent
sys.path.insert(0, str(_HERE))
pytest.register_assert_rewrite("child_program", "real_syftbox", "realkit.federation")

from real_syftbox import VARIABLE, RealSyftBox, programs  # noqa: E402 - importable from here on
from realkit.federation import DS, OWNERS, Federation, Training  # noqa: E402

# The fixture clean_machine removes the variable from the environment of each test.
_PROGRAMS = programs()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if _PROGRAMS is None:
        for item in items:
            if item.path.is_relative_to(_HERE):
                item.add_marker(pytest.mark.skip(reason=f"{VARIABLE} does not name the folder of the programs"))


@pytest.fixture
def real_programs() -> Path:
    """Return the folder of the programs."""
    assert _PROGRAMS is not None
    return _PROGRAMS


@pytest.fixture
def connect(real_programs: Path, tmp_path: Path) -> Iterator[Callable[..., RealSyftBox]]:
    """Return a function that starts a network for an aggregator and two data owners."""
    with ExitStack() as stack:

        def start(**options: Any) -> RealSyftBox:
            return stack.enter_context(RealSyftBox(real_programs, tmp_path / "network", [DS, *OWNERS], **options))

        yield start


@pytest.fixture
def train(connect: Callable[..., RealSyftBox], tmp_path: Path) -> Iterator[Callable[..., Federation]]:
    """Return a function that starts a network, and a training over it."""
    with ExitStack() as stack:

        def start(training: Training, **options: Any) -> Federation:
            network = connect(**options)
            return stack.enter_context(Federation(network, tmp_path / "federation", training))

        yield start
