"""``syft-flwr runs``: the state of each run, as a table and as JSON."""

import json
import shutil
import sqlite3
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from itertools import repeat
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from loguru import logger
from plain_user import as_plain_user
from typer.testing import CliRunner

from syft_flwr._store.futures import Ended, FutureRow, Futures
from syft_flwr._store.ledger import Ledger
from syft_flwr._store.states import Future, RunState
from syft_flwr.cli.app import app
from syft_flwr.cli.exits import ExitCode
from syft_flwr.locks import ProcessLock
from syft_flwr.runs.events import (
    Event,
    ReplyReleased,
    RequestEnded,
    RequestReceived,
    RequestSent,
    RoundStarted,
    RunEnded,
    RunResumed,
    RunStarted,
)
from syft_flwr.runs.record import Role, runs_folder
from syft_flwr.runs.stream import EventStream
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

    def begin(
        self, run: int = RUN, role: Role = "aggregator", name: str = "diabetes", *, recorded: bool = True
    ) -> None:
        """Begin or resume a run, as a new process does; with ``recorded``, also in the record."""
        with self._open(role, name) as database:
            row = database.runs.begin(run, self.clock.now(), alone=False)
        # An ended process leaves it behind.
        (self.app_home(name) / LOCKS[role]).touch()
        if recorded:
            resumed = RunResumed(role, name, ME, resumed=row.resumed)
            self.emit(run, resumed if row.resumed else RunStarted(role, name, ME), role=role, name=name)

    def emit(self, run: int, *events: Event, role: Role = "aggregator", name: str = "diabetes") -> None:
        with closing(EventStream(runs_folder(self.app_home(name)), role, self.clock)) as stream:
            for event in events:
                stream.emit(run, event)

    def end(self, run: int, state: RunState, cause: str, role: Role = "aggregator", name: str = "diabetes") -> None:
        with self._open(role, name) as database:
            database.runs.end(run, state, cause, self.clock.now())
        self.emit(run, RunEnded(state.value, cause), role=role, name=name)

    def lose(self, run: int = RUN) -> None:
        """Record two requests to a data owner: one with a good reply, and one that failed."""
        ids = [f"{number:032x}" for number in range(2)]
        now = self.clock.now()
        with closing(Futures(self.app_home() / "futures.db")) as futures:
            futures.add(
                FutureRow(each, run, "do@y.org", "train", "1", "1", "", Future.ANSWERED, now, now) for each in ids
            )
            futures.collect({ids[0]: Ended(), ids[1]: Ended("app-raised", "the ClientApp raised ValueError")})

    def app_home(self, name: str = "diabetes") -> Path:
        return self.folder / "apps" / name

    def _open(self, role: Role, name: str) -> "closing[Futures] | closing[Ledger]":
        home = self.app_home(name)
        return closing(Futures(home / "futures.db") if role == "aggregator" else Ledger(home / "ledger.db"))

    def serve(self, role: Role = "aggregator", name: str = "diabetes") -> None:
        """Hold the lock that a running server or client holds."""
        lock = ProcessLock(self.folder / "apps" / name / LOCKS[role], f"a process of {ME}")
        self.served.enter_context(lock)


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    home = Home(tmp_path / "state" / ME)
    with home.served:
        yield home


LOSS = {"data-owner": "do@y.org", "kind": "train", "reason": "app-raised", "count": 1, "answered": 1}


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


def counted(asked: int, answered: int, failed: int) -> list[Event]:
    """Return the events of a round ``2`` with these counts."""
    ids = [f"{number:032x}" for number in range(asked)]
    sent = [RequestSent(message, "do@y.org", "train", "2") for message in ids]
    outcomes = ["answered"] * answered + ["failed"] * failed
    ended = [
        RequestEnded(message, "do@y.org", "train", outcome, "2")
        for message, outcome in zip(ids, outcomes, strict=False)
    ]
    return [RoundStarted("2", 3), *sent, *ended]


