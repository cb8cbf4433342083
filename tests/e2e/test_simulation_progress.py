"""The progress of a simulated run from the records, and the verdict from the database of the server."""

from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from syft_flwr._store.futures import Ended, FirstFailure, FutureRow, Futures, ReplyCount
from syft_flwr._store.states import Future, RunState
from syft_flwr.flower import SYSTEM_MESSAGE_TYPE
from syft_flwr.runs.entry import RecordEntry, fields_of
from syft_flwr.runs.events import (
    CONTROL,
    STOP_GROUP,
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
from syft_flwr.runs.outcome import RunOutcome
from syft_flwr.runs.owner_counts import OwnerCounts
from syft_flwr.runs.record import record_path
from syft_flwr.simulation.progress import Progress
from syft_flwr.simulation.server_facts import ServerFacts

_NOW = datetime(2026, 1, 1, tzinfo=UTC)
_RUN, _DS, _DO1, _DO2 = 7, "ds@x.org", "do1@x.org", "do1@x.org.uk"


def write(folder: Path, role: str, events: Iterable[Event], *, run: int = _RUN) -> None:
    """Append events to the record of a run."""
    path = record_path(folder, run, role)
    known = len(path.read_bytes().splitlines()) if path.exists() else 0
    with path.open("ab") as file:
        for n, event in enumerate(events, known + 1):
            entry = RecordEntry(n, _NOW + timedelta(seconds=n), n, "process", run, event.name, fields_of(event))
            file.write(entry.encode())


def started(role: str) -> RunStarted:
    return RunStarted(role=role, app="tiny", aggregator=_DS)


# Progress


def test_missing_records_give_no_progress(tmp_path: Path) -> None:
    progress = Progress(tmp_path / "not-made-yet", "aggregator")
    progress.read()

    assert (progress.begun, progress.run, progress.round, progress.answered) == (False, 0, "", 0)


def test_server_record_is_read_as_it_grows(tmp_path: Path) -> None:
    progress = Progress(tmp_path, "aggregator")
    write(tmp_path, "aggregator", [started("aggregator"), RequestSent("a", _DO1, CONTROL)])
    progress.read()
    assert (progress.begun, progress.run) == (True, _RUN)

    write(tmp_path, "aggregator", [RoundStarted("1", 3), RequestSent("b", _DO1, "train", round="1")])
    write(tmp_path, "aggregator", [RequestSent("c", _DO2, "train", round="1")])
    progress.read()
    assert (progress.round, progress.total_rounds) == ("1", 3)

    ended = RequestEnded("c", _DO2, "train", "failed", round="1", reason="app-raised", text="ValueError")
    write(tmp_path, "aggregator", [RequestEnded("b", _DO1, "train", "answered", round="1"), ended])
    progress.read()
    assert (progress.answered, progress.failed) == (1, 1)
    assert progress.owners == {
        _DO1: OwnerCounts(1, 1),
        _DO2: OwnerCounts(1, 0, 1, "app-raised: ValueError"),
    }


def test_data_owner_record_gives_its_work_and_replies(tmp_path: Path) -> None:
    progress = Progress(tmp_path, "datasite")
    write(tmp_path, "datasite", [started("datasite"), RequestReceived("a", _DS, CONTROL)])
    write(tmp_path, "datasite", [RequestReceived("b", _DS, "train", round="1"), RequestReceived("c", _DS, "evaluate")])
    write(tmp_path, "datasite", [ReplyReleased("b", _DS, "failed", reason="app-raised", text="x")])
    # The record of the other role, and that of no run, do not count.
    write(tmp_path, "aggregator", [started("aggregator"), RequestSent("z", _DO1, "train")])
    write(tmp_path, "datasite", [RequestReceived("y", _DS, "train")], run=0)
    progress.read()

    assert (progress.answered, progress.failed, progress.round) == (0, 1, "1")


def test_counts_of_several_runs_are_added(tmp_path: Path) -> None:
    progress = Progress(tmp_path, "aggregator")
    for run in (9, 3):
        sent, ended = RequestSent("a", _DO1, "train", round=str(run)), RequestEnded("a", _DO1, "train", "answered")
        write(tmp_path, "aggregator", [started("aggregator"), RoundStarted(str(run)), sent, ended], run=run)
        progress.read()

    assert (progress.run, progress.round, progress.answered) == (3, "3", 2)
    assert progress.owners == {_DO1: OwnerCounts(2, 2)}


def test_resumed_run_counts_again(tmp_path: Path) -> None:
    progress = Progress(tmp_path, "aggregator")
    sent, ended = RequestSent("a", _DO1, "train"), RequestEnded("a", _DO1, "train", "answered")
    resumed = RunResumed(role="aggregator", app="tiny", aggregator=_DS, resumed=1)
    write(tmp_path, "aggregator", [started("aggregator"), sent, ended, resumed, sent])
    progress.read()

    assert (progress.answered, progress.owners) == (0, {_DO1: OwnerCounts(1)})


def test_torn_and_foreign_files_change_no_progress(tmp_path: Path) -> None:
    progress = Progress(tmp_path, "aggregator")
    write(tmp_path, "aggregator", [started("aggregator")])
    (tmp_path / "x.aggregator.jsonl").write_text("{}\n")
    (tmp_path / f"{13:016x}.aggregator.metrics.jsonl").write_text("{}\n")
    with record_path(tmp_path, _RUN, "aggregator").open("ab") as file:
        file.write(b'{"v":1,"n":2')
    (tmp_path / f"{12:016x}.aggregator.jsonl").symlink_to(record_path(tmp_path, _RUN, "aggregator"))
    progress.read()

    assert (progress.run, progress.answered) == (_RUN, 0)


# Verdict


def asked(number: int, state: Future, group: str = "", kind: str = "train") -> FutureRow:
    times = {"created": _NOW, "expires": _NOW + timedelta(hours=1)}
    return FutureRow(f"{number:032x}", _RUN, _DO1, kind, group, group, "", state, **times, request=b"request")


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "state" / _DS / "apps" / "tiny"


def test_missing_database_is_a_server_without_a_run(tmp_path: Path) -> None:
    facts = ServerFacts(tmp_path)

    assert (facts.has_sent_stop(), facts.replies(), facts.runs(), facts.first_failure()) == (False, [], [], None)
    assert facts.outcome() == RunOutcome(RunState.FAILED, "the server ended before it began a run")


def test_facts_are_read_while_the_server_writes(home: Path) -> None:
    facts = ServerFacts(home.parents[2])
    futures = Futures(home / "futures.db")
    futures.runs.begin(_RUN, _NOW, alone=True)
    futures.add([asked(1, Future.SENT, kind=SYSTEM_MESSAGE_TYPE), asked(2, Future.SENT, "1")])
    assert (facts.has_sent_stop(), facts.replies()) == (False, [])
    assert facts.outcome() == RunOutcome(RunState.FAILED, f"the server ended before run {_RUN} had an end")

    futures.add([asked(3, Future.CREATED, STOP_GROUP, SYSTEM_MESSAGE_TYPE)])
    futures.runs.end(_RUN, RunState.COMPLETED, "", _NOW)
    assert (facts.has_sent_stop(), facts.outcome()) == (True, RunOutcome(RunState.COMPLETED))
    futures.close()


def test_replies_of_each_data_owner_decide(home: Path) -> None:
    futures = Futures(home / "futures.db")
    futures.runs.begin(_RUN, _NOW, alone=True)
    futures.add([replace(asked(number, Future.SENT), recipient=_DO1 if number < 6 else _DO2) for number in range(1, 9)])
    futures.add([asked(9, Future.SENT, kind=SYSTEM_MESSAGE_TYPE)])
    ends = {
        1: Ended("app-raised", "the ClientApp raised ValueError", "abc"),
        2: Ended(),
        3: Ended("no-answer", "the last one"),
        4: Ended("stopped", "the run was stopped"),
        5: Ended(app_error="code 7: too few patients"),
        6: Ended("stopped", "the run was stopped"),
        9: Ended("no-answer", "a data owner that did not hear of the start"),
    }
    futures.move([f"{number:032x}" for number in ends], Future.FAILED)
    futures.collect({f"{number:032x}": ended for number, ended in ends.items()})
    futures.runs.end(_RUN, RunState.COMPLETED, "", _NOW)
    futures.close()
    facts = ServerFacts(home.parents[2])

    assert set(facts.replies()) == {
        ReplyCount(_DO1, "train", reason) for reason in ("", "app-raised", "no-answer", "app-error", "stopped")
    } | {ReplyCount(_DO2, "train", "stopped")}
    first = FirstFailure(_DO1, "train", "", "app-raised", "the ClientApp raised ValueError", "abc")
    assert facts.first_failure() == first
    assert {loss.reason for loss in facts.outcome().losses} == {"app-raised", "no-answer", "app-error"}
    assert {(loss.data_owner, loss.count, loss.answered) for loss in facts.outcome().losses} == {(_DO1, 1, 1)}


@pytest.mark.parametrize(
    ("ends", "problem"),
    [
        ([(RunState.COMPLETED, "")], ""),
        ([(RunState.FAILED, "it raised")], "run 1 failed: it raised"),
        ([(RunState.STOPPED, "")], "run 1 was stopped: no cause is recorded"),
        # A failed training is no success, even if a later one was completed.
        ([(RunState.FAILED, "it raised"), (RunState.COMPLETED, "")], "run 1 failed: it raised"),
        # A program may begin again after it left a run.
        ([(RunState.STOPPED, "left"), (RunState.COMPLETED, "")], ""),
        ([(RunState.COMPLETED, ""), (RunState.STOPPED, "left")], "run 2 was stopped: left"),
    ],
)
def test_recorded_state_of_the_runs_decides(home: Path, ends: list[tuple[RunState, str]], problem: str) -> None:
    futures = Futures(home / "futures.db")
    for run, (state, cause) in enumerate(ends, 1):
        futures.runs.begin(run, _NOW + timedelta(seconds=run), alone=True)
        futures.runs.end(run, state, cause, _NOW + timedelta(seconds=run))
    futures.close()

    outcome = ServerFacts(home.parents[2]).outcome()
    assert (outcome.state is RunState.COMPLETED, outcome.cause) == (not problem, problem)


def test_damaged_database_is_a_problem(home: Path) -> None:
    home.mkdir(parents=True)
    (home / "futures.db").write_bytes(b"damaged" * 100)
    facts = ServerFacts(home.parents[2])

    assert facts.has_sent_stop() is None
    assert "futures.db cannot be used" in facts.outcome().cause


def test_record_names_the_run_that_began_last(tmp_path: Path) -> None:
    progress = Progress(tmp_path, "aggregator")
    write(tmp_path, "aggregator", [started("aggregator"), RunEnded("completed")])
    progress.read()

    assert (progress.run, progress.begun) == (_RUN, True)
