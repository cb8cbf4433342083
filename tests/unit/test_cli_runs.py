"""``syft-flwr runs``: the state of each run, as a table and as JSON."""

import json
import time
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from loguru import logger
from typer.testing import CliRunner

from syft_flwr._store.states import RunState
from syft_flwr.cli.app import app
from syft_flwr.cli.exits import ExitCode
from syft_flwr.locks import ProcessLock
from syft_flwr.runs.listing import runs_of
from syft_flwr.runs.record import Role, RunRecord, status_folder
from syft_flwr.runs.status import RunStatus, RunStatuses
from syft_flwr.testing import FakeClock

ME = "me@x.org"
RUN = (1 << 63) - 1
LOCKS: dict[Role, str] = {"aggregator": "server.lock", "datasite": "client.lock"}


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    monkeypatch.setenv("SYFT_FLWR_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("SYFTBOX_EMAIL", ME)
    monkeypatch.setenv("COLUMNS", "1000")
    monkeypatch.chdir(tmp_path)
    yield
    logger.remove()


@pytest.fixture
def in_kolkata(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Set the time zone of this process to UTC+5:30."""
    with monkeypatch.context() as there:
        there.setenv("TZ", "Asia/Kolkata")
        time.tzset()
        yield
    time.tzset()


class Home:
    """A participant's home, and the locks of the processes that serve its runs."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.clock = FakeClock()
        self.served = ExitStack()

    def record(self, role: Role = "aggregator", name: str = "diabetes") -> RunRecord:
        return RunRecord(self.folder / "apps" / name, name, role, self.clock)

    def serve(self, role: Role = "aggregator", name: str = "diabetes") -> None:
        """Hold the lock that a running server or client holds."""
        lock = ProcessLock(self.folder / "apps" / name / LOCKS[role], f"a process of {ME}")
        self.served.enter_context(lock)


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    home = Home(tmp_path / "state" / ME)
    with home.served:
        yield home


def invoke(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, ["runs", *map(str, arguments)])


def listed() -> list[dict[str, Any]]:
    result = invoke("--format", "json")
    assert result.exit_code == ExitCode.OK
    answer = json.loads(result.stdout)
    assert answer["success"] is True
    return list(answer["runs"])


def states() -> dict[str, str]:
    return {run["run-id"]: run["state"] for run in listed()}


def test_empty_list_of_runs_says_so(home: Home) -> None:
    result = invoke()

    assert (result.exit_code, result.stdout) == (ExitCode.OK, "No run has started yet.\n")
    assert listed() == []
    assert not home.folder.exists()


def test_runs_json_contains_every_field(home: Home) -> None:
    home.serve()
    earlier = home.record()
    earlier.begin(RUN)
    home.clock.advance(60)
    record = home.record()
    record.begin(RUN)
    record.note(RUN, asked=5, answered=3, failed=1, round_name="2")
    home.clock.advance(30)
    record.note(RUN)

    assert listed() == [
        {
            "run-id": str(RUN),
            "app": "diabetes",
            "role": "aggregator",
            "state": "running",
            "cause": "",
            "started": "2030-01-01T00:00:00+00:00",
            "updated": "2030-01-01T00:01:30+00:00",
            "round": "2",
            "resumed": 1,
            "asked": 5,
            "answered": 3,
            "failed": 1,
        }
    ]


def test_runs_table_has_one_line_in_local_time(home: Home, in_kolkata: None) -> None:
    record = home.record("datasite")
    record.begin(RUN)
    record.note(RUN, asked=5, answered=3, failed=1, round_name="2")
    home.clock.advance(90)
    record.end(RUN, RunState.FAILED, "Server failed")

    result = invoke()

    assert result.exit_code == ExitCode.OK
    (row,) = [line for line in result.stdout.splitlines() if str(RUN) in line]
    started, ended = "2030-01-01 05:30:00", "2030-01-01 05:31:30"
    cells = [str(RUN), "diabetes", "datasite", "failed", started, ended, "2", "3 of 5", "1", "Server failed"]
    assert [cell.strip() for cell in row.split("  ") if cell.strip()] == cells
    for column in ("Run", "App", "Role", "State", "Started", "Updated", "Round", "Answered", "Failed", "Cause"):
        assert column in result.stdout


@pytest.mark.parametrize("state", [RunState.COMPLETED, RunState.FAILED, RunState.STOPPED])
@pytest.mark.parametrize("served", [True, False], ids=["served", "not served"])
def test_ended_run_keeps_state_and_cause(home: Home, state: RunState, served: bool) -> None:
    record = home.record()
    record.begin(RUN)
    record.end(RUN, state, "why")
    if served:
        home.serve()

    (run,) = listed()
    assert (run["state"], run["cause"]) == (state, "why")


@pytest.mark.parametrize("role", ["aggregator", "datasite"])
def test_run_is_running_while_its_lock_is_held(home: Home, role: Role) -> None:
    home.record(role).begin(RUN)
    assert states() == {str(RUN): "interrupted"}

    home.serve(role)
    assert states() == {str(RUN): "running"}
    # The second call shows that the first one did not take the lock.
    assert states() == {str(RUN): "running"}

    # A killed process leaves its lock file behind.
    home.served.close()
    assert states() == {str(RUN): "interrupted"}


def test_lock_of_other_role_or_app_does_not_count(home: Home) -> None:
    home.record("aggregator").begin(1)
    home.record("datasite").begin(2)
    home.record("datasite", "other").begin(3)

    home.serve("datasite")

    assert states() == {"1": "interrupted", "2": "running", "3": "interrupted"}


def test_runs_of_all_apps_are_sorted_by_start(home: Home) -> None:
    for run, name in ((3, "b"), (1, "a"), (2, "b"), (4, "a")):
        home.record(name=name).begin(run)
        home.clock.advance(60)

    assert [(run["run-id"], run["app"]) for run in listed()] == [("3", "b"), ("1", "a"), ("2", "b"), ("4", "a")]


def test_broken_status_file_hides_no_other_run(home: Home) -> None:
    home.record().begin(7)
    folder = status_folder(home.folder / "apps" / "diabetes")
    (folder / f"{8:016x}.status.json").write_bytes(b'{"run": "8", "app": "dia')
    (folder / f"{7:016x}.jsonl").write_text("{}\n")

    assert states() == {"7": "interrupted"}


def test_cause_is_shown_verbatim(home: Home) -> None:
    record = home.record()
    record.begin(RUN)
    record.end(RUN, RunState.FAILED, "KeyError: [red]x[/nothing] :smile:")

    assert "KeyError: [red]x[/nothing] :smile:" in invoke().stdout


def test_runs_command_writes_no_file(home: Home) -> None:
    home.record().begin(RUN)
    before = sorted(home.folder.rglob("*"))

    invoke()

    assert sorted(home.folder.rglob("*")) == before


def test_runs_of_another_participant_are_hidden(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    home.record().begin(RUN)

    monkeypatch.setenv("SYFTBOX_EMAIL", "other@x.org")

    assert listed() == []


def test_runs_without_email_is_bad_usage(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SYFTBOX_EMAIL")

    result = invoke()

    assert result.exit_code == ExitCode.USAGE
    assert "not set" in result.stderr
    assert "Traceback" not in result.stderr


def test_folder_without_project_is_bad_usage(tmp_path: Path) -> None:
    result = invoke(tmp_path / "nothing")

    assert result.exit_code == ExitCode.USAGE
    assert str(tmp_path / "nothing") in result.stderr


def test_project_can_be_given_as_argument(home: Home, tmp_path: Path) -> None:
    project = tmp_path / "project"
    project.mkdir()
    (project / "pyproject.toml").write_text("[tool.syft_flwr]\n")
    home.record().begin(RUN)

    assert str(RUN) in invoke(project).stdout


def test_status_of_unknown_role_is_interrupted(home: Home) -> None:
    now = home.clock.now() - timedelta(days=1)
    statuses = RunStatuses(status_folder(home.folder / "apps" / "diabetes"))
    statuses.write(RunStatus(RUN, "diabetes", "referee", "running", started=now, updated=now))
    home.serve("aggregator")

    assert [run.state for run in runs_of(home.folder, ME)] == ["interrupted"]
