"""The logs of a real run: both sides write every line once, marked, private and without codes for colours."""

import json
import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from child_program import ChildProgram
from tiny_project import DO1, DS, Tiny
from waiting import eventually

from syft_flwr.config import load_settings
from syft_flwr.logbook.line import LogLine, read_lines

pytestmark = pytest.mark.e2e
_COMMAND = str(Path(sys.executable).parent / "syft-flwr")
_PATIENCE = 60.0
_SERVER = """
import sys
from flwr.app import ArrayRecord
from flwr.serverapp import ServerApp
from flwr.serverapp.strategy import FedAvg
import numpy as np

app = ServerApp()

@app.main()
def main(grid, context):
    print("\\x1b[31mprint of the server\\x1b[0m")
    print("error of the server", file=sys.stderr)
    FedAvg(fraction_evaluate=0.0, min_train_nodes=1, min_available_nodes=1).start(grid, ArrayRecord([np.zeros(2)]), num_rounds=1)
"""
_PRINTS = """
print("\\x1b[31mprint of the client\\x1b[0m")
"""


@pytest.fixture
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, dict[str, str]]:
    """Return the environment of each participant."""
    (tmp_path / "SyftBox").mkdir()
    for name in list(os.environ):
        if name.startswith("SYFT"):
            monkeypatch.delenv(name)
    found = {}
    for email in (DS, DO1):
        config = tmp_path / f"{email}.json"
        config.write_text(json.dumps({"email": email, "data_dir": str(tmp_path / "SyftBox")}))
        mine = {"SYFTBOX_CLIENT_CONFIG_PATH": str(config), "SYFT_FLWR_HOME": str(tmp_path / "homes")}
        found[email] = os.environ | mine | {"SYFT_FLWR_POLL_INTERVAL": "0.3", "OUTPUT_DIR": str(tmp_path)}
    return found


@contextmanager
def client_of(tiny: Tiny, folder: Path, environment: dict[str, str], *options: str) -> Iterator[ChildProgram]:
    command = [_COMMAND, "client", str(tiny.folder), *options]
    client = ChildProgram(command, folder / "cwd", folder / "client.log", environment | {"DATA_DIR": str(tiny.data[0])})
    client.start()
    try:
        yield client
    finally:
        client.stop()


def lines_in(path: Path) -> list[LogLine]:
    content = path.read_bytes()
    assert b"\x1b" not in content
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    return list(read_lines(content.decode().splitlines()))


def has(lines: list[LogLine], source: str, text: str) -> bool:
    """Return whether exactly one line has this source and text."""
    found = [line.source for line in lines if text in line.message]
    return found == [source]


def test_both_sides_write_marked_lines(tmp_path: Path, environment: dict[str, dict[str, str]]) -> None:
    tiny = Tiny(tmp_path, datasites=(DO1,))
    (tiny.folder / "tiny" / "server_app.py").write_text(_SERVER)
    with (tiny.folder / "tiny" / "client_app.py").open("a") as file:
        file.write(_PRINTS)
    own = tmp_path / "own.log"
    environment[DO1]["SYFT_FLWR_LOG_JSON"] = "true"
    with client_of(tiny, tmp_path, environment[DO1]) as client:
        server = subprocess.run(
            [_COMMAND, "server", str(tiny.folder), "--log-file", str(own), "--format", "json"],
            env=environment[DS],
            capture_output=True,
            text=True,
            timeout=_PATIENCE,
            check=True,
        )
        eventually(lambda: not client.is_running, "the end of the client")
    run = json.loads(server.stdout)["run-id"]
    folders = {
        email: Path(load_settings(environ=environment[email]).require("home"), "apps", "tiny", "runs")
        for email in (DS, DO1)
    }

    at_server = lines_in(folders[DS] / f"{int(run):016x}.aggregator.log")
    for source, text in (
        ("ours", f"run {run} starts"),
        ("flower", "[ROUND 1/1]"),
        ("app", "print of the server"),
        ("app", "error of the server"),
        ("ours", f"run {run} (tiny) was completed"),
    ):
        assert has(at_server, source, text), text
    assert has(lines_in(own), "flower", "[ROUND 1/1]")
    assert {line.run for line in at_server} == {int(run)}
    assert "[flower] " in server.stderr
    assert "\x1b[31mprint of the server" in server.stderr

    at_client = folders[DO1] / f"{int(run):016x}.datasite.log"
    assert has(lines_in(at_client), "app", "print of the client")
    for row in at_client.read_text().splitlines():
        assert set(json.loads(row)) == {"time", "level", "source", "run", "message"}
    assert "print of the client" in client.log.read_text()
    assert "\x1b" not in client.log.read_text()
