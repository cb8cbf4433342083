"""Executes the notebooks of the example at the same time, as three people do."""

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import executed_notebook
import nbformat

from syft_flwr.emulators.gdrive import Emulator

_EXAMPLE = Path(__file__).parents[2] / "examples" / "diabetes"
#: Each notebook with its participant.
PARTICIPANTS = {"ds": "ds@research.org", "do1": "do1@hospital-a.org", "do2": "do2@hospital-b.org"}
#: The accounts in the notebook for Colab, each with its lines in place of those in the notebook.
_ACCOUNTS = {
    "ds.example@gmail.com": {},
    "hospital.a.example@gmail.com": {"me = AGGREGATOR": "me = DATASITES[0]"},
    "hospital.b.example@gmail.com": {
        "me = AGGREGATOR": "me = DATASITES[1]",
        'HOSPITAL = "hospital_a"': 'HOSPITAL = "hospital_b"',
    },
}


def copy_example(folder: Path) -> Path:
    """Copy the example without results of earlier runs into a new folder, and return it."""
    return shutil.copytree(_EXAMPLE, folder, ignore=shutil.ignore_patterns("output", ".sandbox", "main.py", "logs"))


def execute_together(
    environments: Mapping[Path, Mapping[str, str]], seconds: float = 100
) -> dict[Path, nbformat.NotebookNode]:
    """Return the executed notebooks by their paths. Each one runs in its folder.

    Each one gets its variables, in addition to those of this process. RuntimeError with the ends of all logs if one
    fails, or still runs after this time.
    """
    processes: dict[Path, subprocess.Popen[bytes]] = {}
    try:
        for path, variables in environments.items():
            command = [sys.executable, executed_notebook.__file__, path.name, _executed(path).name]
            with path.with_suffix(".log").open("wb") as log:
                processes[path] = subprocess.Popen(
                    command, cwd=path.parent, env=os.environ | variables, stdout=log, stderr=subprocess.STDOUT
                )
        deadline = time.monotonic() + seconds
        # The others would wait for one that failed.
        while time.monotonic() < deadline and not _is_decided(codes := [each.poll() for each in processes.values()]):
            time.sleep(0.05)
    finally:
        for process in processes.values():
            # The kernel ends with its parent.
            process.terminate()
            process.wait(10)
    if any(code != 0 for code in codes):
        # As one text, because pytest shortens the values of a dictionary.
        ends = [f"--- {path}\n{path.with_suffix('.log').read_text(errors='replace')[-6000:]}" for path in environments]
        raise RuntimeError("\n".join([f"the notebooks ended with {codes}", *ends]))
    return {path: nbformat.read(_executed(path), as_version=4) for path in environments}


def _executed(path: Path) -> Path:
    return path.with_name(f"{path.stem}-executed.ipynb")


def _is_decided(codes: Sequence[int | None]) -> bool:
    """Return whether all processes have succeeded, or one has failed."""
    return None not in codes or any(codes)


def execute_colab(place: Path, *, trial: bool) -> nbformat.NotebookNode:
    """Return the notebook for Colab with the outputs of the data scientist, over the emulator of Google Drive.

    Two hospitals execute it at the same time. The cells that need a machine of Google have no output. With ``trial``, the
    data scientist also executes the cell that runs the whole federation before.
    """
    original = nbformat.read(_EXAMPLE / "p2p_colab.ipynb", as_version=4)
    environments: dict[Path, dict[str, str]] = {}
    with Emulator(users=list(_ACCOUNTS), seed=1) as emulator:
        for email, lines in _ACCOUNTS.items():
            copy_example(place / email / "syft_flwr" / "examples" / "diabetes")
            path = place / email / "p2p_colab.ipynb"
            nbformat.write(_for_participant(original, lines, trial=trial and not lines), path)
            emulator.write_token(email, path.with_name("token.json"))
            environments[path] = {
                "HOME": str(path.parent),
                "GDRIVE_TOKEN_PATH": str(path.with_name("token.json")),
                "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
                "SYFT_FLWR_GDRIVE_API": emulator.url,
                "SYFT_FLWR_POLL_INTERVAL": "0.3",
            }
        executed = next(iter(execute_together(environments).values()))
    done = {cell.id: cell for cell in executed.cells}
    for cell in original.cells:
        if cell.cell_type == "code":
            cell.outputs = done[cell.id].outputs if cell.id in done else []
            cell.execution_count = done[cell.id].execution_count if cell.id in done else None
    return original


def needs_colab(cell: nbformat.NotebookNode) -> bool:
    """Return whether a cell uses a machine of Google, so that no other one can execute it."""
    return "google.colab" in cell.source


def _for_participant(
    notebook: nbformat.NotebookNode, lines: Mapping[str, str], *, trial: bool
) -> nbformat.NotebookNode:
    """Return the cells that each machine can execute, with the lines of a participant."""
    cells = [
        cell for cell in notebook.cells if not needs_colab(cell) and (trial or "syft_flwr.run(" not in cell.source)
    ]
    copy = nbformat.from_dict(notebook | {"cells": cells})
    for old, new in lines.items():
        (cell,) = (cell for cell in copy.cells if cell.cell_type == "code" and old in cell.source)
        cell.source = cell.source.replace(old, new)
    return copy


def printed(notebook: nbformat.NotebookNode) -> list[str]:
    """Return the standard output of each code cell that prints no times and no keys, without the paths of files."""
    cells = [cell for cell in notebook.cells if cell.cell_type == "code" and not _varies(cell)]
    texts = ["".join(each["text"] for each in cell.outputs if each.get("name") == "stdout") for cell in cells]
    return [re.sub(r"/[^\s']+", "…", text) for text in texts]


def _varies(cell: nbformat.NotebookNode) -> bool:
    return "syft_flwr.run(" in cell.source or "syft-flwr peers" in cell.source
