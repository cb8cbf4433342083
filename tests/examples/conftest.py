"""Runs a copy of an example as a user would: `syft-flwr bootstrap`, then `syft-flwr run` over one folder of data a hospital."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from flwr.app import Context, RecordDict
from flwr.supercore.task_identity import TaskIdentity

_EXAMPLES = Path(__file__).parents[2] / "examples"
_COMMAND = Path(sys.executable).with_name("syft-flwr")
_PATIENCE = 400.0
DS = "ds@research.org"


class Trial:
    """A copy of an example with its participants, and the result of its last run."""

    def __init__(self, name: str, folder: Path) -> None:
        self.project = folder / name
        self.output = folder / "output"
        self.logs = folder / "logs"
        shutil.copytree(_EXAMPLES / name, self.project, ignore=shutil.ignore_patterns("output", "logs", "__pycache__"))
        self.hospitals = sorted(path.name for path in (self.project / "data").iterdir() if path.is_dir())
        self.emails = [f"do{n}@{name.replace('_', '-')}.org" for n, name in enumerate(self.hospitals, start=1)]
        datasites = [word for email in self.emails for word in ("-d", email)]
        done = self._command("bootstrap", self.project, "-a", DS, *datasites)
        assert done.returncode == 0, done.stderr

    def context(self, **node: int) -> Context:
        """Return the context of an app with this node configuration."""
        return Context(run_id=1, node_id=2, node_config={**node}, state=RecordDict(), run_config={})

    def data(self, kind: str) -> list[Path]:
        """Return the folder of each hospital with its ``private`` or ``mock`` data."""
        return [self.project / "data" / hospital / kind for hospital in self.hospitals]

    def run(self, kind: str = "private", *options: str) -> dict[str, Any]:
        """Run the federation to its end, and return the result that the command prints as JSON."""
        paths = [word for path in self.data(kind) for word in ("-m", path)]
        folders = ("--output-dir", self.output, "--log-dir", self.logs)
        done = self._command("run", self.project, *paths, *folders, "--timeout", "350", "--format", "json", *options)
        assert done.returncode == 0, done.stdout + done.stderr
        return dict(json.loads(done.stdout))

    def log_of(self, email: str) -> str:
        """Return the log of a participant."""
        return (self.logs / f"{email}.log").read_text(encoding="utf-8")

    def edit(self, file: str, old: str, new: str) -> None:
        """Replace a text that a file of the project has once."""
        path = self.project / file
        text = path.read_text(encoding="utf-8")
        assert text.count(old) == 1
        path.write_text(text.replace(old, new), encoding="utf-8")

    def _command(self, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [_COMMAND, *arguments],
            cwd=self.project.parent,
            env=os.environ | {"NO_COLOR": "1"},
            capture_output=True,
            text=True,
            timeout=_PATIENCE,
            check=False,
        )


@pytest.fixture
def trial(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Trial]:
    """Return a function that prepares a copy of an example by its name. Its package can be imported in the test."""

    def prepare(name: str) -> Trial:
        prepared = Trial(name, tmp_path)
        monkeypatch.syspath_prepend(prepared.project)
        (package,) = (path.parent.name for path in prepared.project.glob("*/server_app.py"))
        for module in [module for module in sys.modules if module.partition(".")[0] == package]:
            monkeypatch.delitem(sys.modules, module)
        return prepared

    # A Message needs an identity of its process. A worker sets it in a run.
    for name in ("_task_id", "_run_id", "_node_id"):
        monkeypatch.setattr(TaskIdentity, name, 1)
    return prepare
