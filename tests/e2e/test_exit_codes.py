"""The exit code, the last line and the JSON object of a real server, with the records of both sides.

Two kept clients serve all runs of a test, because each start of a participant takes time.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from child_program import ChildProgram
from tiny_project import DO1, DO2, DS, Tiny
from waiting import eventually

from syft_flwr import bootstrap
from syft_flwr.config import load_settings
from syft_flwr.runs.finding import find_run
from syft_flwr.runs.recorded_run import RecordedRun

pytestmark = pytest.mark.e2e
_COMMAND = str(Path(sys.executable).parent / "syft-flwr")
_PATIENCE = 60.0


@dataclass
class Place:
    """A project, a shared SyftBox folder and a home for each participant."""

    root: Path
    tiny: Tiny
    clients: list[ChildProgram] = field(default_factory=list)

    def environment(self, email: str, **more: str) -> dict[str, str]:
        config = self.root / f"{email}.json"
        config.write_text(json.dumps({"email": email, "data_dir": str(self.root / "SyftBox")}))
        mine = {"SYFTBOX_CLIENT_CONFIG_PATH": str(config), "SYFT_FLWR_HOME": str(self.root / "homes")}
        return os.environ | mine | {"SYFT_FLWR_POLL_INTERVAL": "1", "OUTPUT_DIR": str(self.root)} | more

    def start_clients(self) -> None:
        for email, data in zip((DO1, DO2), self.tiny.data, strict=True):
            command = [_COMMAND, "client", str(self.tiny.folder), "--keep"]
            environ = self.environment(email, DATA_DIR=str(data))
            client = ChildProgram(command, self.root / email, self.root / f"{email}.log", environ)
            client.start()
            self.clients.append(client)

    def serve(self, task: str, *options: str, program: str = "") -> "subprocess.CompletedProcess[str]":
        start = [program] if program else [_COMMAND, "server", str(self.tiny.folder)]
        command = [*([sys.executable] if program else []), *start, *options]
        environ = self.environment(DS, TINY_TASK=task)
        return subprocess.run(command, env=environ, capture_output=True, text=True, timeout=_PATIENCE, check=False)

    def record(self, run_id: str, email: str) -> RecordedRun:
        environ = {"SYFTBOX_EMAIL": email, "SYFT_FLWR_HOME": str(self.root / "homes")}
        return find_run(load_settings(environ=environ), run_id)

    def check_records(self, run_id: str, state: str) -> None:
        """Check that all participants recorded the run with this state."""
        assert self.record(run_id, DS).state == state
        for email in (DO1, DO2):
            # The stop is confirmed before the record is complete.
            eventually(lambda email=email: self.record(run_id, email).state == state, f"the end at {email}")


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    (tmp_path / "SyftBox").mkdir()
    for name in list(os.environ):
        if name.startswith("SYFT"):
            monkeypatch.delenv(name)
    place = Place(tmp_path, Tiny(tmp_path))
    try:
        yield place
    finally:
        for client in place.clients:
            client.stop()


def answer(done: "subprocess.CompletedProcess[str]") -> dict[str, Any]:
    found: dict[str, Any] = json.loads(done.stdout)
    return found


_SILENT = {"data-owner": DO2, "kind": "query.silent", "reason": "app-raised", "count": 2, "answered": 0}
_BROKEN = [
    {"data-owner": email, "kind": "query.broken", "reason": "app-raised", "count": 2, "answered": 0}
    for email in (DO1, DO2)
]


#: The task of the ServerApp and the options of the command; then the exit code, the state and the losses.
_TABLE: list[tuple[str, list[str], int, str, list[dict[str, Any]]]] = [
    ("train", ["--strict"], 0, "completed", []),
    ("silent", [], 0, "completed", [_SILENT]),
    ("silent", ["--strict"], 1, "completed", [_SILENT]),
    ("broken", [], 1, "failed", _BROKEN),
    ("raise", [], 1, "failed", []),
    ("exit", [], 0, "completed", []),
    ("exit-3", [], 1, "failed", []),
    ("exit-text", [], 1, "failed", []),
]


def test_json_exit_code_and_records_agree(place: Place) -> None:
    place.start_clients()
    for task, options, code, state, losses in _TABLE:
        done = place.serve(task, *options, "--format", "json")
        assert done.returncode == code, (task, done.stderr)
        found = answer(done)
        assert (found["success"], found["state"], found["losses"]) == (code == 0, state, losses), task
        assert ("error" in found) is (code != 0)
        assert place.record(found["run-id"], DS).cause == found["cause"]
        place.check_records(found["run-id"], state)


def test_last_line_and_signal_tell_the_outcome(place: Place) -> None:
    place.start_clients()
    silent, text, ended = (place.serve(task) for task in ("silent", "exit-text", "term"))

    assert silent.returncode == 0
    assert silent.stdout.splitlines()[-1].endswith(f"with losses: {DO2}: 2 query.silent app-raised, and no good reply")
    assert text.returncode == 1
    assert "failed: the ServerApp ended itself: diverged\n" in text.stderr
    assert (ended.returncode, ended.stderr.splitlines()[-1]) == (143, "terminated")
    (starts,) = [line for line in ended.stderr.splitlines() if line.endswith(" starts (tiny)")]
    place.check_records(starts.split()[-3], "stopped")
    bootstrap(place.tiny.folder, aggregator=DS, datasites=[DO1, DO2])
    assert place.serve("broken", program=str(place.tiny.folder / "main.py")).returncode == 1


@pytest.mark.parametrize(
    ("module", "text", "cause"),
    [
        ("server_app", "import no_such_library\n", "No module named 'no_such_library'"),
        ("server_app", "ap = 3\n", "Unable to load attribute app from module tiny.server_app"),
        ("server_app", "raise SystemExit(2)\n", "it ended the process while it was loaded (exit status 2)"),
        ("client_app", "import no_such_library\n", "No module named 'no_such_library'"),
        ("client_app", "ap = 3\n", "Unable to load attribute app from module tiny.client_app"),
    ],
)
def test_unloadable_app_is_one_error_before_the_start(place: Place, module: str, text: str, cause: str) -> None:
    (place.tiny.folder / "tiny" / f"{module}.py").write_text(text)
    role, email = ("server", DS) if module == "server_app" else ("client", DO1)
    command = [_COMMAND, role, str(place.tiny.folder), "--format", "json"]

    done = subprocess.run(
        command, env=place.environment(email), capture_output=True, text=True, timeout=_PATIENCE, check=False
    )

    assert done.returncode == 1
    assert answer(done)["error"]["type"] == "AppLoadError"
    assert cause in answer(done)["error"]["message"]
    shared = place.root / "SyftBox"
    assert not [path for path in shared.rglob("*.request") if path.is_file()]
