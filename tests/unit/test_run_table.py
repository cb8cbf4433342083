"""The table of runs: which run is served, superseded or ended, and which one can be resumed."""

from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from syft_flwr._messaging.wire.limits import MAX_LIFETIME
from syft_flwr._store.futures import RESUMABLE, FutureRow, Futures
from syft_flwr._store.ledger import Ledger
from syft_flwr._store.run_table import MAX_CAUSE, RunRow, Runs
from syft_flwr._store.states import Future, RunState

NOW = datetime(2030, 1, 1, 12, 30, tzinfo=UTC)
HOUR = timedelta(hours=1)
RUN = (1 << 63) - 1


@pytest.fixture
def futures(tmp_path: Path) -> Iterator[Futures]:
    with closing(Futures(tmp_path / "futures.db")) as opened:
        yield opened


@pytest.fixture(params=["futures", "ledger"])
def runs(request: pytest.FixtureRequest, tmp_path: Path, futures: Futures) -> Iterator[Runs]:
    """Return the runs of each side."""
    if request.param == "futures":
        yield futures.runs
        return
    with closing(Ledger(tmp_path / "ledger.db")) as ledger:
        yield ledger.runs


def running(run: int = RUN, started: datetime = NOW, served: datetime | None = NOW, resumed: int = 0) -> RunRow:
    return RunRow(run, RunState.RUNNING, "", started, served, None, resumed)


def request(number: int, run: int, created: datetime) -> FutureRow:
    times = {"created": created, "expires": created + HOUR}
    return FutureRow(f"{number:032x}", run, "do@y.org", "train", "1", "1", "c0" * 32, Future.SENT, **times)


def test_run_is_running_when_it_begins(runs: Runs) -> None:
    assert runs.get(RUN) is None
    assert not runs.has_ended(RUN)

    assert runs.begin(RUN, NOW, alone=True) == running()

    assert runs.get(RUN) == running()
    assert runs.all() == runs.unfinished() == [running()]
    assert not runs.has_ended(RUN)


def test_resume_is_counted_and_keeps_the_start(runs: Runs) -> None:
    runs.begin(RUN, NOW, alone=True)

    for times in (1, 2):
        later = NOW + times * HOUR
        assert runs.begin(RUN, later, alone=True) == running(served=later, resumed=times)


def test_run_that_begins_alone_stops_all_others(runs: Runs) -> None:
    runs.begin(1, NOW, alone=False)
    runs.begin(2, NOW + HOUR, alone=False)
    runs.end(2, RunState.FAILED, "why", NOW + HOUR)

    runs.begin(3, NOW + 2 * HOUR, alone=True)

    stopped = RunRow(1, RunState.STOPPED, "another run took its place", NOW, NOW, NOW + 2 * HOUR, 0)
    assert runs.get(1) == stopped
    failed = runs.get(2)
    assert failed is not None
    assert (failed.state, failed.cause, failed.ended) == (RunState.FAILED, "why", NOW + HOUR)
    assert [row.run for row in runs.unfinished()] == [3]


def test_run_of_a_data_owner_leaves_others_open(runs: Runs) -> None:
    for number in (3, 1, 2):
        runs.begin(number, NOW + number * HOUR, alone=False)

    assert [row.run for row in runs.unfinished()] == [1, 2, 3]


@pytest.mark.parametrize("state", [RunState.COMPLETED, RunState.FAILED, RunState.STOPPED])
def test_first_end_of_a_run_is_final(runs: Runs, state: RunState) -> None:
    runs.begin(RUN, NOW, alone=True)

    assert runs.end(RUN, state, "why", NOW + HOUR)
    assert not runs.end(RUN, RunState.COMPLETED, "", NOW + 2 * HOUR)

    assert runs.get(RUN) == RunRow(RUN, state, "why", NOW, NOW, NOW + HOUR, 0)
    assert runs.has_ended(RUN)
    assert runs.unfinished() == []


