"""``syft-flwr status`` beside real processes while they run, stand still and are killed."""

import json
import signal
from datetime import timedelta
from pathlib import Path

import pytest
from tiny_project import DO1, DS
from two_processes import TwoProcesses
from typer.testing import CliRunner
from waiting import PATIENCE, eventually

from syft_flwr.cli.app import app
from syft_flwr.locks import ProcessLock

pytestmark = pytest.mark.e2e


def test_status_tells_running_silent_and_interrupted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with TwoProcesses(tmp_path) as pair:
        pair.start_both()
        asked, owned = pair.watch(DS), pair.watch(DO1)
        eventually(lambda: "works on" in asked.look().peers[0].doing, "the heartbeat of the data owner")
        watching = pair.command(DS, "status", "--watch", "--format", "json")

        shown = asked.look()
        assert (shown.state, shown.role, shown.awaited) == ("running", "aggregator", (DO1,))
        assert shown.peers[0].as_row(shown.now)[1].startswith("online")
        assert "Waits for data@hospital-a.org for" in shown.wait()
        assert "the timeout of the call" in shown.wait() or "silence" in shown.wait()
        theirs = owned.look()
        assert (theirs.state, theirs.role, theirs.peers[0].email) == ("running", "datasite", DS)
        assert theirs.peers[0].doing == "query.hang runs"

        for name, value in pair.environ(DS).items():
            monkeypatch.setenv(name, value)
        monkeypatch.chdir(pair.tiny.folder)
        text = CliRunner().invoke(app, ["status"])
        assert text.exit_code == 0, text.output
        assert "aggregator ds@research.org: running for" in text.output
        one = json.loads(CliRunner().invoke(app, ["status", shown.run, "--format", "json"]).stdout)
        assert (one["success"], one["run-id"], one["participants"][0]["role"]) == (True, shown.run, "data owner")

        server = pair.running[DS]
        server.send_signal(signal.SIGSTOP)
        eventually(lambda: asked.look().state == "silent", "the silence of a stopped process", 20)
        listed = json.loads(CliRunner().invoke(app, ["runs", "--format", "json"]).stdout)
        assert [run["state"] for run in listed["runs"]] == ["silent"]
        eventually(lambda: (view := asked.look()).now - view.updated > timedelta(seconds=18), "a look of the other one")
        server.send_signal(signal.SIGCONT)
        eventually(lambda: asked.look().state == "running", "the next beat", 20)

        watching.send_signal(signal.SIGSTOP)
        server.kill()
        server.wait(PATIENCE)
        with ProcessLock(next((tmp_path / DS / "home").rglob("server.lock")), "a server"):
            assert asked.is_served, "a stopped reader keeps no server from its start"
        watching.send_signal(signal.SIGCONT)
        assert asked.look().state == "interrupted"
        output, errors = watching.communicate(timeout=PATIENCE)
        assert watching.returncode == 0, errors
        states = [json.loads(line)["state"] for line in output.splitlines()]
        assert list(dict.fromkeys(states)) == ["running", "silent", "interrupted"]
