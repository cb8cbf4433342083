"""With ``--format json``, a server or a client that a signal ends prints its JSON object, too."""

import json
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from hasty_command import HASTY_COMMAND
from waiting import PATIENCE, eventually

from syft_flwr import names
from syft_flwr.runs.finding import open_run

DS, DO = "ds@x.org", "do@x.org"
APP = names.AppNames("stopped")
PROJECT = f"""\
[tool.flwr.app.components]
serverapp = "stopped_app:server"
clientapp = "stopped_app:client"

[tool.syft_flwr]
app_name = "{APP.app}"
aggregator = "{DS}"
datasites = ["{DO}"]
"""
CODE = """\
import time
from pathlib import Path

from flwr.clientapp import ClientApp
from flwr.serverapp import ServerApp

client, server = ClientApp(), ServerApp()


@server.main()
def main(grid, context):
    print("the print of an app")
    Path("started").touch()
    time.sleep(600)
"""
Start = Callable[[str, str], None]


@pytest.fixture
def start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Start:
    project = tmp_path / "project"
    project.mkdir()
    (project / "pyproject.toml").write_text(PROJECT)
    (project / "stopped_app.py").write_text(CODE)
    monkeypatch.chdir(project)

    def choose(email: str, home: str) -> None:
        values = {"SYFTBOX_EMAIL": email, "SYFTBOX_FOLDER": str(tmp_path / "box"), "SYFT_FLWR_HOME": home}
        for name, value in {**values, "HOME": str(tmp_path)}.items():
            monkeypatch.setenv(name, value)

    return choose


@pytest.mark.parametrize(
    ("number", "code", "line"), [(signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 143, "terminated")]
)
@pytest.mark.parametrize("command", ["server", "client"])
def test_signal_ends_a_participant_with_its_object(
    start: Start, tmp_path: Path, command: str, number: signal.Signals, code: int, line: str
) -> None:
    email = DS if command == "server" else DO
    start(email, str(tmp_path / "home"))
    name = APP.aggregator_heartbeat(email) if command == "server" else APP.heartbeat(email)
    signs = [tmp_path / "box" / "datasites" / name]
    signs += [tmp_path / "project" / "started"] if command == "server" else []
    program = [*HASTY_COMMAND, command, "--format", "json"]

    with subprocess.Popen(program, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            eventually(lambda: all(sign.exists() for sign in signs), f"the start of the {command}")
            process.send_signal(number)
            output, errors = process.communicate(timeout=PATIENCE)
        finally:
            process.kill()

    assert process.returncode == code, errors
    read = json.loads(output)
    assert (read["success"], read["role"], read["state"], read["error"]["message"]) == (False, command, "stopped", line)
    assert errors.splitlines()[-1] == line
    if command == "server":
        recorded = open_run(read["run-id"])
        assert (recorded.state, recorded.cause) == ("stopped", read["cause"])