def test_runs_json_contains_every_field(home: Home) -> None:
    home.serve()
    home.begin()
    home.clock.advance(60)
    home.begin()
    home.clock.advance(30)
    home.emit(RUN, *counted(5, 3, 1))

    assert listed() == [
        {
            "run-id": str(RUN),
            "app": "diabetes",
            "role": "aggregator",
            "state": "running",
            "succeeded": False,
            "cause": "",
            "losses": [],
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
    home.begin(role="datasite")
    ids = [f"{number:032x}" for number in range(5)]
    received = [RequestReceived(message, "ds@x.org", "train", "2") for message in ids]
    outcomes = ("answered", "answered", "answered", "failed")
    released = [ReplyReleased(*each, "2") for each in zip(ids, repeat("ds@x.org"), outcomes, strict=False)]
    home.emit(RUN, *received, *released, role="datasite")
    home.clock.advance(90)
    home.end(RUN, RunState.FAILED, "Server failed", "datasite")

    result = invoke()

    assert result.exit_code == ExitCode.OK
    (row,) = [line for line in result.stdout.splitlines() if str(RUN) in line]
    started, ended = "2030-01-01 05:30:00", "2030-01-01 05:31:30"
    cells = [str(RUN), "diabetes", "data owner", "failed", started, ended, "2", "3 of 5", "1", "Server failed"]
    assert [cell.strip() for cell in row.split("  ") if cell.strip()] == cells
    for column in ("Run", "App", "Role", "State", "Started", "Updated", "Round", "Replies", "Failed", "Cause"):
        assert column in result.stdout


@pytest.mark.parametrize("state", [RunState.COMPLETED, RunState.FAILED, RunState.STOPPED])
@pytest.mark.parametrize("served", [True, False], ids=["served", "not served"])
def test_ended_run_keeps_state_and_cause(home: Home, state: RunState, served: bool) -> None:
    home.begin()
    home.end(RUN, state, "why")
    if served:
        home.serve()

    (run,) = listed()
    assert (run["state"], run["cause"]) == (state, "why")


@pytest.mark.parametrize("role", ["aggregator", "datasite"])
def test_run_is_running_while_its_lock_is_held(home: Home, role: Role) -> None:
    home.begin(RUN, role)
    assert states() == {str(RUN): "interrupted"}

    home.serve(role)
    assert states() == {str(RUN): "running"}
    # The second call shows that the first one did not take the lock.
    assert states() == {str(RUN): "running"}

    # A killed process leaves its lock file behind.
    home.served.close()
    assert states() == {str(RUN): "interrupted"}


def test_lock_of_other_role_or_app_does_not_count(home: Home) -> None:
    home.begin(1, "aggregator")
    home.begin(2, "datasite")
    home.begin(3, "datasite", "other")

    home.serve("datasite")

    assert states() == {"1": "interrupted", "2": "running", "3": "interrupted"}


def test_runs_of_all_apps_are_sorted_by_start(home: Home) -> None:
    for run, name in ((3, "b"), (1, "a"), (2, "b"), (4, "a")):
        home.begin(run, name=name)
        home.clock.advance(60)

    assert [(run["run-id"], run["app"]) for run in listed()] == [("3", "b"), ("1", "a"), ("2", "b"), ("4", "a")]


def test_broken_status_file_hides_no_run(home: Home) -> None:
    home.begin(7)
    home.begin(8)
    folder = runs_folder(home.app_home())
    (folder / f"{8:016x}.aggregator.status.json").write_bytes(b'{"run": "8", "app": "dia')

    assert states() == {"7": "interrupted", "8": "interrupted"}
    # Then the record has the counts.
    assert [run["asked"] for run in listed()] == [0, 0]


def test_old_status_of_a_killed_process_does_not_count(home: Home) -> None:
    home.begin()
    folder = runs_folder(home.app_home())
    (path,) = folder.glob("*.status.json")
    old = path.read_bytes()
    home.emit(RUN, RoundStarted("1", 5), RequestSent("a" * 32, "do@y.org", "train", "1"))
    path.write_bytes(old)

    assert [(run["state"], run["round"], run["asked"]) for run in listed()] == [("interrupted", "1", 1)]


def test_lost_records_change_no_state(home: Home) -> None:
    home.begin(7, recorded=False)
    home.begin(8)
    home.end(8, RunState.FAILED, "why")
    shutil.rmtree(runs_folder(home.app_home()))

    assert [(run["state"], run["cause"], run["round"], run["failed"]) for run in listed()] == [
        ("interrupted", "", None, None),
        ("failed", "why", None, None),
    ]
    assert "? " in invoke().stdout


@pytest.mark.parametrize("damage", ["damaged", "newer"])
def test_unreadable_database_hides_no_other_run(home: Home, damage: str) -> None:
    home.begin(1, name="a")
    home.begin(2, "datasite", "a")
    home.begin(3, name="b")
    path = home.app_home("a") / "futures.db"
    if damage == "damaged":
        path.write_bytes(b"x" * 5_000)
    else:
        with closing(sqlite3.connect(path)) as connection:
            connection.execute("PRAGMA user_version = 99")

    result = invoke("--format", "json")

    assert {run["run-id"] for run in json.loads(result.stdout)["runs"]} == {"2", "3"}
    assert str(path) in result.stderr


def test_end_of_an_unserved_run_is_not_listed(home: Home) -> None:
    home.begin(1, "datasite")
    home.end(2, RunState.STOPPED, "Server interrupted", "datasite")

    assert states() == {"1": "interrupted"}


def test_status_file_without_database_is_not_listed(home: Home) -> None:
    home.emit(RUN, RunStarted("aggregator", "diabetes", ME))

    assert listed() == []


def test_cause_is_shown_verbatim(home: Home) -> None:
    home.begin()
    home.end(RUN, RunState.FAILED, "KeyError: [red]x[/nothing] :smile:")

    assert "KeyError: [red]x[/nothing] :smile:" in invoke().stdout


def test_database_of_an_older_release_is_skipped(home: Home) -> None:
    home.begin(1)
    home.begin(2, name="cancer")
    with closing(sqlite3.connect(home.app_home("cancer") / "futures.db")) as connection:
        connection.execute("PRAGMA user_version = 3")

    result = invoke()

    assert result.exit_code == ExitCode.OK
    assert "Skipped: " in result.stderr
    assert "was written by an older release" in result.stderr
    assert states() == {"1": "interrupted"}


@pytest.mark.parametrize("refused", ["apps", "apps/diabetes/futures.db", "apps/cancer/ledger.db"])
def test_unreadable_state_is_no_empty_list(home: Home, refused: str) -> None:
    with closing(Futures(home.app_home() / "futures.db")), closing(Ledger(home.app_home("cancer") / "ledger.db")):
        pass
    path = home.folder / refused
    path.chmod(0)

    text = as_plain_user(invoke)
    answer = as_plain_user(lambda: invoke("--format", "json"))
    path.chmod(0o700)

    assert (text.exit_code, text.stdout) == (ExitCode.FAILED, "")
    assert f"Error: {path} cannot be read: Permission denied" in text.stderr
    fields = json.loads(answer.stdout)
    assert (answer.exit_code, fields["success"], fields["runs"]) == (ExitCode.FAILED, False, [])
    assert fields["skipped"] == [fields["error"]["message"]] == [f"{path} cannot be read: Permission denied"]


def test_skipped_state_is_told_beside_the_runs(home: Home) -> None:
    home.begin(1)
    home.begin(2, name="cancer")
    path = home.app_home("cancer") / "futures.db"
    path.chmod(0)

    answer = as_plain_user(lambda: invoke("--format", "json"))

    fields = json.loads(answer.stdout)
    assert (answer.exit_code, [run["run-id"] for run in fields["runs"]]) == (ExitCode.OK, ["1"])
    assert fields["skipped"] == [f"{path} cannot be read: Permission denied"]


def test_runs_of_a_read_only_home_are_listed(home: Home, small_disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home.folder = small_disk / ME
    monkeypatch.setenv("SYFT_FLWR_HOME", str(small_disk))
    home.begin(1)
    home.end(1, RunState.COMPLETED, "")
    home.begin(2)
    home.serve()
    home.served.close()
    mount = shutil.which("mount")
    assert mount is not None
    subprocess.run([mount, "-o", "remount,ro", str(small_disk)], check=True, capture_output=True)

    assert states() == {"1": "completed", "2": "interrupted"}
    assert "State: interrupted" in invoke("2").stdout


def test_runs_command_writes_no_file(home: Home) -> None:
    home.begin()
    before = sorted(home.folder.rglob("*"))

    invoke()

    assert sorted(home.folder.rglob("*")) == before


def test_runs_of_another_participant_are_hidden(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    home.begin()

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
    home.begin()

    assert str(RUN) in invoke(project).stdout


@pytest.fixture
def wide_home(home: Home) -> Home:
    """Fill the list with long names and a long cause."""
    home.begin(name="federated-analytics-of-five-hospitals")
    home.emit(RUN, *counted(4, 3, 1), name="federated-analytics-of-five-hospitals")
    cause = "the ServerApp raised ValueError; two of the five hospitals gave no good reply to any message of kind train"
    home.end(RUN, RunState.FAILED, cause, name="federated-analytics-of-five-hospitals")
    return home


def test_runs_at_80_columns_break_no_word(wide_home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    # Rich takes the output for a terminal then.
    monkeypatch.setenv("FORCE_COLOR", "1")

    lines = invoke().stdout.splitlines()

    assert str(RUN) in lines
    assert max(map(len, lines)) <= 80
    words = " ".join(lines).split()
    assert {"federated-analytics-of-five-hospitals,", "aggregator,", "hospitals"} <= set(words)
    assert "Cause: the ServerApp raised ValueError" in " ".join(words)


def test_runs_in_a_pipe_have_one_whole_line_each(wide_home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.delenv("FORCE_COLOR", raising=False)

    (line,) = [line for line in invoke().stdout.splitlines() if str(RUN) in line]

    assert "federated-analytics-of-five-hospitals" in line
    assert line.rstrip().endswith("no good reply to any message of kind train")


@pytest.mark.parametrize("form", [f"{RUN:016x}", f"0x{RUN:x}", str(RUN)])
def test_run_is_found_by_each_form_of_its_id(home: Home, form: str) -> None:
    home.begin()
    home.end(RUN, RunState.COMPLETED, "")
    assert f"Run {RUN} of diabetes" in invoke(form).stdout


def test_side_of_a_data_owner_has_one_word(home: Home) -> None:
    home.begin(role="datasite")
    home.end(RUN, RunState.COMPLETED, "", role="datasite")
    for role in ("data-owner", "datasite"):
        assert f"Run {RUN} of diabetes, data owner {ME}" in invoke(str(RUN), "--role", role).stdout


def test_control_characters_do_not_reach_the_terminal(home: Home) -> None:
    home.begin()
    home.end(RUN, RunState.FAILED, "\x1b[2J\x1b]0;owned\x07 bad\x9b2J")
    for arguments in ((), (str(RUN),)):
        shown = invoke(*arguments).stdout
        assert r"\x1b[2J" in shown
        assert not {"\x1b", "\x07", "\x9b"} & set(shown)


def test_completed_run_with_losses_says_so(home: Home) -> None:
    home.begin()
    home.lose()
    home.end(RUN, RunState.COMPLETED, "")

    (run,) = listed()
    shown = invoke().stdout

    assert (run["state"], run["cause"], run["losses"]) == ("completed", "", [LOSS])
    assert "completed, with losses" in shown
    assert "do@y.org: 1 train app-raised" in shown
    assert "State: completed, with losses: do@y.org: 1 train app-raised" in invoke(str(RUN)).stdout
    assert json.loads(invoke(str(RUN), "--format", "json").stdout)["losses"] == [LOSS]
