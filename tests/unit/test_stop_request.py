"""``syft-flwr stop``: only a request for this run and this start of its process ends a run; a hostile file does nothing."""

import json
import os
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from flwr.app import Message, RecordDict
from waiting import PATIENCE, eventually

from syft_flwr.config import load_settings
from syft_flwr.fl_orchestrator import SyftGrid
from syft_flwr.fl_orchestrator.participant import Participant
from syft_flwr.runs.events import RunEnded, RunStarted
from syft_flwr.runs.stop_request import STOPPED_BY_COMMAND, StopFolder, StopRequest
from syft_flwr.runs.stream import EventStream
from syft_flwr.runs.watched_run import WatchedRun
from syft_flwr.testing import FakeClock
from syft_flwr.transport.memory import MemoryNetwork

ME, OWNER, RUN = "ds@university.example", "do@hospital.example", 7
REQUEST = StopRequest("7", "aggregator", "9f3a01bc")


class Asked:
    """The folder of one process, and the runs that it was asked to end."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.runs: list[str] = []
        self.answers = True
        self.folder = StopFolder(home, "aggregator", "9f3a01bc", self._note)
        self.path = home / "stop" / REQUEST.name

    def _note(self, run: str) -> bool:
        self.runs.append(run)
        return self.answers

    def look(self) -> list[str]:
        self.folder.look(["7", "8"])
        return self.runs


@pytest.fixture
def asked(tmp_path: Path) -> Asked:
    return Asked(tmp_path)


def test_request_is_told_once_and_deleted(asked: Asked) -> None:
    assert asked.look() == []
    REQUEST.write(asked.home)
    assert (asked.path.stat().st_mode & 0o777, asked.path.parent.stat().st_mode & 0o777) == (0o600, 0o700)
    assert asked.look() == ["7"]
    assert asked.look() == ["7"]
    assert not asked.path.exists()


def test_request_that_cannot_be_told_now_stays(asked: Asked) -> None:
    asked.answers = False
    REQUEST.write(asked.home)
    assert asked.look() == ["7"]
    asked.answers = True
    assert asked.look() == ["7", "7"]
    assert not asked.path.exists()


@pytest.mark.parametrize(
    "request_", [StopRequest("7", "aggregator", "deadbeef"), StopRequest("9", "aggregator", "9f3a01bc")]
)
def test_request_for_another_process_or_run_is_deleted(asked: Asked, request_: StopRequest) -> None:
    request_.write(asked.home)
    assert asked.look() == []
    assert os.listdir(asked.path.parent) == []


def test_request_for_the_other_side_stays(asked: Asked) -> None:
    StopRequest("7", "datasite", "9f3a01bc").write(asked.home)
    assert asked.look() == []
    assert len(os.listdir(asked.path.parent)) == 1


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff",
        b"[" * 900,
        b'{"v":1,"run":"7"}',
        b'{"v":1,"run":"8","process":"9f3a01bc"}',
        b'{"v":2,"run":"7","process":"9f3a01bc"}',
        b'{"v":1,"run":7,"process":"9f3a01bc"}',
        json.dumps({"v": 1, "run": "7", "process": "9f3a01bc", "pad": "x" * 2_000}).encode(),
    ],
)
def test_file_of_another_form_is_deleted(asked: Asked, content: bytes) -> None:
    asked.path.parent.mkdir()
    asked.path.write_bytes(content)
    assert asked.look() == []
    assert not asked.path.exists()


@pytest.mark.parametrize("kind", ["link", "folder", "pipe", "full folder", "linked folder"])
def test_something_else_in_its_place_is_no_request(asked: Asked, kind: str, logged: list[str]) -> None:
    REQUEST.write(asked.home / "elsewhere")
    target = asked.home / "elsewhere" / "stop" / REQUEST.name
    before = target.read_bytes()
    if kind == "linked folder":
        asked.path.parent.symlink_to(target.parent)
    else:
        asked.path.parent.mkdir()
    if kind == "link":
        asked.path.symlink_to(target)
    elif kind == "pipe":
        os.mkfifo(asked.path)
    elif "folder" in kind and kind != "linked folder":
        asked.path.mkdir()
        if kind == "full folder":
            (asked.path / "file").touch()
    for _ in range(3):
        assert asked.look() == []
    assert target.read_bytes() == before
    assert os.path.lexists(asked.path) == (kind in ("full folder", "linked folder"))
    assert sum("is no request of this process" in line for line in logged) == (kind == "full folder")


@pytest.mark.parametrize("name", ["{}", "{}.aggregator", "{:016x}.datasite", ".{}.aggregator"])
def test_request_is_found_among_thousands_of_files(asked: Asked, name: str) -> None:
    asked.path.parent.mkdir()
    for number in range(3_000):
        (asked.path.parent / name.format(number)).mkdir()
        (asked.path.parent / name.format(number) / "file").touch()
    REQUEST.write(asked.home)
    assert asked.look() == ["7"]
    assert not asked.path.exists()


def test_folder_that_cannot_be_searched_raises_nothing(asked: Asked, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_args: object, **_options: object) -> int:
        raise PermissionError(13, "Permission denied")

    REQUEST.write(asked.home)
    with monkeypatch.context() as patch:
        patch.setattr(os, "stat", refused)
        patch.setattr(os, "open", refused)
        assert asked.look() == []
    assert asked.look() == ["7"]


def test_file_of_another_user_is_no_request(asked: Asked, monkeypatch: pytest.MonkeyPatch) -> None:
    REQUEST.write(asked.home)
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    assert asked.look() == []
    assert not asked.path.exists()


def test_stream_looks_as_long_as_it_serves_a_run(tmp_path: Path) -> None:
    runs: list[int] = []
    with closing(EventStream(tmp_path / "runs", "aggregator", FakeClock())) as events:
        events.watch_stops(tmp_path, lambda run: not runs.append(run))
        events.emit(RUN, RunStarted("aggregator", "app", ME))
        events.flush()
        process = json.loads(next(tmp_path.glob("runs/*.aggregator.jsonl")).read_text().splitlines()[0])["process"]
        StopRequest(str(RUN), "aggregator", process).write(tmp_path)
        eventually(lambda: runs == [RUN], "the request")
        events.emit(RUN, RunEnded("stopped"))


@pytest.fixture
def grid(tmp_path: Path) -> Iterator[SyftGrid]:
    with closing(MemoryNetwork().transport(ME)) as transport:
        settings = load_settings(environ={}, email=ME, home=tmp_path)
        with SyftGrid("stopped", [OWNER], Participant(settings, transport, in_process=True)) as grid:
            yield grid


def test_server_in_a_thread_is_interrupted(grid: SyftGrid, tmp_path: Path) -> None:
    """A notebook or a web server can run a federation beside its main thread."""
    ended: list[BaseException] = []

    def serve() -> None:
        try:
            grid.set_run(RUN)
            message = Message(RecordDict(), grid.get_node_ids()[0], "train")
            grid.send_and_receive([message])
        except KeyboardInterrupt as error:
            ended.append(error)
            grid.end_run(grid.end_of(error))

    thread = threading.Thread(target=serve)
    thread.start()
    settings = load_settings(environ={}, email=ME, home=tmp_path)
    record = eventually(lambda: [*tmp_path.rglob("*7.aggregator.jsonl")], "the record")[0]
    eventually(lambda: b"run-started" in record.read_bytes(), "the begin of the run")
    # Before, the interruption could come in the middle of a start, as a Ctrl-C can.
    eventually(
        lambda: any(each.asked.type == "train" for each in grid._caller._pending.open()), "the wait for the reply"
    )
    home, request = WatchedRun(settings, str(RUN)).stop_request()
    request.write(home)
    thread.join(PATIENCE)
    assert not thread.is_alive()
    assert [type(error) for error in ended] == [KeyboardInterrupt]
    grid.close()
    found = WatchedRun(settings, str(RUN)).found
    assert (found.state, found.cause) == ("stopped", STOPPED_BY_COMMAND)


def test_late_request_does_not_interrupt_the_next_work(grid: SyftGrid) -> None:
    grid.set_run(RUN)
    grid.decide_end()
    assert grid._stop_on_request(RUN)
    assert grid._stop_on_request(RUN + 1)
    assert threading.current_thread() is threading.main_thread(), "and no KeyboardInterrupt came here"
