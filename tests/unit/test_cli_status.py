"""``syft-flwr status`` and ``stop``: the choice of the run, its views as text, JSON and JSON Lines, and records that change under it."""

import io
import json
import math
import os
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, nullcontext
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from loguru import logger
from plain_user import as_plain_user
from rich.console import Console
from rich.text import Text
from typer.testing import CliRunner
from waiting import PATIENCE, eventually

from syft_flwr._store.futures import Futures
from syft_flwr._store.ledger import Ledger
from syft_flwr._store.states import RunState
from syft_flwr.cli import status_command
from syft_flwr.cli.app import app
from syft_flwr.clock import SystemClock
from syft_flwr.config import load_settings
from syft_flwr.live.terminal import panel_table
from syft_flwr.locks import ProcessLock
from syft_flwr.logbook.line import LogLine
from syft_flwr.logbook.run_files import run_log_path
from syft_flwr.runs.events import (
    Event,
    LoggedWarning,
    Metrics,
    RequestEnded,
    RequestReceived,
    RequestSent,
    RoundStarted,
    RunEnded,
    RunResumed,
    RunStarted,
    Seen,
    Waiting,
    moment,
)
from syft_flwr.runs.panel import panel_of
from syft_flwr.runs.record import Role, record_path, runs_folder
from syft_flwr.runs.stream import EventStream
from syft_flwr.runs.watched_run import WatchedRun

