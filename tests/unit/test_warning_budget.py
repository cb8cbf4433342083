"""Warnings in the record of a run: each peer has a share, and the events of the run keep their space."""

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from waiting import PATIENCE

from syft_flwr import log_once
from syft_flwr.log import logger
from syft_flwr.log_once import OURSELVES, STRANGERS, LogOnce
from syft_flwr.runs import record as record_module
from syft_flwr.runs import stream as stream_module
from syft_flwr.runs.entry import RecordEntry
from syft_flwr.runs.events import LoggedWarning, RequestEnded, RoundStarted, RunEnded, RunStarted
from syft_flwr.runs.record import record_path
from syft_flwr.runs.record_file import MAX_SIZE, MAX_WARNINGS
from syft_flwr.runs.record_reader import read_entries
from syft_flwr.runs.stream import EventStream
from syft_flwr.shares import MOST_PEERS
from syft_flwr.testing import FakeClock

RUN = 7
STARTED = RunStarted("aggregator", "app", "ds@x.org")
HONEST = "honest@y.org"
#: Bytes of the warnings in these tests, so that a flood is small. Each peer has a reserved share of 1,000.
SMALL = 2 * MOST_PEERS * 1_000


class Flooded:
    """The record of one run, and a stream of its events."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.stream = self.reopen()
        self.stream.emit(RUN, STARTED)

    def reopen(self) -> EventStream:
        self.stream = EventStream(self.folder, "aggregator", FakeClock())
        return self.stream

    def warn(self, peer: str, count: int) -> None:
        for number in range(count):
            self.stream.emit(RUN, LoggedWarning("warning", f"file {number} of {peer} is ignored", peer))
        assert self.stream.flush()

    def play_rounds(self, count: int) -> None:
        for number in range(count):
            self.stream.emit(RUN, RoundStarted(str(number)))
            self.stream.emit(RUN, RequestEnded(f"{number:032x}", HONEST, "train", "answered", str(number)))

    def entries(self, event: str) -> list[RecordEntry]:
        return [entry for entry in read_entries(record_path(self.folder, RUN, "aggregator")) if entry.event == event]

    def warnings_of(self, peer: str) -> int:
        return sum(entry.text("peer") == peer for entry in self.entries("warning"))


@pytest.fixture
def flooded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Flooded]:
    monkeypatch.setattr(record_module, "MAX_WARNINGS", SMALL)
    made = Flooded(tmp_path / "runs")
    yield made
    made.stream.close()


@pytest.mark.parametrize(("greedy", "each"), [(1, 2_000), (64, 1_000)])
def test_flood_of_warnings_takes_only_its_shares(flooded: Flooded, greedy: int, each: int) -> None:
    flooded.warn("first@y.org", 1)
    for number in range(greedy):
        flooded.warn(f"do{number}@y.org", each)
    flooded.warn(HONEST, 5)
    flooded.play_rounds(100)
    flooded.stream.emit(RUN, RunEnded("completed"))
    assert flooded.stream.flush()

    assert flooded.warnings_of("first@y.org") == 1
    assert flooded.warnings_of(HONEST) == 5
    assert len(flooded.entries("round-started")) == len(flooded.entries("request-ended")) == 100
    assert sum(len(entry.encode()) for entry in flooded.entries("warning")) <= SMALL
    told = sum(entry.number("count") for entry in flooded.entries("lost"))
    assert told == greedy * each + 6 - len(flooded.entries("warning")) > 0
    assert {entry.text("place") for entry in flooded.entries("lost")} == {"warnings"}
    (end,) = flooded.entries("run-ended")
    assert end.fields["lost"] == {"warnings": told}


def test_lines_about_left_out_warnings_are_few(flooded: Flooded) -> None:
    flooded.warn("do@y.org", 1_000)
    for _ in range(300):
        flooded.warn("do@y.org", 5)
    flooded.stream.emit(RUN, RunEnded("completed"))
    assert flooded.stream.flush()

    assert 0 < len(flooded.entries("lost")) <= 12


def test_restart_gives_a_peer_no_further_share(flooded: Flooded) -> None:
    flooded.warn("do@y.org", 1_000)
    before = flooded.warnings_of("do@y.org")
    flooded.stream.close()
    flooded.reopen()
    flooded.warn("do@y.org", 1_000)
    flooded.warn(HONEST, 5)

    assert flooded.warnings_of("do@y.org") == before
    assert flooded.warnings_of(HONEST) == 5


def test_waiting_warnings_leave_the_queue_to_the_run(flooded: Flooded, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream_module, "_MAX_QUEUED", 3_000)
    entered, gate = threading.Event(), threading.Event()
    write = flooded.stream._write

    def slowly(run: int, batch: list[object]) -> None:
        entered.set()
        assert gate.wait(PATIENCE)
        write(run, batch)  # type: ignore[arg-type]

    monkeypatch.setattr(flooded.stream, "_write", slowly)
    flooded.play_rounds(1)
    assert entered.wait(PATIENCE)
    for number in range(20_000):
        flooded.stream.emit(RUN, LoggedWarning("warning", str(number), "do@y.org"))
    flooded.stream.emit(RUN, LoggedWarning("warning", "one", HONEST))
    flooded.play_rounds(100)
    gate.set()
    assert flooded.stream.flush()

    assert len(flooded.entries("round-started")) == 101
    assert flooded.warnings_of(HONEST) == 1
    assert {entry.text("place") for entry in flooded.entries("lost")} == {"warnings"}


def test_end_is_recorded_also_when_the_queue_is_full(flooded: Flooded, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream_module, "_MAX_QUEUED", 0)

    flooded.play_rounds(3)
    flooded.stream.emit(RUN, RunEnded("completed"))
    assert flooded.stream.flush()

    assert flooded.entries("round-started") == []
    (end,) = flooded.entries("run-ended")
    assert end.fields["lost"] == {"queue": 6}


def log(logged: LogOnce, peer: str, count: int) -> None:
    for number in range(count):
        logged.warning(peer, f"{peer} {number}", "{} of {} is ignored", number, peer)


def test_log_lines_count_for_their_peer(flooded: Flooded, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_once, "logger", logger.patch(lambda record: record.update(name="syft_flwr.x")))
    logged = LogOnce()
    with flooded.stream.capturing_log():
        log(logged, STRANGERS, 1_000)
        log(logged, "do@y.org", 1_000)
        log(logged, HONEST, 1)
        log(logged, OURSELVES, 5)
    assert flooded.stream.flush()

    found = {peer: flooded.warnings_of(peer) for peer in (STRANGERS, "do@y.org", HONEST, "")}
    assert found[HONEST] == 1
    assert found[""] == 5
    assert 5 < found["do@y.org"] < found[STRANGERS] < 1_000


def test_warnings_have_a_quarter_of_a_record() -> None:
    assert MAX_WARNINGS * 4 <= MAX_SIZE
