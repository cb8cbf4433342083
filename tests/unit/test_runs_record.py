"""The status of a run while a process serves it: kept current, not written all the time, ended once."""

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
    """A participant's home for an app, in which processes come and go."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.clock = FakeClock()

    def record(self, role: Role = "aggregator") -> RunRecord:
        """The record of a process that was just started."""
        return RunRecord(self.home, "app", role, self.clock)

    def read(self, run: int = RUN) -> RunStatus:
        """What another process reads."""
        (found,) = (status for status in RunStatuses(status_folder(self.home)).all() if status.run == run)
        return found

    def writes(self, run: int = RUN) -> Iterator[RunStatus | None]:
        """Yield what is in the file if it was written since the last time, or else None."""
        (path,) = status_folder(self.home).glob(f"{run:016x}*")
        inode = 0
        while True:
            # Every write is a new file in the place of the old one.
            changed, inode = path.stat().st_ino != inode, path.stat().st_ino
            yield self.read(run) if changed else None


@pytest.fixture
def served(tmp_path: Path) -> Served:
    return Served(tmp_path / "app")


# While it goes on


def test_a_run_is_on_record_from_its_beginning(served: Served) -> None:
    start = served.clock.now()

    served.record().begin(RUN)

    assert served.read() == RunStatus(RUN, "app", "aggregator", "running", started=start, updated=start)


def test_messages_are_counted_and_the_latest_round_is_named(served: Served) -> None:
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


def test_a_round_without_a_name_leaves_the_name_of_the_one_before(served: Served) -> None:
    record = served.record()
    record.begin(RUN)
    record.note(RUN, asked=1, round_name="1")
    record.note(RUN, asked=1, round_name="")
    record.end(RUN, RunState.COMPLETED, "")

    assert served.read().round == "1"


def test_it_is_written_at_most_once_a_second(served: Served) -> None:
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
def test_however_the_messages_come_there_is_a_second_between_two_writes(
    tmp_path_factory: pytest.TempPathFactory, pauses: list[float]
) -> None:
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


def test_two_runs_do_not_hold_each_other_up(served: Served) -> None:
    record = served.record()
    record.begin(1)
    record.begin(2)
    served.clock.advance(1)

    record.note(1, asked=1)
    record.note(2, asked=2)

    assert [served.read(run).asked for run in (1, 2)] == [1, 2]


def test_a_run_that_is_not_served_is_not_counted(served: Served) -> None:
    record = served.record()
    record.note(RUN, asked=1)
    record.end(RUN, RunState.FAILED, "why")

    assert RunStatuses(status_folder(served.home)).all() == []


def test_threads_that_count_at_once_lose_nothing(served: Served) -> None:
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


# The end


@pytest.mark.parametrize("state", [RunState.COMPLETED, RunState.FAILED, RunState.STOPPED])
def test_an_end_is_written_at_once_with_all_that_was_counted(served: Served, state: RunState) -> None:
    record = served.record()
    record.begin(RUN)
    record.note(RUN, asked=2, answered=1, failed=1)

    record.end(RUN, state, "why")

    found = served.read()
    assert (found.state, found.cause, found.asked, found.answered, found.failed) == (state, "why", 2, 1, 1)


def test_the_first_end_that_is_said_counts(served: Served) -> None:
    record = served.record()
    record.begin(RUN)
    record.end(RUN, RunState.FAILED, "the ServerApp raised KeyError")
    served.clock.advance(10)

    record.end(RUN, RunState.COMPLETED, "")
    record.note(RUN, asked=1)

    found = served.read()
    assert (found.state, found.cause, found.asked) == ("failed", "the ServerApp raised KeyError", 0)
    assert found.updated == found.started


# Processes that come after


def test_beginning_again_after_a_crash_counts_it_and_keeps_the_start(served: Served) -> None:
    served.record().begin(RUN)
    start = served.clock.now()

    for times in (1, 2):
        served.clock.advance(3_600)
        served.record().begin(RUN)

        found = served.read()
        assert (found.resumed, found.state, found.started) == (times, "running", start)
        assert found.updated == served.clock.now()


def test_beginning_twice_in_a_process_changes_nothing(served: Served) -> None:
    record = served.record()
    record.begin(RUN)
    record.note(RUN, asked=1)
    served.clock.advance(10)
    record.begin(RUN)
    record.end(RUN, RunState.COMPLETED, "")

    assert (served.read().resumed, served.read().asked) == (0, 1)


def test_a_run_that_ended_begins_anew(served: Served) -> None:
    record = served.record()
    record.begin(RUN)
    record.note(RUN, asked=5)
    record.end(RUN, RunState.FAILED, "why")
    served.clock.advance(60)

    served.record().begin(RUN)

    now = served.clock.now()
    assert served.read() == RunStatus(RUN, "app", "aggregator", "running", started=now, updated=now)


def test_runs_without_an_end_are_those_to_be_taken_up_the_latest_first(served: Served) -> None:
    earlier = served.record()
    for run in (3, 1, 4, 2):
        earlier.begin(run)
        served.clock.advance(60)
    earlier.end(4, RunState.COMPLETED, "")
    served.record("datasite").begin(5)

    later = served.record()

    assert [status.run for status in later.unfinished()] == [2, 1, 3]
    assert [status.run for status in served.record("datasite").unfinished()] == [5]
    # What it serves itself is none of them.
    later.begin(2)
    assert [status.run for status in later.unfinished()] == [1, 3]


def test_a_run_that_another_took_the_place_of_is_stopped(served: Served) -> None:
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


def test_aggregator_and_data_owner_of_one_email_have_a_status_each(served: Served) -> None:
    aggregator, owner = served.record(), served.record("datasite")
    aggregator.begin(RUN)
    owner.begin(RUN)
    aggregator.note(RUN, asked=2)
    owner.note(RUN, asked=1)
    served.clock.advance(2)
    owner.end(RUN, RunState.COMPLETED, "Server stopped")

    # The server was killed; that its own data owner knows an end is no end of the run.
    assert [status.run for status in served.record().unfinished()] == [RUN]
    found = RunStatuses(status_folder(served.home)).all()
    assert {(status.role, status.state) for status in found} == {("aggregator", "running"), ("datasite", "completed")}


# A folder that cannot be written


def test_a_status_that_cannot_be_written_is_said_once_and_holds_up_nothing(
    served: Served, small_disk: Path, logged: list[str]
) -> None:
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


def test_a_file_in_the_place_of_the_folder_holds_up_nothing(served: Served, logged: list[str]) -> None:
    served.home.mkdir()
    status_folder(served.home).write_bytes(b"in the way")
    record = served.record()

    record.begin(RUN)
    record.note(RUN, asked=1)
    record.end(RUN, RunState.COMPLETED, "")

    assert len([line for line in logged if line.startswith("WARNING")]) == 1


def test_an_aggregator_that_takes_up_a_run_counts_its_messages_anew_and_a_data_owner_does_not(served: Served) -> None:
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


def test_a_run_that_was_interrupted_long_ago_is_not_taken_up(served: Served) -> None:
    served.record().begin(RUN)
    assert served.record().interrupted() is not None
    served.clock.advance(MAX_LIFETIME.total_seconds() + 1)
    assert served.record().interrupted() is None


def test_a_run_is_resumable_as_long_as_a_message_lives() -> None:
    assert RESUMABLE == MAX_LIFETIME


def test_a_cause_of_any_length_is_cut_to_one_line(served: Served) -> None:
    record = served.record()
    record.begin(RUN)
    record.end(RUN, RunState.FAILED, "first line\nsecond line" + "x" * (2 << 20))
    assert served.read().state == "failed"
    assert served.read().cause.startswith("first line second line")