ME, OWNER = "me@x.org", "do@y.org"
ONE = "a" * 32
LOCKS: dict[Role, str] = {"aggregator": "server.lock", "datasite": "client.lock"}


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    monkeypatch.setenv("SYFT_FLWR_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("SYFTBOX_EMAIL", ME)
    monkeypatch.setenv("COLUMNS", "1000")
    monkeypatch.chdir(tmp_path)
    yield
    logger.remove()


class Served:
    """A run that this process serves, as a server or a client does."""

    def __init__(self, base: Path, run: int, role: Role = "aggregator", name: str = "diabetes") -> None:
        self.run = run
        self.role: Role = role
        self.home = base / ME / "apps" / name
        self.record = record_path(runs_folder(self.home), run, role)
        self._opened = ExitStack()
        self._opened.enter_context(ProcessLock(self.home / LOCKS[role], "a process"))
        self.stream = self._opened.enter_context(closing(EventStream(runs_folder(self.home), role, SystemClock())))
        with self._database() as database:
            database.runs.begin(run, SystemClock().now(), alone=False)
        self.emit(RunStarted(role, name, ME))

    def _database(self) -> "closing[Futures] | closing[Ledger]":
        at_aggregator = self.role == "aggregator"
        return closing(Futures(self.home / "futures.db") if at_aggregator else Ledger(self.home / "ledger.db"))

    def emit(self, *events: Event) -> None:
        for event in events:
            self.stream.emit(self.run, event)
        assert self.stream.flush(PATIENCE)

    def end(self, state: RunState = RunState.COMPLETED, cause: str = "") -> None:
        with self._database() as database:
            database.runs.end(self.run, state, cause, SystemClock().now())
        self.emit(RunEnded(state.value, cause))
        self.leave()

    def leave(self) -> None:
        """Release the lock without an end, as the kernel does after a kill."""
        self._opened.close()


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return tmp_path / "state"


@pytest.fixture
def served(base: Path) -> Iterator[Served]:
    served = Served(base, 7)
    yield served
    served.leave()


def invoke(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["status", *arguments])


def fields(*arguments: str) -> dict[str, Any]:
    result = invoke(*arguments, "--format", "json")
    assert result.exit_code == 0, result.output
    return dict(json.loads(result.stdout))


@pytest.mark.parametrize("command", [["status"], ["status", "--watch"], ["runs", "7"], ["runs", "7", "--events"]])
def test_json_is_valid_also_for_numbers_it_lacks(served: Served, command: list[str]) -> None:
    served.emit(Metrics("1", "train", {"loss": 0.5}), Metrics("2", "train", {"loss": math.nan}))
    huge = f"[1e999,-1e999,{'1' * 400}.0,-{'1' * 300}]"
    served.record.write_text(served.record.read_text().replace('"loss":0.5', f'"loss":{huge}'))
    served.end()
    result = CliRunner().invoke(app, [*command, "--format", "json"])
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    for text in lines if lines[0] != "{" else [result.stdout]:
        json.loads(text, parse_constant=pytest.fail)
    assert '"-inf"' in result.stdout
    assert '"nan"' in result.stdout


def test_running_round_shows_who_is_awaited(served: Served) -> None:
    until = moment(SystemClock().now().replace(year=2099))
    served.emit(RoundStarted("2", 5), Seen(OWNER), RequestSent(ONE, OWNER, "train", "2", bytes=1_500_000))
    served.emit(Waiting([OWNER], until, "round_timeout"), Metrics("1", "train", {"loss": 0.25}))

    headline, wait, *table = invoke().stdout.splitlines()
    assert headline.startswith("Run 7 of diabetes, aggregator me@x.org: running for ")
    assert headline.endswith(", round 2 of 5")
    assert wait.startswith("Waits for do@y.org for 0s; the wait ends in ")
    assert wait.endswith("(round_timeout)")
    text = "\n".join(table)
    assert "train request sent for 0s" in text
    assert "1.5 MB" in text
    assert text.rstrip().endswith("Metrics: train (round 1): loss 0.25")


def test_latest_warning_is_shown_without_control_characters(served: Served) -> None:
    served.emit(LoggedWarning("warning", "no key of \x1b[31mdo@y.org has arrived"))
    lines = invoke().stdout.splitlines()
    assert lines[1] == "No request was sent yet"
    assert lines[2].startswith("1 warning, the latest 0s ago: no key of ")
    assert "\x1b" not in lines[2]
    assert fields()["warnings"] == 1


def test_json_has_the_same_facts(served: Served) -> None:
    served.emit(RoundStarted("2", 5), RequestSent(ONE, OWNER, "train", "2"), Waiting([OWNER], "", "ttl"))
    found = fields("7")
    assert (found["success"], found["run-id"], found["state"], found["role"]) == (True, "7", "running", "aggregator")
    assert (found["awaited"], found["wait-ends"], found["limit"]) == ([OWNER], None, "ttl")
    assert found["participants"][0]["presence"] == "not seen yet"


def test_latest_served_run_is_chosen_first(base: Path, served: Served) -> None:
    Served(base, 8, name="later").end()
    assert fields()["run-id"] == "7", "the later one has ended"
    served.end()
    assert fields()["run-id"] == "8"


def test_run_of_the_project_is_chosen_first(base: Path, tmp_path: Path) -> None:
    Served(base, 8).end()
    Served(base, 9, name="other").end()
    assert fields()["run-id"] == "9"
    (tmp_path / "pyproject.toml").write_text('[tool.syft_flwr]\napp_name = "diabetes"\n')
    assert fields()["run-id"] == "8"


def test_side_of_the_run_can_be_chosen(base: Path, served: Served) -> None:
    owner = Served(base, 6, "datasite", "mine")
    owner.emit(RequestReceived(ONE, "ds@x.org", "train", "3", bytes=700))
    found = fields("--role", "data-owner")
    assert (found["run-id"], found["role"], found["round"]) == ("6", "data owner", "3")
    assert fields("--role", "aggregator")["run-id"] == "7"
    assert invoke("--role", "server").exit_code == 2
    owner.leave()


@pytest.mark.parametrize("command", [["status"], ["status", "7"], ["logs", "7"], ["stop", "7"], ["runs", "7"]])
def test_errors_name_the_roles_as_the_option_does(command: list[str]) -> None:
    wrong = CliRunner().invoke(app, [*command, "--role", "server"])
    assert wrong.exit_code == 2
    assert "--role: 'server' is not allowed\n  Allowed: aggregator, data-owner." in wrong.stderr
    absent = CliRunner().invoke(app, [*command, "--role", "data-owner"])
    assert (absent.exit_code, "data owner" in absent.stderr, "datasite" in absent.stderr) == (2, True, False)


def test_no_run_is_an_error_with_a_hint() -> None:
    result = invoke()
    assert result.exit_code == 2
    assert "no run has started on this machine\n" in result.stderr
    assert "syft-flwr server" in result.stderr
    assert "machine (data owner)" in invoke("--role", "data-owner").stderr


@pytest.mark.parametrize("command", ["status", "logs"])
@pytest.mark.parametrize("refused", [f"{ME}/apps", f"{ME}/apps/diabetes/futures.db", "local"])
def test_unreadable_state_is_not_told_as_no_run(base: Path, command: str, refused: str) -> None:
    Futures(base / ME / "apps" / "diabetes" / "futures.db").close()
    (base / "local").mkdir()
    path = base / refused
    path.chmod(0)

    result = as_plain_user(lambda: CliRunner().invoke(app, [command]))
    path.chmod(0o700)

    assert result.exit_code == 1
    assert re.search(rf"Error: {re.escape(str(path))} cannot be \w+: Permission denied", result.stderr)
    assert "no run has started" not in result.stderr


@pytest.mark.parametrize(("state", "cause"), [(RunState.COMPLETED, ""), (RunState.STOPPED, "Ctrl-C")])
def test_ended_run_has_its_state_and_cause(served: Served, state: RunState, cause: str) -> None:
    served.emit(RequestSent(ONE, OWNER, "train", "1"), RequestEnded(ONE, OWNER, "train", "answered", "1"))
    served.end(state, cause)
    found = fields()
    assert (found["state"], found["cause"], found["awaited"]) == (state.value, cause or None, [])
    assert found["participants"][0]["answered"] == 1


def test_run_without_a_process_is_interrupted(served: Served) -> None:
    served.leave()
    assert fields()["state"] == "interrupted"


@pytest.mark.parametrize("loss", ["deleted", "emptied", "replaced"])
def test_watched_record_can_be_lost(served: Served, tmp_path: Path, loss: str) -> None:
    watched = WatchedRun(load_settings(), "7")
    served.emit(RoundStarted("1", 3), RequestSent(ONE, OWNER, "train", "1"))
    assert watched.look().peers[0].asked == 1
    if loss == "emptied":
        os.truncate(served.record, 0)
    else:
        served.record.unlink()
    if loss == "replaced":
        served.record.write_bytes(b"\x00" * 100)
    view = watched.look()
    assert (view.state, view.round, view.peers[0].asked) == ("running", "1", 1)

    if loss != "replaced":
        served.emit(RoundStarted("2", 3))
        assert watched.look().round == "2"
    served.end()
    assert watched.look().state == "completed"


def _put_in_place(path: Path, kind: str) -> socket.socket | None:
    """Replace a record by something that is none."""
    path.unlink()
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    elif kind == "link":
        path.symlink_to(__file__)
    elif kind == "noise":
        path.write_bytes(os.urandom(5_000))
    elif kind == "socket":
        opened = socket.socket(socket.AF_UNIX)
        folder = os.open(path.parent, os.O_RDONLY)
        # The path itself can be too long for a socket.
        opened.bind(f"/proc/self/fd/{folder}/{path.name}")
        os.close(folder)
        return opened
    return None


@pytest.mark.parametrize(
    ("kind", "told"),
    [
        ("nothing", "is missing or damaged, so rounds and participants are not known"),
        ("link", "is missing or damaged, so rounds and participants are not known"),
        ("noise", "is missing or damaged, so rounds and participants are not known"),
        ("folder", "cannot be read, .* A folder is in the place of the file. Move it away."),
        ("pipe", "cannot be read, .* A pipe or a device is in the place of the file. Move it away."),
        ("socket", "is missing or damaged, so rounds and participants are not known"),
    ],
)
def test_run_without_its_record_is_shown_with_the_reason(served: Served, kind: str, told: str) -> None:
    with _put_in_place(served.record, kind) or nullcontext():
        result = invoke()
        assert result.exit_code == 0, result.output
        headline, gap = result.stdout.splitlines()
        assert headline.startswith("Run 7 of diabetes, aggregator me@x.org: running")
        assert re.fullmatch(rf"The record {served.record} {told}", gap)
        found = fields()
        assert (found["state"], found["problem"], found["participants"]) == ("running", gap, [])
        served.end()
        assert fields()["state"] == "completed"


def test_record_that_lost_its_begin_is_shown_with_a_note(served: Served) -> None:
    served.emit(RequestSent("b" * 32, OWNER, "train", "1"))
    assert fields()["problem"] is None
    served.record.unlink()
    served.emit(RequestSent(ONE, OWNER, "train", "2"))
    found = fields()
    assert "has lost its begin, so only the events since then are counted" in found["problem"]
    assert [each["asked"] for each in found["participants"]] == [1]


def test_writer_leaves_no_descriptor_open_at_a_false_record(served: Served) -> None:
    _put_in_place(served.record, "pipe")
    before = len(os.listdir("/proc/self/fd"))
    for number in range(20):
        served.emit(RoundStarted(str(number), 20))
    assert len(os.listdir("/proc/self/fd")) <= before


@pytest.mark.parametrize("role", ["aggregator", "datasite"])
def test_run_with_a_deleted_lock_still_runs(base: Path, role: Role) -> None:
    """A person may delete a lock file that seems to be old."""
    served = Served(base, 9, role)
    (served.home / LOCKS[role]).unlink()
    found = fields("9")
    assert found["state"] == "running"
    assert found["problem"].endswith("was deleted, so a second process could serve this run; restart the first one")
    listed = json.loads(CliRunner().invoke(app, ["runs", "--format", "json"]).stdout)["runs"]
    assert [run["state"] for run in listed] == ["running"]
    assert "was asked to stop" in stop("9", "--wait", "0").stderr
    served.end()
    assert (fields("9")["state"], fields("9")["problem"]) == ("completed", None)


def test_run_without_lock_and_growing_record_is_interrupted(served: Served) -> None:
    (served.home / LOCKS["aggregator"]).unlink()
    served.leave()
    os.utime(served.record, (1, 1))
    assert fields()["state"] == "interrupted"


@pytest.mark.parametrize("moved", ["home", "base"])
def test_watch_of_a_moved_home_is_an_error_with_a_hint(
    served: Served, base: Path, moved: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(status_command, "_EVERY", 0.02)
    results: list[Result] = []
    watching = threading.Thread(target=lambda: results.append(invoke("--watch")))
    looked = threading.Event()
    look = WatchedRun.look
    monkeypatch.setattr(WatchedRun, "look", lambda self: (looked.set(), look(self))[1])
    watching.start()
    assert looked.wait(PATIENCE)
    folder = base if moved == "base" else base / ME
    folder.rename(folder.with_name("elsewhere"))
    watching.join(PATIENCE)
    assert results[0].exit_code == 1
    assert f"run 7 is not in {base / ME} any more" in results[0].stderr
    assert "SYFT_FLWR_HOME" in results[0].stderr


def test_lost_record_leaves_the_state_of_the_database(served: Served) -> None:
    served.end(RunState.FAILED, "it broke")
    served.record.unlink()
    (served.record.parent / served.record.name.replace(".jsonl", ".status.json")).unlink()
    found = fields("7")
    assert (found["state"], found["cause"], found["role"]) == ("failed", "it broke", "aggregator")


def test_watch_prints_each_change_until_the_end(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(status_command, "_EVERY", 0.02)
    results: list[Result] = []
    watching = threading.Thread(target=lambda: results.append(invoke("--watch", "--format", "json")))
    looks: list[int] = []
    look = WatchedRun.look
    monkeypatch.setattr(WatchedRun, "look", lambda self: looks.append(1) or look(self))
    watching.start()
    for number in range(1, 4):
        served.emit(RoundStarted(str(number), 3))
        seen = len(looks)
        eventually(lambda seen=seen: len(looks) > seen + 2, "two further looks")
    served.end()
    watching.join(PATIENCE)

    lines = [json.loads(line) for line in results[0].stdout.splitlines()]
    assert [each["round"] for each in lines if each["state"] == "running"][-3:] == ["1", "2", "3"]
    assert lines[-1]["state"] == "completed"
    assert len(lines) <= 5, "no line without a change"
    assert all(each["success"] for each in lines)


def test_watch_of_an_ended_run_prints_it_once(served: Served) -> None:
    served.end()
    result = invoke("7", "--watch")
    assert result.stdout.count("Run 7 of diabetes") == 1


def test_texts_of_peers_are_inert(served: Served) -> None:
    bad = "\x1b]0;title\x07\x1b[31m[bold]<script>\n\u202e"
    served.emit(RequestEnded(ONE, OWNER, "train", "failed", "1", "app-raised", bad), Metrics("1", "train", {bad: 1}))
    # A record that another program wrote.
    with served.record.open("a") as file:
        shown = {"event": "run-started", "role": "aggregator", "app": bad, "aggregator": ME}
        head = {"v": 1, "n": 99, "time": moment(SystemClock().now()), "elapsed": 9, "process": "x", "run": "7"}
        file.write(json.dumps(head | shown) + "\n")
        failed = {
            "event": "request-ended",
            "data_owner": bad,
            "kind": bad,
            "outcome": "failed",
            "reason": bad,
            "text": bad,
        }
        file.write(json.dumps(head | {"n": 100} | failed) + "\n")
    result = invoke("7")
    assert result.exit_code == 0
    assert set(result.stdout) & set("\x1b\x07\u202e") == set()
    assert "[bold]<script>" in result.stdout


def test_status_writes_nothing_and_leaves_the_lock_free(base: Path, served: Served) -> None:
    served.end()
    before = {path: path.stat().st_mtime_ns for path in base.rglob("*") if path.is_file()}
    fields("7")
    assert {path: path.stat().st_mtime_ns for path in base.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("width", [60, 160])
def test_live_table_fits_into_the_terminal(served: Served, width: int) -> None:
    served.emit(RoundStarted("2", 5), Seen(OWNER), RequestSent(ONE, OWNER, "train\x1b[2J", "2"))
    console = Console(file=io.StringIO(), force_terminal=True, width=width)
    with console.capture() as capture:
        console.print(panel_table(console, panel_of(WatchedRun(load_settings(), "7").look())))
    text = Text.from_ansi(capture.get()).plain
    assert max(map(len, text.splitlines())) <= width
    assert "round 2 of 5" in " ".join(text.split())
    assert "\x1b[2J" not in capture.get()
    assert ("Received" in text) == (width > 120)


@pytest.mark.parametrize(
    "words", ["status --watch", "status --watch --format json", "logs -f", "logs -f --format json"]
)
def test_closed_pipe_ends_a_quiet_stream_at_once(served: Served, words: str) -> None:
    run_log_path(served.record.parent, 7, "aggregator").write_text(LogLine("first").text())
    command = [sys.executable, "-c", "from syft_flwr.cli import main; main()", *words.split()]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        try:
            assert process.stdout.readline()
            # No further line comes.
            process.stdout.close()
            assert process.wait(PATIENCE) == 1
            assert process.stderr.read() == b""
        finally:
            process.kill()


def test_stopped_syftbox_client_is_told(served: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = tmp_path / "SyftBox"
    monkeypatch.setenv("SYFTBOX_FOLDER", str(data))
    (data / "datasites").mkdir(parents=True)
    assert fields()["problem"] is None, "no SyftBox client worked in this folder"

    (data / ".data").mkdir()
    told = f"no SyftBox client runs for {data}, so no file is synced. Start the SyftBox client."
    assert fields()["problem"].startswith(told)
    assert told in invoke().stdout
    with ProcessLock(data / ".data" / "syftbox.lock", "a SyftBox client"):
        assert fields()["problem"] is None

    served.end(RunState.COMPLETED)
    assert fields("7")["problem"] is None, "an ended run needs no sync"


def stop(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["stop", *arguments])


@contextmanager
def once_asked(served: Served, act: Callable[[], object]) -> Iterator[None]:
    """Do ``act`` as soon as the run is asked to stop inside the block."""

    def wait() -> None:
        eventually(lambda: (served.home / "stop").is_dir() and list((served.home / "stop").iterdir()), "the request")
        act()

    acting = threading.Thread(target=wait)
    acting.start()
    yield
    acting.join()


def test_run_that_does_not_end_in_time_was_asked(served: Served) -> None:
    result = stop("7", "--wait", "0.1", "--format", "json")
    assert result.exit_code == 1
    error = json.loads(result.stdout)["error"]
    assert error["message"] == "run 7 was asked to stop, but has not ended within 0.1 s"
    process = json.loads(served.record.read_text().splitlines()[0])["process"]
    content = (served.home / "stop" / f"{7:016x}.aggregator").read_text()
    assert json.loads(content) == {"v": 1, "run": "7", "process": process}


def test_silent_process_was_asked_and_ends_later(served: Served) -> None:
    old = served.record.read_text().replace('"time":"2', '"time":"1')
    served.record.write_text(old)
    result = stop("7", "--wait", "0")
    assert result.exit_code == 1
    assert "run 7 was asked to stop, but its process stands still" in result.stderr
    assert list((served.home / "stop").iterdir())


def test_run_that_ends_meanwhile_leaves_no_request(served: Served) -> None:
    with once_asked(served, lambda: served.end(RunState.COMPLETED)):
        result = stop("7")
    assert (result.exit_code, result.stdout) == (0, "Run 7 has ended: completed.\n")
    assert not list((served.home / "stop").iterdir())


def test_stop_of_an_ended_run_says_so(served: Served) -> None:
    served.end(RunState.FAILED, "it broke")
    result = stop("7")
    assert (result.exit_code, result.stdout) == (0, "Run 7 had ended before: failed (it broke).\n")


def test_stop_without_a_process_is_an_error(served: Served) -> None:
    served.leave()
    result = stop("7")
    assert result.exit_code == 1
    assert "run 7 is not served by a process" in result.stderr
    assert not (served.home / "stop").exists()


def test_killed_process_is_told(served: Served) -> None:
    with once_asked(served, served.leave):
        result = stop("7")
    assert "the process of run 7 has ended without an end of the run" in result.stderr
    assert result.exit_code == 1


def test_stop_without_a_record_is_an_error(served: Served) -> None:
    served.record.unlink()
    result = stop("7", "--wait", "0")
    assert result.exit_code == 1
    assert "does not tell its process" in result.stderr


def test_stop_waits_for_the_event_that_tells_the_process(served: Served) -> None:
    """A run that has just begun, or that lost its record, has none before its next event."""
    served.record.unlink()
    later = threading.Timer(0.5, served.emit, (RoundStarted("1", 3),))
    later.start()
    result = stop("7", "--wait", "1")
    later.join()
    assert "was asked to stop, but has not ended within 1 s" in result.stderr
    assert list((served.home / "stop").iterdir())


def test_two_stops_at_once_both_tell_the_end(served: Served) -> None:
    asked: list[int] = []
    served.stream.watch_stops(served.home, lambda run: not asked.append(run))
    command = [sys.executable, "-c", "from syft_flwr.cli import main; main()", "stop", "7"]
    stops = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    try:
        eventually(lambda: asked, "the first request")
        # A request of the second one is told once more, or is deleted because the run is over.
        served.end(RunState.STOPPED, "stopped with `syft-flwr stop`")
        told = [each.communicate(timeout=PATIENCE)[0] for each in stops]
    finally:
        for each in stops:
            each.kill()
            each.wait()
    assert [each.returncode for each in stops] == [0, 0]
    assert all("ended" in text and "stopped" in text for text in told)
    assert set(asked) == {7}
    assert not list((served.home / "stop").iterdir())


def test_stop_of_a_resumed_run_names_its_present_process(served: Served) -> None:
    first = json.loads(served.record.read_text().splitlines()[0])["process"]
    served.leave()
    again = Served(served.home.parents[2], 7)
    again.emit(RunResumed("aggregator", "diabetes", ME, resumed=1))
    assert "was asked to stop" in stop("7", "--wait", "0").stderr
    (request,) = (served.home / "stop").iterdir()
    latest = json.loads(served.record.read_text().splitlines()[-1])["process"]
    assert json.loads(request.read_text())["process"] == latest != first
    again.leave()


def test_stop_of_an_unknown_run_is_a_usage_error() -> None:
    assert stop("7").exit_code == 2
