"""Executes the notebooks of the example, and stores them with their outputs: ``python docs/notebooks.py``.

``tests/e2e/test_notebooks.py`` fails if a notebook was changed without a new execution. The notebook for
Colab is executed over the emulator of Google Drive, without the cells that need a machine of Google.
"""

import os
import sys
import tempfile
from pathlib import Path

import nbformat

_ROOT = Path(__file__).resolve().parents[1]
_EXAMPLE = _ROOT / "examples" / "diabetes"
sys.path.insert(0, str(_ROOT / "tests" / "kits"))

from example_notebooks import PARTICIPANTS, copy_example, execute_colab, execute_together  # noqa: E402 - the folder of the kit is above

#: The folders that a reader sees in place of the temporary one.
_HOME, _COLAB = "/home/ann", "/content"


def store() -> None:
    """Execute all notebooks, and write each one with its outputs over the file in the example."""
    for name in [each for each in os.environ if each.startswith(("SYFT_FLWR_", "SYFTBOX_", "DATA_DIR", "OUTPUT_DIR"))]:
        del os.environ[name]
    with tempfile.TemporaryDirectory() as place:
        folder = copy_example(Path(place) / "diabetes")
        executed = execute_together({folder / f"{name}.ipynb": {"HOME": place} for name in PARTICIPANTS})
        for path, notebook in executed.items():
            _write(notebook, path.name, place, _HOME)
    with tempfile.TemporaryDirectory() as place:
        notebook = execute_colab(Path(place), trial=True)
        _write(notebook, "p2p_colab.ipynb", f"{place}/ds.example@gmail.com", _COLAB)


def _write(notebook: nbformat.NotebookNode, name: str, place: str, shown: str) -> None:
    # The version of Python and the times of the cells would differ with each execution.
    notebook.metadata = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python", "pygments_lexer": "ipython3"},
    }
    for cell in notebook.cells:
        cell.metadata = {}
    text = nbformat.writes(notebook).replace(place, shown)
    (_EXAMPLE / name).write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    store()
