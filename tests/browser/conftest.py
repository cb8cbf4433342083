"""Fixtures of the tests in a browser: one headless Chromium for all of them. They are skipped where it is missing."""

import sys
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
pytest.register_assert_rewrite("browserkit.page")


@pytest.fixture(scope="session")
def axe() -> str:
    """Return the script of axe-core."""
    from browserkit.axe import axe_source

    return axe_source()


@pytest.fixture(scope="session")
def profile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a path for a folder of a browser. Skip the test on a machine without one."""
    pytest.importorskip("selenium", reason="make browser-test installs selenium")
    from browserkit.chromium import missing_programs

    if missing := missing_programs():
        pytest.skip(f"this machine has no {missing}")
    return tmp_path_factory.getbasetemp() / "b"


@pytest.fixture(scope="session")
def window(profile: Path, axe: str) -> "Iterator[object]":
    """Return the one window of the browser."""
    from browserkit.chromium import Chromium
    from browserkit.page import Page

    with Chromium(profile) as chromium:
        yield Page(chromium.driver, axe)


@pytest.fixture(scope="session")
def report(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Return a function that returns a report by its name. Each is written once."""
    from browserkit.reports import REPORTS

    @cache
    def find(name: str) -> Path:
        return REPORTS[name](tmp_path_factory.mktemp(name))

    return find
