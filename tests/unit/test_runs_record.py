"""The record of a run in its process: it is kept up to date, written at most once a second, and ended once."""

import threading
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from syft_flwr._messaging.wire.limits import MAX_LIFETIME
from syft_flwr._store.states import RunState
from syft_flwr.runs.record import RESUMABLE, Role, RunRecord, status_folder
from syft_flwr.runs.status import RunStatus, RunStatuses
from syft_flwr.testing import FakeClock

RUN = 7


class Served:
    """A participant's home for one app, which several processes use one after another."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.clock = FakeClock()

    def record(self, role: Role = "aggregator") -> RunRecord:
        """Return the record of a newly started process."""
        return RunRecord(self.home, "app", role, self.clock)

    def read(self, run: int = RUN) -> RunStatus:
        """Return the status that another process reads."""
        (found,) = (status for status in RunStatuses(status_folder(self.home)).all() if status.run == run)
        return found

    def writes(self, run: int = RUN) -> Iterator[RunStatus | None]:
        """Yield the status if its file was written since the last step, else None."""
        (path,) = status_folder(self.home).glob(f"{run:016x}*")
        inode = 0
        while True:
            # Every write replaces the file by a new one.
            changed, inode = path.stat().st_ino != inode, path.stat().st_ino
            yield self.read(run) if changed else None


@pytest.fixture
def served(tmp_path: Path) -> Served:
    return Served(tmp_path / "app")


# A running run


def test_run_is_recorded_when_it_begins(served: Served) -> None:
    start = served.clock.now()

    served.record().begin(RUN)

    assert served.read() == RunStatus(RUN, "app", "aggregator", "running", started=start, updated=start)


def test_status_has_message_counts_and_latest_round(served: Served) -> None:
    record = served.record()
    record.begin(RUN)
    record.note(RUN, asked=3, round_name="1")
    record.note(RUN, answered=2)
    record.note(RUN, answered=0, failed=1)
    record.note(RUN, asked=2, round_name="2")
    served.clock.advance(5)
    record.note(RUN)

    found = served.read()

    assert (found.asked, found.answered, found.failed, found.round) == (5, 2, 1, "2")
    assert (found.state, found.updated - found.started) == ("running", timedelta(seconds=5))


def test_unnamed_round_keeps_the_last_round_name(served: Served) -> None:
    record = served.record()
    record.begin(RUN)
    record.note(RUN, asked=1, round_name="1")
    record.note(RUN, asked=1, round_name="")
    record.end(RUN, RunState.COMPLETED, "")

    assert served.read().round == "1"


def test_status_is_written_at_most_once_a_second(served: Served) -> None:
    record = served.record()
    record.begin(RUN)
    writes = served.writes()
    assert next(writes)

    for number in range(10):
        record.note(RUN, asked=1)
        assert next(writes) is None, f"written again after {number} tenths of a second"
        served.clock.advance(0.09)
    served.clock.advance(0.125)
    record.note(RUN, asked=1)

    written = next(writes)
    assert written is not None
    assert written.asked == 11
    record.note(RUN, asked=1)
    assert next(writes) is None


@given(pauses=st.lists(st.floats(0, 3), max_size=30))
def test_status_writes_are_a_second_apart(tmp_path_factory: pytest.TempPathFactory, pauses: list[float]) -> None:
    served = Served(tmp_path_factory.mktemp("app"))
    record = served.record()
    record.begin(RUN)
    writes = served.writes()
    assert next(writes)
    last = served.clock.monotonic()

    for number, pause in enumerate(pauses, 1):
        served.clock.advance(pause)
        record.note(RUN, asked=1)
        written = next(writes)
        now = served.clock.monotonic()
        assert (written is not None) == (now - last >= 1.0)
        if written is not None:
            assert written.asked == number
            last = now
    record.end(RUN, RunState.COMPLETED, "")
    assert served.read().asked == len(pauses)


def test_write_interval_is_per_run(served: Served) -> None:
    record = served.record()
    record.begin(1)
    record.begin(2)
    served.clock.advance(1)

    record.note(1, asked=1)
    record.note(2, asked=2)

    assert [served.read(run).asked for run in (1, 2)] == [1, 2]


def test_run_that_was_not_begun_is_not_counted(served: Served) -> None:
    record = served.record()
    record.note(RUN, asked=1)
    record.end(RUN, RunState.FAILED, "why")

    assert RunStatuses(status_folder(served.home)).all() == []


def test_concurrent_counts_are_not_lost(served: Served) -> None:
    record = served.record()
    record.begin(RUN)
    together = threading.Barrier(8)

    def count() -> None:
        together.wait()
        for _ in range(200):
            record.note(RUN, asked=1, answered=1)

    threads = [threading.Thread(target=count) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    record.end(RUN, RunState.COMPLETED, "")

    assert (served.read().asked, served.read().answered) == (1_600, 1_600)


# The end of a run


@pytest.mark.parametrize("state", [RunState.COMPLETED, RunState.FAILED, RunState.STOPPED])
def test_end_is_written_at_once_with_all_counts(served: Served, state: RunState) -> None:
    record = served.record()
    record.begin(RUN)
    record.note(RUN, asked=2, answered=1, failed=1)

    record.end(RUN, state, "why")

    found = served.read()
    assert (found.state, found.cause, found.asked, found.answered, found.failed) == (state, "why", 2, 1, 1)


def test_first_recorded_end_is_final(served: Served) -> None:
    record = served.record()
    record.begin(RUN)
    record.end(RUN, RunState.FAILED, "the ServerApp raised KeyError")
    served.clock.advance(10)

    record.end(RUN, RunState.COMPLETED, "")
    record.note(RUN, asked=1)

    found = served.read()
    assert (found.state, found.cause, found.asked) == ("failed", "the ServerApp raised KeyError", 0)
    assert found.updated == found.started


# Later processes


def test_restart_is_counted_and_keeps_start_time(served: Served) -> None:
    served.record().begin(RUN)
    start = served.clock.now()

    for times in (1, 2):
        served.clock.advance(3_600)
        served.record().begin(RUN)

        found = served.read()
        assert (found.resumed, found.state, found.started) == (times, "running", start)
        assert found.updated == served.clock.now()


def test_beginning_a_run_twice_changes_nothing(served: Served) -> None:
    record = served.record()
    record.begin(RUN)
    record.note(RUN, asked=1)
    served.clock.advance(10)
    record.begin(RUN)
    record.end(RUN, RunState.COMPLETED, "")

    assert (served.read().resumed, served.read().asked) == (0, 1)


def test_ended_run_can_begin_again(served: Served) -> None:
    record = served.record()
    record.begin(RUN)
    record.note(RUN, asked=5)
    record.end(RUN, RunState.FAILED, "why")
    served.clock.advance(60)

    served.record().begin(RUN)

    now = served.clock.now()
    assert served.read() == RunStatus(RUN, "app", "aggregator", "running", started=now, updated=now)


def test_unfinished_runs_are_listed_latest_first(served: Served) -> None:
    earlier = served.record()
    for run in (3, 1, 4, 2):
        earlier.begin(run)
        served.clock.advance(60)
    earlier.end(4, RunState.COMPLETED, "")
    served.record("datasite").begin(5)

    later = served.record()

    assert [status.run for status in later.unfinished()] == [2, 1, 3]
    assert [status.run for status in served.record("datasite").unfinished()] == [5]
    # A run that this process serves is not listed.
    later.begin(2)
    assert [status.run for status in later.unfinished()] == [1, 3]


def test_superseded_run_is_stopped(served: Served) -> None:
    served.record().begin(1)
    later = served.record()
    later.begin(2)
    served.clock.advance(60)

    for status in list(later.unfinished()):
        later.supersede(status)

    found = served.read(1)
    assert (found.state, found.cause, found.updated) == (
        "stopped",
        "another run took its place",
        served.clock.now(),
    )
    assert list(served.record().unfinished()) == [served.read(2)]


def test_each_role_of_an_email_has_a_status(served: Served) -> None:
    aggregator, owner = served.record(), served.record("datasite")
    aggregator.begin(RUN)
    owner.begin(RUN)
    aggregator.note(RUN, asked=2)
    owner.note(RUN, asked=1)
    served.clock.advance(2)
    owner.end(RUN, RunState.COMPLETED, "Server stopped")

    # The server was killed. The end that its own data owner recorded does not end the run.
    assert [status.run for status in served.record().unfinished()] == [RUN]
    found = RunStatuses(status_folder(served.home)).all()
    assert {(status.role, status.state) for status in found} == {("aggregator", "running"), ("datasite", "completed")}


# A folder that cannot be written


def test_unwritable_status_is_logged_once(served: Served, small_disk: Path, logged: list[str]) -> None:
    served.home = small_disk
    record = served.record()
    record.begin(RUN)
    (small_disk / "ballast").write_bytes(bytes(200 << 10))
    served.clock.advance(5)
    record.note(RUN, asked=1, round_name="x" * 100_000)
    served.clock.advance(5)
    record.note(RUN, asked=1)
    assert served.read().asked == 0

    (small_disk / "ballast").unlink()
    record.end(RUN, RunState.COMPLETED, "")

    assert (served.read().asked, served.read().state) == (2, "completed")
    assert len([line for line in logged if line.startswith("WARNING") and str(RUN) in line]) == 1


def test_file_in_place_of_the_folder_is_tolerated(served: Served, logged: list[str]) -> None:
    served.home.mkdir()
    status_folder(served.home).write_bytes(b"in the way")
    record = served.record()

    record.begin(RUN)
    record.note(RUN, asked=1)
    record.end(RUN, RunState.COMPLETED, "")

    assert len([line for line in logged if line.startswith("WARNING")]) == 1


def test_only_a_resumed_aggregator_resets_its_counts(served: Served) -> None:
    counts = {}
    roles: tuple[Role, ...] = ("aggregator", "datasite")
    for role in roles:
        served.record(role).begin(RUN)
        first = served.record(role)
        first.begin(RUN)
        first.note(RUN, asked=4, answered=3, failed=1)
        served.clock.advance(2)
        first.note(RUN)
        again = served.record(role)
        again.begin(RUN)
        again.end(RUN, RunState.COMPLETED, "")
        [status] = [each for each in RunStatuses(status_folder(served.home)).all() if each.role == role]
        counts[role] = (status.asked, status.answered, status.failed)
    assert counts == {"aggregator": (0, 0, 0), "datasite": (4, 3, 1)}


def test_old_interrupted_run_is_not_resumed(served: Served) -> None:
    served.record().begin(RUN)
    assert served.record().interrupted() is not None
    served.clock.advance(MAX_LIFETIME.total_seconds() + 1)
    assert served.record().interrupted() is None


def test_resumable_period_is_the_message_lifetime() -> None:
    assert RESUMABLE == MAX_LIFETIME


def test_long_cause_is_cut_to_one_line(served: Served) -> None:
    record = served.record()
    record.begin(RUN)
    record.end(RUN, RunState.FAILED, "first line\nsecond line" + "x" * (2 << 20))
    assert served.read().state == "failed"
    assert served.read().cause.startswith("first line second line")
