"""The picture of the README is a screenshot of a report, which ``docs/picture.py`` draws."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

pytest.importorskip("selenium", reason="make browser-test installs selenium")

from PIL import Image

#: The page, its text, and the state of a completed run. The table of colours has them, or similar ones.
_COLOURS = [(255, 255, 255), (27, 36, 48), (228, 244, 234), (18, 115, 58)]
_DOCS = Path(__file__).parents[2] / "docs"


@pytest.fixture
def script(profile: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Return the script. It uses a browser of its own."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    spec = importlib.util.spec_from_file_location("picture", _DOCS / "picture.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_script_draws_a_report_like_the_picture(script: ModuleType, report: Any, tmp_path: Path) -> None:
    script.draw(report("good"), tmp_path / "drawn.png")
    for path in (tmp_path / "drawn.png", _DOCS / "report.png"):
        assert path.stat().st_size < 200_000
        with Image.open(path) as picture:
            assert picture.width == 1920
            assert 1500 < picture.height < 4000
            found = [colour for _, colour in picture.convert("RGB").getcolors(1 << 20) or ()]
        for known in _COLOURS:
            assert any(max(abs(a - b) for a, b in zip(colour, known, strict=True)) <= 8 for colour in found), known
