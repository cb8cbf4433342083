"""The three notebooks of the example, executed at the same time as by three people."""

import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import executed_notebook
import nbformat
import numpy as np
import pytest
from faithful_settings import faithful_settings

from syft_flwr.emulators.syftbox import SyftBoxNetwork

_EXAMPLE = Path(__file__).parents[2] / "examples" / "diabetes"
_PARTICIPANTS = {
    "ds": ("ds@research.org", ""),
    "do1": ("do1@hospital-a.org", "hospital_a"),
    "do2": ("do2@hospital-b.org", "hospital_b"),
}

pytestmark = pytest.mark.e2e


def _execute(name: str, folder: Path, log: Path, environment: dict[str, str]) -> subprocess.Popen[bytes]:
    command = [sys.executable, executed_notebook.__file__, f"{name}.ipynb", f"{name}-executed.ipynb"]
    with log.open("wb") as output:
        return subprocess.Popen(command, cwd=folder, env=environment, stdout=output, stderr=subprocess.STDOUT)


def _wait(process: subprocess.Popen[bytes], deadline: float) -> int | None:
    """Return the exit code of a process, or None if it still runs at the deadline."""
    try:
        return process.wait(max(0.0, deadline - time.monotonic()))
    except subprocess.TimeoutExpired:
        return None


def test_three_notebooks_train_a_model(tmp_path: Path) -> None:
    folder = tmp_path / "diabetes"
    shutil.copytree(_EXAMPLE, folder, ignore=shutil.ignore_patterns("output", ".sandbox", "main.py"))
    emails = [email for email, _ in _PARTICIPANTS.values()]
    processes: dict[str, subprocess.Popen[bytes]] = {}
    logs = {name: tmp_path / f"{name}.log" for name in _PARTICIPANTS}
    with SyftBoxNetwork(tmp_path / "machines", emails, settings=faithful_settings(tmp_path)) as network:
        try:
            for name, (email, hospital) in _PARTICIPANTS.items():
                environment = os.environ | {
                    "SYFTBOX_CLIENT_CONFIG_PATH": str(network[email].config_path),
                    "SYFT_FLWR_HOME": str(tmp_path / "home" / email),
                    "DATA_DIR": str(folder / "data" / hospital / "private"),
                    "OUTPUT_DIR": str(tmp_path / "output"),
                }
                processes[name] = _execute(name, folder, logs[name], environment)
            deadline = time.monotonic() + 100
            codes = [_wait(process, deadline) for process in processes.values()]
        finally:
            for process in processes.values():
                # The kernel ends with its parent.
                process.terminate()
                process.wait(10)
    # As one text, because pytest shortens the values of a dictionary.
    ends = "\n".join(f"--- {name}\n{log.read_text(errors='replace')[-6000:]}" for name, log in logs.items())
    assert codes == [0, 0, 0], ends
    with np.load(tmp_path / "output" / "diabetes_model.npz") as model:
        numbers = [model[name] for name in model.files if np.issubdtype(model[name].dtype, np.floating)]
    assert numbers
    assert all(np.isfinite(array).all() for array in numbers)
    shown = (folder / "ds-executed.ipynb").read_text()
    assert "together, round" in shown
    # The display of the run stays below its cell.
    tables = [
        html
        for cell in nbformat.reads(shown, 4).cells
        for each in cell.get("outputs", ())
        if re.search(
            "aggregator ds@research.org: completed after [^<]+, round 5 of 5",
            html := each.get("data", {}).get("text/html", ""),
        )
    ]
    assert len(tables) == 1
