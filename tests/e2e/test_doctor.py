"""The doctor beside real processes: it pings a running client, and never keeps a server from its start."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from child_program import ChildProgram
from tiny_project import DO1, DS, Tiny
from waiting import eventually

from syft_flwr.locks import is_held
from syft_flwr.runs.listing import runs_of

pytestmark = pytest.mark.e2e
COMMAND = str(Path(sys.executable).parent / "syft-flwr")


class Site:
    """The project of one data owner, and its aggregator, over one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.tiny = Tiny(folder, datasites=(DO1,))
        (folder / "shared" / "datasites").mkdir(parents=True)
        self.lock = folder / "homes" / DS / "apps" / "tiny" / "server.lock"

    def environment(self, email: str) -> dict[str, str]:
        return os.environ | {
            "SYFTBOX_EMAIL": email,
            "SYFTBOX_FOLDER": str(self.folder / "shared"),
            "SYFT_FLWR_HOME": str(self.folder / "homes"),
            "DATA_DIR": str(self.tiny.data[0]),
            "OUTPUT_DIR": str(self.folder),
            "HOME": str(self.folder),
            "TINY_TASK": "report",
            "SYFT_FLWR_MSG_TIMEOUT": "30",
        }

    def program(self, role: str, email: str, *options: str) -> ChildProgram:
        command = [COMMAND, role, str(self.tiny.folder), *options]
        return ChildProgram(command, self.folder, self.folder / f"{role}.log", self.environment(email))

    def doctor(self, email: str, **variables: str) -> "subprocess.Popen[str]":
        command = [COMMAND, "doctor", str(self.tiny.folder), "--format", "json"]
        environment = {**self.environment(email), **variables}
        return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def findings(self, doctor: "subprocess.Popen[str]") -> dict[str, dict[str, Any]]:
        """Return the last finding of each check."""
        output, errors = doctor.communicate(timeout=120)
        assert "Traceback" not in errors
        return {each["check"]: each for each in json.loads(output)["findings"]}


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


def test_doctor_pings_and_makes_way_for_a_server(site: Site) -> None:
    client = site.program("client", DO1, "--keep")
    client.start()
    server = site.program("server", DS)
    try:
        status = site.folder / "shared" / "datasites" / DO1 / "app_data" / "flwr" / "tiny" / "status"
        eventually((status / "heartbeat.request").exists, "the heartbeat of the client")
        # The first run creates the keys of the aggregator.
        server.start()
        eventually(lambda: not server.is_running, "the end of the run")
        assert server.exit_code == 0, server.tail()

        first = site.doctor(DS)
        found = site.findings(first)
        assert found["peers-running"]["state"] == "ok", found["peers-running"]
        assert f"{DO1} replied to a ping after" in found["peers-running"]["text"]
        assert "flwr" in found["releases"]["text"]
        assert first.returncode == 0, found

        plain = site.findings(site.doctor(DS, SYFT_FLWR_ENCRYPTION_ENABLED="false"))["peers-running"]
        assert plain["state"] == "problem", plain
        assert "has encryption on, and it is off here" in plain["text"]
        assert "SYFT_FLWR_ENCRYPTION_ENABLED" in plain["fix"]

        # The data owner stands still, so the ping waits, and a server starts meanwhile. The doctor stands still too, as
        # after Ctrl-Z.
        client.pause()
        doctor = site.doctor(DS)
        eventually(lambda: is_held(site.lock), "the ping")
        doctor.send_signal(signal.SIGSTOP)
        before = len(server.log.read_text())
        server.start()
        eventually(
            lambda: " starts (tiny)" in server.log.read_text()[before:] or not server.is_running, "the second run"
        )
        client.resume()
        eventually(lambda: not server.is_running, "the end of the second run")
        assert server.exit_code == 0, server.tail()
        doctor.send_signal(signal.SIGCONT)
        given_up = site.findings(doctor)["peers-running"]
        assert "it was given up, because another process needs its place" in given_up["text"]
    finally:
        server.stop()
        client.stop()
    runs = [run for run in runs_of(site.folder / "homes" / DS)[0] if run.role == "aggregator"]
    assert [run.state for run in runs] == ["completed", "completed"]


def test_doctor_works_while_a_run_is_served(site: Site) -> None:
    client, server = site.program("client", DO1), site.program("server", DS)
    client.start()
    try:
        server.environment["TINY_TASK"] = "hang"
        server.start()
        eventually(lambda: site.tiny.hangs, "the work of the data owner")
        started = time.monotonic()
        aggregator, owner = site.doctor(DS), site.doctor(DO1)
        mine, theirs = site.findings(aggregator), site.findings(owner)
        assert time.monotonic() - started < 60
        assert "its server runs now" in mine["role"]["text"]
        assert "its client runs now" in theirs["role"]["text"]
        assert mine["peers-running"]["state"] == theirs["peers-running"]["state"] == "ok"
        assert "a server runs here" in mine["peers-running"]["text"]
        assert (aggregator.returncode, owner.returncode) == (0, 0), (mine, theirs)
        assert server.is_running
        assert client.is_running
    finally:
        server.stop()
        client.stop()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_interrupted_doctor_leaves_no_process(site: Site, number: signal.Signals) -> None:
    started = site.folder / "started"
    app = site.tiny.folder / "tiny" / "server_app.py"
    app.write_text(f"import pathlib, time\npathlib.Path({str(started)!r}).touch()\ntime.sleep(600)\n")
    doctor = site.doctor(DS)
    try:
        eventually(started.exists, "the load of the app")
        doctor.send_signal(number)
        output, errors = doctor.communicate(timeout=30)
    finally:
        doctor.kill()
    if number is signal.SIGINT:
        assert doctor.returncode == 130, errors
        assert json.loads(output)["success"] is False
    assert not list(site.tiny.folder.rglob("__pycache__"))
