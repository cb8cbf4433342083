"""The record of a run in its process: its status file is a cache, written at most once a second and at the end."""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from syft_flwr.runs.events import Event, RequestEnded, RequestReceived, RequestSent, RunEnded, RunResumed, RunStarted
from syft_flwr.runs.record import Emitted, Role, RunRecord, record_path, runs_folder
from syft_flwr.runs.record_reader import read_entries
from syft_flwr.runs.status import RunStatus, RunStatuses
from syft_flwr.testing import FakeClock

RUN = 7


class Served:
    """A participant's home for one app, which several processes use one after another."""

    def __init__(self, home: Path) -> None:
        self.folder = runs_folder(home)
        self.clock = FakeClock()
        self.lost: Counter[str] = Counter()

    def record(self, role: Role = "aggregator", run: int = RUN) -> RunRecord:
        """Return the record in a newly started process."""
        self.lost = Counter()
        return RunRecord(self.folder, run, role, "9f3a01bc", self.lost)

    def add(self, record: RunRecord, *events: Event) -> None:
        record.add([Emitted(event, self.clock.now(), self.clock.monotonic()) for event in events])

    def read(self, role: Role = "aggregator", run: int = RUN) -> RunStatus:
        """Return the status that another process reads."""
        found = RunStatuses(self.folder).get(run, role)
        assert found is not None
        return found

    def writes(self) -> Iterator[RunStatus | None]:
        """Yield the status if its file was written since the last step, else None."""
        (path,) = self.folder.glob(f"{RUN:016x}*.status.json")
        inode = 0
        while True:
            # Every write replaces the file by a new one.
            changed, inode = path.stat().st_ino != inode, path.stat().st_ino
            yield self.read() if changed else None


@pytest.fixture
def served(tmp_path: Path) -> Served:
    return Served(tmp_path / "app")


def started(role: Role = "aggregator") -> RunStarted:
    return RunStarted(role, "app", "ds@x.org")


def sent(number: int, name: str = "1") -> RequestSent:
    return RequestSent(f"{number:032x}", "do@y.org", "train", name)


def ended(number: int, outcome: str = "answered") -> RequestEnded:
    return RequestEnded(f"{number:032x}", "do@y.org", "train", outcome, "1")


def test_run_is_in_the_status_when_it_begins(served: Served) -> None:
    start = served.clock.now()

    served.add(served.record(), started())

    assert served.read() == RunStatus(RUN, "app", "aggregator", "running", started=start, updated=start)


def test_status_has_counts_and_the_time_of_the_last_event(served: Served) -> None:
    record = served.record()
    served.add(record, started(), sent(1), sent(2), sent(3), ended(1), ended(2, "failed"))
    served.clock.advance(5)
    served.add(record, sent(4))

    found = served.read()

    assert (found.asked, found.answered, found.failed) == (4, 1, 1)
    assert (found.state, found.updated - found.started) == ("running", timedelta(seconds=5))


@given(pauses=st.lists(st.floats(0, 3), max_size=30))
def test_status_writes_are_a_second_apart(tmp_path_factory: pytest.TempPathFactory, pauses: list[float]) -> None:
    served = Served(tmp_path_factory.mktemp("app"))
    record = served.record()
    served.add(record, started())
    writes = served.writes()
    assert next(writes)
    due = served.clock.monotonic() + 1.0

    for number, pause in enumerate(pauses, 1):
        served.clock.advance(pause)
        served.add(record, sent(number))
        written, now = next(writes), served.clock.monotonic()
        assert (written is not None) == (now >= due)
        if written is not None:
            assert written.asked == number
            due = now + 1.0
    served.add(record, RunEnded("completed"))
    assert served.read().asked == len(pauses)


@pytest.mark.parametrize("state", ["completed", "failed", "stopped"])
def test_end_is_written_at_once_with_all_counts(served: Served, state: str) -> None:
    record = served.record()
    served.add(record, started())
    served.add(record, sent(1), sent(2), ended(1), ended(2, "failed"))

    served.add(record, RunEnded(state, "why"))

    found = served.read()
    assert (found.state, found.cause, found.asked, found.answered, found.failed) == (state, "why", 2, 1, 1)


