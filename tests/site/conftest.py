"""Fixtures of the tests of the built site, which `make docs-check` builds first."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[2] / "docs"))


@pytest.fixture(scope="session", autouse=True)
def _site() -> None:
    from sitekit.built import SITE

    if not (SITE / "objects.inv").exists():
        pytest.skip("the site is not built: make docs-check")
