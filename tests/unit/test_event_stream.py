"""The stream of events of a process: events are written in order, nothing blocks ``emit``, and losses are counted."""

import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import psutil
import pytest
from loguru import logger
from waiting import PATIENCE, eventually

from syft_flwr.runs import stream as stream_module
from syft_flwr.runs import subscriber as subscriber_module
from syft_flwr.runs.entry import RecordEntry
from syft_flwr.runs.events import LoggedWarning, RunEnded, RunStarted, Seen
from syft_flwr.runs.record import record_path
from syft_flwr.runs.record_reader import read_entries
from syft_flwr.runs.status import RunStatuses
from syft_flwr.runs.stream import EventStream
from syft_flwr.runs.subscriber import OnEvent
from syft_flwr.testing import FakeClock

RUN = 7
STARTED = RunStarted("aggregator", "app", "ds@x.org")


class Place:
    """A folder of records, and the streams that a test opens there."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self.folder = folder
        self.clock = FakeClock()
        self._stack = stack

    def open(self, on_event: OnEvent | None = None, *, beat_every: float = 3_600.0) -> EventStream:
        opened = EventStream(self.folder, "aggregator", self.clock, on_event, beat_every=beat_every)
        self._stack.callback(opened.close)
        return opened

    def read(self, run: int = RUN) -> list[RecordEntry]:
        return list(read_entries(record_path(self.folder, run, "aggregator")))

    def events(self, run: int = RUN) -> list[str]:
        return [entry.event for entry in self.read(run)]

    def owners(self, run: int = RUN) -> list[str]:
        return [entry.fields["data_owner"] for entry in self.read(run) if entry.event == "seen"]

    def lost(self, run: int = RUN) -> dict[str, int]:
        """Return the losses that the record tells, by place."""
        found: dict[str, int] = {}
        for entry in self.read(run):
            if entry.event == "lost":
                found[entry.fields["place"]] = found.get(entry.fields["place"], 0) + entry.fields["count"]
        return found


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    with ExitStack() as stack:
        yield Place(tmp_path / "runs", stack)


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    """Return an event on which a blocked subscriber waits. It is set at the end, so that its thread ends."""
    opened = threading.Event()
    yield opened
    opened.set()


# Order and runs


def test_events_are_written_in_order_with_their_times(place: Place) -> None:
    events = place.open()
    for number in range(2_500):
        events.emit(RUN, Seen(str(number)))
        place.clock.advance(0.5)

    assert events.flush()

    found = place.read()
    assert [entry.fields["data_owner"] for entry in found] == [str(number) for number in range(2_500)]
    assert [entry.n for entry in found] == [*range(1, 2_501)]
    assert [entry.elapsed for entry in found] == [number / 2 for number in range(2_500)]
    assert len({entry.process for entry in found}) == 1


def test_events_of_many_threads_are_all_written(place: Place) -> None:
    events = place.open()

    def emit(name: int) -> None:
        for number in range(200):
            events.emit(RUN, Seen(f"{name} {number}"))

    threads = [threading.Thread(target=emit, args=(name,)) for name in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert events.flush()

    for name in range(8):
        mine = [owner for owner in place.owners() if owner.startswith(f"{name} ")]
        assert mine == [f"{name} {number}" for number in range(200)]


def test_each_run_has_its_own_record(place: Place) -> None:
    events = place.open()
    runs = range(1, 21)
    for _ in range(3):
        for run in runs:
            events.emit(run, Seen(str(run)))
        assert events.flush()

    assert all(place.owners(run) == [str(run)] * 3 for run in runs)
    assert all([entry.n for entry in place.read(run)] == [1, 2, 3] for run in runs)


def test_record_of_an_ended_run_is_closed_until_a_late_event(place: Place) -> None:
    events = place.open()

    def is_open() -> bool:
        return any(Path(file.path).name.startswith(f"{RUN:016x}.") for file in psutil.Process().open_files())

    events.emit(RUN, Seen("one"))
    assert events.flush()
    assert is_open()
    events.emit(RUN, RunEnded("completed"))
    assert events.flush()
    assert not is_open()
    events.emit(RUN, Seen("two"))
    assert events.flush()
    assert [entry.n for entry in place.read()] == [1, 2, 3]


def test_next_process_continues_the_record(place: Place) -> None:
    for number in range(2):
        events = place.open()
        events.emit(RUN, Seen(str(number)))
        events.close()

    assert [entry.n for entry in place.read()] == [1, 2]
    assert len({entry.process for entry in place.read()}) == 2


def test_close_writes_the_queued_events(place: Place) -> None:
    events = place.open()
    for number in range(500):
        events.emit(RUN, Seen(str(number)))

    events.close()

    assert len(place.read()) == 500
    assert not any(thread.name.startswith("run-") and thread.is_alive() for thread in threading.enumerate())


# Subscribers


def test_subscriber_gets_the_entries_of_the_record(place: Place) -> None:
    got: list[RecordEntry] = []
    events = place.open(got.append)
    for event in (STARTED, Seen("do@y.org"), RunEnded("completed")):
        events.emit(RUN, event)
    events.close()

    assert got == place.read()
    assert [entry.event for entry in got] == ["run-started", "seen", "run-ended"]
    assert "lost" not in got[-1].fields


def test_subscriber_that_raises_is_counted_and_said_once(place: Place, logged: list[str]) -> None:
    def on_event(entry: RecordEntry) -> None:
        raise ValueError("no")

    events = place.open(on_event)
    events.emit(RUN, STARTED)
    for number in range(4):
        events.emit(RUN, Seen(str(number)))
    events.emit(RUN, RunEnded("completed"))
    events.close()

    assert place.owners() == ["0", "1", "2", "3"]
    assert place.lost() == {"subscriber": 5}
    assert place.read()[-1].fields["lost"] == {"subscriber": 5}
    assert len([line for line in logged if "on_event raised ValueError" in line]) == 1


def test_subscriber_that_blocks_delays_no_event(
    place: Place, gate: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream_module, "_SUBSCRIBER_PATIENCE", 0.05)
    events = place.open(lambda entry: bool(gate.wait(PATIENCE)))
    events.emit(RUN, STARTED)
    for number in range(100):
        events.emit(RUN, Seen(str(number)))
    assert events.flush()
    assert len(place.read()) == 101

    events.emit(RUN, RunEnded("completed"))
    assert events.flush()

    assert place.lost() == {"subscriber": 101}
    assert place.read()[-1].fields["lost"] == {"subscriber": 101}
    events.close()


def test_slow_subscriber_loses_what_its_queue_cannot_hold(
    place: Place, gate: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subscriber_module, "_MAX_QUEUED", 10)
    got: list[str] = []
    entered = threading.Event()

    def on_event(entry: RecordEntry) -> None:
        entered.set()
        assert gate.wait(PATIENCE)
        got.append(entry.event)

    events = place.open(on_event)
    events.emit(RUN, STARTED)
    assert entered.wait(PATIENCE)
    for number in range(30):
        events.emit(RUN, Seen(str(number)))
    assert events.flush()
    gate.set()
    eventually(lambda: len(got) == 11, "the entries in the queue")

    events.emit(RUN, RunEnded("completed"))
    events.close()

    assert place.lost() == {"subscriber": 20}
    assert got == ["run-started", *["seen"] * 10, "lost", "run-ended"]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_subscriber_that_exits_its_thread_stops_nothing(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream_module, "_SUBSCRIBER_PATIENCE", 0.05)

    def on_event(entry: RecordEntry) -> None:
        raise SystemExit

    events = place.open(on_event)
    for event in (STARTED, Seen("a"), RunEnded("completed")):
        events.emit(RUN, event)
    events.close()

    assert [event for event in place.events() if event != "lost"] == ["run-started", "seen", "run-ended"]
    assert place.lost()["subscriber"] >= 2


# Losses


def test_events_beyond_the_queue_are_counted(
    place: Place, gate: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream_module, "_MAX_QUEUED", 5)
    events = place.open()
    entered = threading.Event()
    write = events._write

    def slowly(run: int, batch: list[object]) -> None:
        entered.set()
        assert gate.wait(PATIENCE)
        write(run, batch)  # type: ignore[arg-type]

    monkeypatch.setattr(events, "_write", slowly)
    events.emit(RUN, STARTED)
    assert entered.wait(PATIENCE)
    for number in range(12):
        events.emit(RUN, Seen(str(number)))
    gate.set()
    assert events.flush()
    events.emit(RUN, RunEnded("completed"))
    assert events.flush()

    assert place.owners() == ["0", "1", "2", "3", "4"]
    assert place.lost() == {"queue": 7}
    assert place.read()[-1].fields["lost"] == {"queue": 7}


def test_full_disk_loses_events_and_says_so_later(place: Place, small_disk: Path, logged: list[str]) -> None:
    place.folder = small_disk
    events = place.open()
    events.emit(RUN, STARTED)
    assert events.flush()
    ballast = small_disk / "ballast"
    with ballast.open("wb", buffering=0) as file:
        try:
            while file.write(bytes(4096)):
                pass
        except OSError:
            pass
    for number in range(3):
        for _ in range(20):
            events.emit(RUN, Seen("x" * 400))
        assert events.flush(), number
    ballast.unlink()

    events.emit(RUN, RunEnded("completed"))
    assert events.flush()

    lost = place.lost()["record"]
    assert 0 < lost <= 60
    found = place.read()
    assert found[-1].fields["lost"] == {"record": lost}
    # The numbers of the lost events are not used again.
    assert found[-1].n >= 60
    assert len([line for line in logged if line.startswith("WARNING the record of run 7")]) == 1


def test_file_in_place_of_the_folder_stops_nothing(place: Place, logged: list[str]) -> None:
    place.folder.write_bytes(b"in the way")
    got: list[RecordEntry] = []
    events = place.open(got.append)
    for event in (STARTED, Seen("a"), RunEnded("completed")):
        events.emit(RUN, event)
        assert events.flush()
    events.close()

    assert [entry.event for entry in got if entry.event != "lost"] == ["run-started", "seen", "run-ended"]
    assert got[-1].fields["lost"] == {"record": 2}
    assert len([line for line in logged if "the record of run 7 cannot be written" in line]) == 1


def test_status_file_has_the_counts_of_the_record(place: Place) -> None:
    events = place.open()
    events.emit(RUN, STARTED)
    events.emit(RUN, RunEnded("failed", "why"))
    events.emit(0, Seen("a"))
    assert events.flush()

    (status,) = RunStatuses(place.folder).all()
    assert (status.run, status.state, status.cause, status.role) == (RUN, "failed", "why", "aggregator")


# The log


def log_as_ours(level: str, text: str) -> None:
    logger.patch(lambda record: record.update(name="syft_flwr.somewhere")).log(level, text)


def test_warnings_belong_to_each_served_run(place: Place) -> None:
    events = place.open()
    with events.capturing_log():
        log_as_ours("WARNING", "before")
        events.emit(1, STARTED)
        events.emit(2, STARTED)
        log_as_ours("ERROR", "both:\nwith a second line")
        events.emit(1, RunEnded("completed"))
        log_as_ours("WARNING", "one")
        log_as_ours("INFO", "no warning")
        logger.warning("of another program")
    log_as_ours("WARNING", "after")
    assert events.flush()

    texts = {
        run: [entry.fields["text"] for entry in place.read(run) if entry.event == LoggedWarning.name]
        for run in (0, 1, 2)
    }
    assert texts == {0: ["before"], 1: ["both"], 2: ["both", "one"]}
    assert [entry.fields["level"] for entry in place.read(2) if entry.event == "warning"] == ["error", "warning"]


def test_program_may_remove_all_sinks_of_the_log(place: Place) -> None:
    events = place.open()
    with events.capturing_log():
        logger.remove()

    assert events.flush()


# Beats


def test_served_runs_have_beats_until_their_end(place: Place) -> None:
    events = place.open(beat_every=0.05)
    events.emit(RUN, STARTED)
    events.emit(RUN + 1, STARTED)
    eventually(lambda: place.events().count("beat") >= 3 and place.events(RUN + 1).count("beat") >= 3, "beats")
    events.emit(RUN, RunEnded("completed"))
    events.flush()
    at_the_end = place.events(RUN + 1).count("beat")
    eventually(lambda: place.events(RUN + 1).count("beat") > at_the_end + 2, "further beats")

    assert place.events()[0] == "run-started"
    assert place.events()[-1] == "run-ended", "no beat comes after the end"


def test_no_beat_is_written_after_the_last_run(place: Place) -> None:
    events = place.open(beat_every=0.01)
    events.emit(RUN, STARTED)
    events.emit(RUN, RunEnded("completed"))
    for number in range(20):
        events.emit(RUN, Seen(str(number)))
        events.emit(0, Seen(str(number)))
        events.flush()

    found = place.events()
    assert "beat" not in (*found[found.index("run-ended") :], *place.events(0))


def test_begin_of_a_run_has_no_beat_at_once(place: Place) -> None:
    events = place.open(beat_every=3_600.0)
    events.emit(RUN, STARTED)
    events.emit(RUN, RunEnded("completed"))
    events.emit(RUN + 1, STARTED)
    events.emit(RUN + 1, Seen("do@y.org"))
    events.flush()
    events.emit(RUN + 1, Seen("do@z.org"))
    events.flush()

    assert place.events(RUN + 1) == ["run-started", "seen", "seen"]


def test_latest_runs_of_many_have_beats(place: Place) -> None:
    events = place.open(beat_every=0.2)
    for run in range(1, 131):
        events.emit(run, STARTED)
    eventually(lambda: "beat" in place.events(130) and "beat" in place.events(31), "the beats")

    assert not any("beat" in place.events(run) for run in range(1, 31))