def test_close_writes_the_latest_counts(served: Served) -> None:
    record = served.record()
    served.add(record, started())
    served.add(record, sent(1))
    assert served.read().asked == 0

    record.close()

    assert served.read().asked == 1


def test_only_a_resumed_aggregator_resets_its_counts(served: Served) -> None:
    counts = {}
    roles: tuple[Role, ...] = ("aggregator", "datasite")
    for role in roles:
        first = served.record(role)
        asked = sent(1) if role == "aggregator" else RequestReceived("1" * 32, "ds@x.org", "train", "1")
        served.add(first, started(role), asked)
        first.close()
        again = served.record(role)
        served.add(again, RunResumed(role, "app", "ds@x.org", resumed=1))
        found = served.read(role)
        counts[role] = (found.asked, found.resumed, found.state)
    assert counts == {"aggregator": (0, 1, "running"), "datasite": (1, 1, "running")}


def test_each_role_of_an_email_has_its_files(served: Served) -> None:
    served.add(served.record(), started(), sent(1))
    served.add(served.record("datasite"), started("datasite"), RunEnded("completed"))

    found = RunStatuses(served.folder).all()
    assert {(status.role, status.state, status.asked) for status in found} == {
        ("aggregator", "running", 1),
        ("datasite", "completed", 0),
    }
    assert len(list(read_entries(record_path(served.folder, RUN, "aggregator")))) == 2


def test_events_of_no_run_have_no_status(served: Served) -> None:
    served.add(served.record(run=0), sent(1))

    assert RunStatuses(served.folder).all() == []
    assert len(list(read_entries(record_path(served.folder, 0, "aggregator")))) == 1


def test_deleted_folder_is_written_again(served: Served) -> None:
    record = served.record()
    served.add(record, started(), sent(1))
    for path in served.folder.iterdir():
        path.unlink()
    served.folder.rmdir()
    served.clock.advance(1)

    served.add(record, ended(1))

    assert (served.read().asked, served.read().answered) == (1, 1)
    assert [entry.n for entry in read_entries(record_path(served.folder, RUN, "aggregator"))] == [3]
    assert served.lost == {}


def test_removed_entries_of_a_large_record_are_said(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("syft_flwr.runs.record_file.RecordFile.__init__.__defaults__", (5_000,))
    record = served.record()
    served.add(record, started())
    for number in range(40):
        served.add(record, sent(number), ended(number))
    served.add(record, RunEnded("completed"))

    found = list(read_entries(record_path(served.folder, RUN, "aggregator")))
    said = sum(entry.fields["count"] for entry in found if entry.event == "lost" and entry.fields["place"] == "size")
    assert said == served.lost["size"] > 0
    assert found[0].event == "run-started"
    # The numbers show the gaps, and no number comes twice.
    assert len({entry.n for entry in found}) == len(found)
    assert found[-1].n - len(found) == said


def fill(folder: Path) -> None:
    with (folder / "ballast").open("wb", buffering=0) as file, suppress(OSError):
        while file.write(bytes(4_096)):
            pass


def block(folder: Path) -> None:
    folder.rmdir()
    folder.write_bytes(b"in the way")


@pytest.mark.parametrize("damage", [fill, block])
def test_unwritable_record_is_logged_once(
    served: Served, small_disk: Path, logged: list[str], damage: Callable[[Path], None]
) -> None:
    served.folder = small_disk if damage is fill else small_disk / "runs"
    served.folder.mkdir(exist_ok=True)
    damage(served.folder)
    record = served.record()
    for number in range(3):
        served.clock.advance(5)
        served.add(record, RequestSent(f"{number:032x}", "x" * 500, "train"), sent(number))

    assert served.lost["record"] == 6
    assert len([line for line in logged if line.startswith("WARNING the record of run 7 cannot")]) == 1
    if damage is fill:
        (small_disk / "ballast").unlink()
    else:
        served.folder.unlink()
    served.add(record, RunEnded("completed"))

    found = list(read_entries(record_path(served.folder, RUN, "aggregator")))
    assert [entry.event for entry in found][-2:] == ["lost", "run-ended"]
    assert found[-2].fields == {"count": 6, "place": "record"}
