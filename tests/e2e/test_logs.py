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
import os
import sys
import time
from pathlib import Path
from flwr.app import ArrayRecord
from flwr.serverapp import ServerApp
from flwr.serverapp.strategy import FedAvg
import numpy as np

app = ServerApp()

@app.main()
def main(grid, context):
    print("\\x1b[31mprint of the server\\x1b[0m")
    print("error of the server", file=sys.stderr)
    while not Path(os.environ["OUTPUT_DIR"], "go").exists():
        time.sleep(0.05)
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
def program(folder: Path, name: str, environment: dict[str, str], *words: str) -> Iterator[ChildProgram]:
    """Run a command with its output in a file."""
    child = ChildProgram([_COMMAND, *words], folder, folder / f"{name}.out", environment)
    child.start()
    try:
        yield child
    finally:
        child.stop()


def logs(environment: dict[str, str], *options: str) -> str:
    command = [_COMMAND, "logs", *options]
    return subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=_PATIENCE, check=True
    ).stdout


def lines_in(path: Path) -> list[LogLine]:
    content = path.read_bytes()
    assert b"\x1b" not in content
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    return list(read_lines(content.decode().splitlines()))


def has(lines: list[LogLine], source: str, text: str) -> bool:
    """Return whether exactly one line has this source and text."""
    found = [line.source for line in lines if text in line.message]
    return found == [source]


def test_both_sides_write_and_show_marked_lines(tmp_path: Path, environment: dict[str, dict[str, str]]) -> None:
    tiny = Tiny(tmp_path, datasites=(DO1,))
    (tiny.folder / "tiny" / "server_app.py").write_text(_SERVER)
    with (tiny.folder / "tiny" / "client_app.py").open("a") as file:
        file.write(_PRINTS)
    own = tmp_path / "own.log"
    environment[DO1]["SYFT_FLWR_LOG_JSON"] = "true"
    command = [_COMMAND, "server", str(tiny.folder), "--log-file", str(own), "--format", "json"]
    records = {
        email: Path(load_settings(environ=environment[email]).require("home"), "apps", "tiny", "runs")
        for email in (DS, DO1)
    }
    with (
        program(tmp_path, "client", environment[DO1] | {"DATA_DIR": str(tiny.data[0])}, "client", str(tiny.folder)),
        subprocess.Popen(
            command, env=environment[DS], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        ) as server,
    ):
        log = eventually(lambda: next(records[DS].glob("*[1-9a-f]*.aggregator.log"), None), "the log of the run")
        run = str(int(log.name[:16], 16))
        with program(tmp_path, "follower", environment[DS], "logs", run, "--follow") as follower:
            eventually(lambda: "error of the server" in follower.log.read_text(), "the first lines")
            assert follower.is_running
            (tmp_path / "go").touch()
            output, errors = server.communicate(timeout=_PATIENCE)
            eventually(lambda: not follower.is_running, "the end of the command")
        assert follower.exit_code == 0
    assert json.loads(output)["run-id"] == run
    followed = follower.log.read_text()
    assert followed.count("[flower] [ROUND 1/1]") == 1
    assert f"run {run} (tiny) was completed" in followed

    # The latest run is the default.
    assert logs(environment[DS]) == logs(environment[DS], run)

    at_server = lines_in(log)
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
    assert "[flower] " in errors
    assert "\x1b[31mprint of the server" in errors

    at_client = records[DO1] / f"{int(run):016x}.datasite.log"
    assert has(lines_in(at_client), "app", "print of the client")
    for row in at_client.read_text().splitlines():
        assert set(json.loads(row)) == {"time", "level", "source", "run", "message"}
    console = (tmp_path / "client.out").read_text()
    assert "print of the client" in console
    assert "\x1b" not in console

    shown = logs(environment[DS], run)
    assert "[flower] [ROUND 1/1]" in shown
    assert "[app] print of the server" in shown
    rows = [json.loads(row) for row in logs(environment[DO1], run, "--format", "json", "-n", "3").splitlines()]
    assert len(rows) == 3
    assert {row["run"] for row in rows} == {run}