def test_end_of_an_unknown_run_is_recorded(runs: Runs) -> None:
    assert runs.end(RUN, RunState.STOPPED, "Server interrupted", NOW)

    assert runs.get(RUN) == RunRow(RUN, RunState.STOPPED, "Server interrupted", NOW, None, NOW, 0)
    assert runs.has_ended(RUN)


def test_ended_run_begins_again_as_a_new_one(runs: Runs) -> None:
    runs.begin(RUN, NOW, alone=True)
    runs.begin(RUN, NOW, alone=True)
    runs.end(RUN, RunState.FAILED, "why", NOW)

    assert runs.begin(RUN, NOW + HOUR, alone=True) == running(started=NOW + HOUR, served=NOW + HOUR)
    assert not runs.has_ended(RUN)


def test_long_cause_of_an_end_is_cut(runs: Runs) -> None:
    runs.end(RUN, RunState.FAILED, "x" * (MAX_CAUSE + 1), NOW)

    row = runs.get(RUN)
    assert row is not None
    assert row.cause == "x" * MAX_CAUSE


def test_only_runs_served_long_ago_are_forgotten(runs: Runs) -> None:
    runs.begin(1, NOW, alone=False)
    runs.begin(2, NOW, alone=False)
    runs.begin(2, NOW + HOUR, alone=False)
    runs.end(3, RunState.STOPPED, "", NOW)
    runs.end(4, RunState.STOPPED, "", NOW + HOUR)

    runs.forget_before(NOW + HOUR, 100)

    assert [row.run for row in runs.all()] == [2, 4]


def test_oldest_ended_runs_are_forgotten_first(runs: Runs) -> None:
    for run in range(1, 8):
        runs.begin(run, NOW + run * HOUR, alone=False)
        if run > 2:
            runs.end(run, RunState.STOPPED, "", NOW + run * HOUR)

    runs.forget_before(NOW, 3)

    assert [row.run for row in runs.all()] == [1, 2, 5, 6, 7]


def test_state_of_a_run_survives_reopening(tmp_path: Path) -> None:
    with closing(Futures(tmp_path / "later.db")) as futures:
        futures.runs.begin(1, NOW, alone=True)
        futures.runs.begin(2, NOW + HOUR, alone=True)

    with closing(Futures(tmp_path / "later.db")) as futures:
        assert [row.run for row in futures.runs.unfinished()] == [2]
        assert futures.runs.has_ended(1)


# The run that is resumed


def test_latest_run_without_an_end_is_interrupted(futures: Futures) -> None:
    assert futures.interrupted_run(NOW) is None
    futures.runs.begin(1, NOW, alone=True)
    futures.runs.begin(2, NOW + HOUR, alone=False)

    assert futures.interrupted_run(NOW + HOUR) == running(2, NOW + HOUR, NOW + HOUR)
    futures.runs.end(2, RunState.COMPLETED, "", NOW + HOUR)
    assert futures.interrupted_run(NOW + HOUR) == running(1)
    futures.runs.end(1, RunState.COMPLETED, "", NOW + HOUR)
    assert futures.interrupted_run(NOW + HOUR) is None


@pytest.mark.parametrize("last", ["begin", "resume", "request"])
def test_run_is_resumable_31_days_after_its_last_step(futures: Futures, last: str) -> None:
    step = NOW + 20 * 24 * HOUR if last != "begin" else NOW
    futures.runs.begin(RUN, NOW, alone=True)
    if last == "resume":
        futures.runs.begin(RUN, step, alone=True)
    elif last == "request":
        futures.add([request(1, RUN, NOW), request(2, RUN, step), request(3, 8, NOW + 300 * 24 * HOUR)])

    moment = step + RESUMABLE
    assert futures.interrupted_run(moment - timedelta(seconds=1)) is not None
    assert futures.interrupted_run(moment) is None


def test_resumable_period_is_the_message_lifetime() -> None:
    assert RESUMABLE == MAX_LIFETIME
