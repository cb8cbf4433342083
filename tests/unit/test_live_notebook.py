"""The table in a notebook, in a real kernel: one output that a thread changes, and that stays."""

from pathlib import Path

import nbformat
import pytest
from executed_notebook import execute

from syft_flwr.live.notebook import is_notebook

CELL = """
import threading
from syft_flwr.live.painter import Painter
from syft_flwr.live.sink import choose_sink
from syft_flwr.runs.panel import Panel, PanelRow, bounded_cell, bounded_line

shown = threading.Event()

def panel():
    number = panel.count = panel.count + 1
    if number > 1:
        shown.set()
    row = PanelRow((bounded_cell("<script>alert(1)</script>\\x1b]0;title\\x07"), f"for {number}s"), "running")
    return Panel(bounded_line(f"round {number} <b>"), "running", ("Participant", "Doing"), (row,), 2)

panel.count = 0
sink = choose_sink(print)
sink.interval = 0.05
with Painter(sink, panel):
    print("a line of the app")
    shown.wait(30)
print(type(sink).__name__)
"""
FROM_A_THREAD = """
found = []
thread = threading.Thread(target=lambda: found.append(choose_sink(print)))
thread.start()
thread.join()
print(type(found[0]).__name__)
"""


def test_one_output_changes_in_place_and_stays(tmp_path: Path) -> None:
    cells = [nbformat.v4.new_code_cell(source) for source in (CELL, FROM_A_THREAD)]
    notebook = nbformat.v4.new_notebook(cells=cells)
    execute(notebook, tmp_path, 60)
    outputs = notebook.cells[0].outputs
    (table,) = [each for each in outputs if each.output_type == "display_data"]
    html = table.data["text/html"]

    assert "round 1 " not in html
    assert "&lt;b&gt;" in html
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in html
    assert "<script" not in html
    assert "\x1b" not in table.data["text/plain"] + html
    assert "".join(each.text for each in outputs if each.output_type == "stream").split("\n")[:2] == [
        "a line of the app",
        "NotebookOutput",
    ]
    # IPython cannot make an output there.
    assert notebook.cells[1].outputs[0].text == "ProgressLines\n"


@pytest.mark.parametrize("loaded", [False, True])
def test_program_outside_a_kernel_is_no_notebook(loaded: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not loaded:
        monkeypatch.delitem(__import__("sys").modules, "IPython", raising=False)
    assert not is_notebook()
