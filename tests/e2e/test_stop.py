"""``syft-flwr stop`` beside real processes: a data owner, an aggregator and a local run end, and tell why."""

import json
import subprocess
from pathlib import Path

import pytest
from tiny_project import DO1, DS, Tiny
from two_processes import TwoProcesses
from typer.testing import CliRunner
from waiting import PATIENCE, eventually

import syft_flwr
from syft_flwr.cli.app import app
from syft_flwr.runs.stop_request import STOPPED_BY_COMMAND, StopRequest

pytestmark = pytest.mark.e2e


def test_stop_ends_the_run_of_each_side(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with TwoProcesses(tmp_path) as pair:
        pair.start_both()
        asked, owned = pair.watch(DS), pair.watch(DO1)
        run = asked.look().run
        home, request = asked.stop_request()
        before = StopRequest(run, "aggregator", "deadbeef")
        before.write(home)
        eventually(lambda: not (home / "stop" / before.name).exists(), "the end of a request of an earlier process")
        assert (asked.look().state, request.process != before.process) == ("running", True)

        monkeypatch.chdir(pair.tiny.folder)
        for email, code in ((DO1, 0), (DS, 130)):
            for name, value in pair.environ(email).items():
                monkeypatch.setenv(name, value)
            done = CliRunner().invoke(app, ["stop", run, "--format", "json"])
            assert done.exit_code == 0, done.output
            fields = json.loads(done.stdout)
            assert (fields["state"], fields["cause"]) == ("stopped", STOPPED_BY_COMMAND)
            assert pair.running[email].wait(PATIENCE) == code, pair.log(email)
        assert owned.look().state == "stopped"
        again = CliRunner().invoke(app, ["stop", run])
        assert "had ended before: stopped" in again.output
        assert again.exit_code == 0
        assert not list(tmp_path.rglob("stop/*.*"))


def test_stop_ends_a_local_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TINY_TASK", "hang")
    monkeypatch.setenv("SYFT_FLWR_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    tiny = Tiny(tmp_path, datasites=(DO1,))
    with subprocess.Popen(tiny.command(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        try:
            eventually(lambda: tiny.hangs, "the work of the app")
            (local,) = (path.name for path in (tmp_path / "home" / "local").glob("2*"))
            status = json.loads(CliRunner().invoke(app, ["status", "--format", "json"]).stdout)
            assert (status["state"], status["participants"][0]["email"]) == ("running", DO1)
            theirs = json.loads(CliRunner().invoke(app, ["status", "--email", DO1, "--format", "json"]).stdout)
            assert (theirs["state"], theirs["role"], theirs["participant"]) == ("running", "data owner", DO1)
            absent = CliRunner().invoke(app, ["status", "--email", "do9@hospital-z.org"])
            assert "no run has started on this machine (do9@hospital-z.org)" in absent.output
            done = CliRunner().invoke(app, ["stop", local])
            output, _ = process.communicate(timeout=PATIENCE)
        finally:
            process.kill()
    assert done.exit_code == 0, done.output
    assert f"stopped ({STOPPED_BY_COMMAND})" in done.output
    assert process.returncode == 1
    assert f"Error: the run was stopped: {STOPPED_BY_COMMAND}" in output
    assert "the run failed" not in output
    found = syft_flwr.open_run(local)
    assert (found.state, found.cause) == ("stopped", STOPPED_BY_COMMAND)
