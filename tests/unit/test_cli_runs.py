"""``syft-flwr runs``: what became of each run, for a person and for a program."""

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
    """Move this machine to a time zone that is five and a half hours ahead."""
    with monkeypatch.context() as there:
        there.setenv("TZ", "Asia/Kolkata")
        time.tzset()
        yield
    time.tzset()


class Home:
    """A participant's home, with the processes that serve its runs."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.clock = FakeClock()
        self.served = ExitStack()

    def record(self, role: Role = "aggregator", name: str = "diabetes") -> RunRecord:
        return RunRecord(self.folder / "apps" / name, name, role, self.clock)

    def serve(self, role: Role = "aggregator", name: str = "diabetes") -> None:
        """Hold the lock that a server or client holds as long as it lives."""
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


def test_before_any_run_it_says_so(home: Home) -> None:
    result = invoke()

    assert (result.exit_code, result.stdout) == (ExitCode.OK, "There was no run yet.\n")
    assert listed() == []
    assert not home.folder.exists()


def test_a_program_reads_everything_that_is_known_of_a_run(home: Home) -> None:
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


def test_a_person_reads_one_line_a_run_in_local_time(home: Home, in_kolkata: None) -> None:
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
def test_a_run_that_ended_stays_what_it_is_whoever_runs_now(home: Home, state: RunState, served: bool) -> None:
    record = home.record()
    record.begin(RUN)
    record.end(RUN, state, "why")
    if served:
        home.serve()

    (run,) = listed()
    assert (run["state"], run["cause"]) == (state, "why")


@pytest.mark.parametrize("role", ["aggregator", "datasite"])
def test_a_run_without_an_end_runs_as_long_as_its_process_holds_the_lock(home: Home, role: Role) -> None:
    home.record(role).begin(RUN)
    assert states() == {str(RUN): "interrupted"}

    home.serve(role)
    assert states() == {str(RUN): "running"}
    # Asking twice shows that asking takes the lock from nobody.
    assert states() == {str(RUN): "running"}

    # The file of the lock stays where a process was killed.
    home.served.close()
    assert states() == {str(RUN): "interrupted"}


def test_the_process_of_the_other_role_or_app_serves_no_run_of_this_one(home: Home) -> None:
    home.record("aggregator").begin(1)
    home.record("datasite").begin(2)
    home.record("datasite", "other").begin(3)

    home.serve("datasite")

    assert states() == {"1": "interrupted", "2": "running", "3": "interrupted"}


def test_runs_of_all_apps_come_oldest_first(home: Home) -> None:
    for run, name in ((3, "b"), (1, "a"), (2, "b"), (4, "a")):
        home.record(name=name).begin(run)
        home.clock.advance(60)

    assert [(run["run-id"], run["app"]) for run in listed()] == [("3", "b"), ("1", "a"), ("2", "b"), ("4", "a")]


def test_a_file_that_cannot_be_read_hides_no_other_run(home: Home) -> None:
    home.record().begin(7)
    folder = status_folder(home.folder / "apps" / "diabetes")
    (folder / f"{8:016x}.status.json").write_bytes(b'{"run": "8", "app": "dia')
    (folder / f"{7:016x}.jsonl").write_text("{}\n")

    assert states() == {"7": "interrupted"}


def test_what_is_in_a_cause_is_shown_as_it_is(home: Home) -> None:
    record = home.record()
    record.begin(RUN)
    record.end(RUN, RunState.FAILED, "KeyError: [red]x[/nothing] :smile:")

    assert "KeyError: [red]x[/nothing] :smile:" in invoke().stdout


def test_looking_leaves_no_file(home: Home) -> None:
    home.record().begin(RUN)
    before = sorted(home.folder.rglob("*"))

    invoke()

    assert sorted(home.folder.rglob("*")) == before


def test_another_participant_of_this_machine_is_none_of_ours(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    home.record().begin(RUN)

    monkeypatch.setenv("SYFTBOX_EMAIL", "other@x.org")

    assert listed() == []


def test_runs_of_nobody_is_bad_usage(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SYFTBOX_EMAIL")

    result = invoke()

    assert result.exit_code == ExitCode.USAGE
    assert "not set" in result.stderr
    assert "Traceback" not in result.stderr


def test_a_folder_that_is_no_project_is_bad_usage(tmp_path: Path) -> None:
    result = invoke(tmp_path / "nothing")

    assert result.exit_code == ExitCode.USAGE
    assert str(tmp_path / "nothing") in result.stderr


def test_a_project_can_be_named(home: Home, tmp_path: Path) -> None:
    project = tmp_path / "project"
    project.mkdir()
    (project / "pyproject.toml").write_text("[tool.syft_flwr]\n")
    home.record().begin(RUN)

    assert str(RUN) in invoke(project).stdout


def test_a_status_without_a_process_of_a_known_role_counts_as_interrupted(home: Home) -> None:
    now = home.clock.now() - timedelta(days=1)
    statuses = RunStatuses(status_folder(home.folder / "apps" / "diabetes"))
    statuses.write(RunStatus(RUN, "diabetes", "referee", "running", started=now, updated=now))
    home.serve("aggregator")

    assert [run.state for run in runs_of(home.folder, ME)] == ["interrupted"]
