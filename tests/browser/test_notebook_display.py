"""The table of a run in a notebook: it can be read in each theme."""

from pathlib import Path
from typing import Any

import pytest

from syft_flwr.runs.html import panel_html
from syft_flwr.runs.panel import Panel, PanelRow

pytest.importorskip("selenium", reason="make browser-test installs selenium")
pytest.importorskip("nbconvert", reason="make browser-test installs nbconvert")

from browserkit.notebooks import EDITORS, OUTPUT, editor_page, jupyter_page

MOODS = ("running", "silent", "completed", "failed", "stopped", "interrupted")


def display() -> str:
    """Return the displays of runs in all states, each with participants in all states."""
    rows = tuple(PanelRow((f"do{n}@hospital.org", "online", mood), mood) for n, mood in enumerate((*MOODS, "")))
    more = {
        "wait": "waits for do1@hospital.org",
        "warning": "a warning",
        "notes": ("a failure",),
        "metrics": "loss 0.5",
    }
    columns = ("Participant", "Seen", "Doing")
    return "".join(panel_html(Panel(f"the run is {mood}", mood, columns, rows, 3, **more)) for mood in MOODS)  # type: ignore[arg-type]


def assert_readable(window: Any, page: Path) -> None:
    window.open(page)
    assert window.run("return document.querySelectorAll('.output td').length") == 7 * 6 * 3
    assert window.faults(OUTPUT) == []
    assert window.pale(f"{OUTPUT} [style*=border-left]", "borderLeftColor", 3.0) == []


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_display_is_readable_in_jupyter(window: Any, tmp_path: Path, theme: str) -> None:
    page = tmp_path / "page.html"
    jupyter_page(display(), theme, page)
    assert_readable(window, page)


@pytest.mark.parametrize("editor", EDITORS)
def test_display_is_readable_in_each_editor(window: Any, tmp_path: Path, editor: str) -> None:
    page = tmp_path / "page.html"
    editor_page(display(), editor, page)
    assert_readable(window, page)


def test_check_of_the_display_finds_pale_colours(window: Any, tmp_path: Path) -> None:
    # The colours of earlier releases.
    page = tmp_path / "page.html"
    editor_page('<div style="color:#0e7490;border-left:4px solid #264d57">failed</div>', "VS Code dark", page)
    window.open(page)
    (fault,) = window.faults(OUTPUT)
    assert "insufficient color contrast of 3.0" in fault
    assert len(window.pale(f"{OUTPUT} [style*=border-left]", "borderLeftColor", 3.0)) == 1
