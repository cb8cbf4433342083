"""A run over its record: found by its id, with its state from the database and all other values from the record."""

import os
import sqlite3
from collections.abc import Callable, Iterable
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from syft_flwr import open_run
from syft_flwr._store.futures import Ended, FutureRow, Futures
from syft_flwr._store.ledger import Ledger
from syft_flwr._store.states import Future, RunState
from syft_flwr.errors import ConfigError, StorageError, StoreError
from syft_flwr.locks import ProcessLock
from syft_flwr.runs.entry import RecordEntry, fields_of
from syft_flwr.runs.events import (
    CONTROL,
    Event,
    LoggedWarning,
    Lost,
    Metrics,
    ReplyReleased,
    RequestClosed,
    RequestEnded,
    RequestReceived,
    RequestSent,
    RoundStarted,
    RunEnded,
    RunResumed,
    RunStarted,
)
from syft_flwr.runs.history import RunHistory
from syft_flwr.runs.outcome import Loss
from syft_flwr.runs.record import record_path
from syft_flwr.runs.recorded_run import RecordedRun

_NOW = datetime(2026, 1, 1, tzinfo=UTC)
_RUN, _DS, _DO = (1 << 63) - 1, "ds@x.org", "do@x.org"


def entries(events: Iterable[Event], *, process: str = "one", start: float = 0.0) -> list[RecordEntry]:
    """Return one entry for each event, two seconds apart."""
    return [
        RecordEntry(
            n,
            _NOW + timedelta(seconds=start + 2 * n),
            2.0 * n,
            process,
            _RUN,
            event.name,
            fields_of(event),
        )
        for n, event in enumerate(events)
    ]


def begun(role: str = "aggregator", **settings: str) -> RunStarted:
    return RunStarted(role=role, app="tiny", aggregator=_DS, settings=settings)


def resumed(role: str = "aggregator") -> RunResumed:
    return RunResumed(role=role, app="tiny", aggregator=_DS, resumed=1)


def sent(message: str, number: str = "1", owner: str = _DO, kind: str = "train") -> RequestSent:
    return RequestSent(message, owner, kind, round=number, bytes=10)


def ended(message: str, number: str = "1", owner: str = _DO, **values: object) -> RequestEnded:
    given: dict[str, object] = {"outcome": "answered", "bytes": 20, "seconds": {"run": 1.5}} | values
    return RequestEnded(message, owner, "train", round=number, **given)  # type: ignore[arg-type]


class Home:
    """The home of a participant, with a database and a record for each side."""

    def __init__(self, base: Path, email: str = _DS) -> None:
        self.base = base
        self.folder = base / email
        self.app_home = self.folder / "apps" / "tiny"
        (self.app_home / "runs").mkdir(parents=True)

    def record(self, events: Iterable[Event], role: str = "aggregator", run: int = _RUN) -> Path:
        path = record_path(self.app_home / "runs", run, role)
        path.write_bytes(b"".join(entry.encode() for entry in entries(events)))
        return path

    def serve(self, state: RunState | None = None, cause: str = "", run: int = _RUN, role: str = "aggregator") -> None:
        """Begin a run in the database of a side, and end it with a state."""
        side = Futures(self.app_home / "futures.db") if role == "aggregator" else Ledger(self.app_home / "ledger.db")
        with closing(side) as database:
            database.runs.begin(run, _NOW, alone=False)
            if state:
                database.runs.end(run, state, cause, _NOW + timedelta(minutes=1))

    def collect(self, *ends: Ended) -> None:
        """Record a collected request of the kind ``train`` in the database of the aggregator for each end."""
        ids = [f"{number:032x}" for number in range(len(ends))]
        with closing(Futures(self.app_home / "futures.db")) as futures:
            later = _NOW + timedelta(hours=1)
            futures.add(FutureRow(each, _RUN, _DO, "train", "1", "1", "", Future.SENT, _NOW, later) for each in ids)
            futures.move([each for each, end in zip(ids, ends, strict=True) if end.code], Future.FAILED)
            futures.move(ids, Future.ANSWERED)
            futures.collect(dict(zip(ids, ends, strict=True)))

    def open(self, run: int | str = _RUN, **arguments: str) -> RecordedRun:
        return open_run(run, **{"email": _DS, "home": self.base, **arguments})


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "base")


# The history of a record


def test_rounds_have_start_seconds_and_counts() -> None:
    history = RunHistory(
        entries(
            [
                begun(),
                RoundStarted("1", 2),
                sent("a"),
                sent("b", owner="other@x.org"),
                ended("a"),
                ended("b", outcome="failed"),
                RoundStarted("2", 2),
                sent("c", "2"),
                # The evaluation of a strategy is a part of its round.
                ended("c", "2"),
            ]
        )
    )

    assert [(each.number, each.seconds, each.asked, each.answered, each.failed) for each in history.rounds] == [
        ("1", 8.0, 2, 1, 1),
        ("2", 4.0, 1, 1, 0),
    ]
    assert [each.started for each in history.rounds] == [_NOW + timedelta(seconds=2), _NOW + timedelta(seconds=12)]


def test_second_strategy_has_rounds_of_its_own() -> None:
    events = [begun(), RoundStarted("1"), sent("a"), ended("a"), RoundStarted("2"), RoundStarted("1"), sent("b")]

    history = RunHistory(entries(events))

    assert [(each.number, each.asked) for each in history.rounds] == [("1", 1), ("2", 0), ("1", 1)]


def test_request_before_the_event_of_its_round_is_in_it() -> None:
    events = [begun(), sent("a"), RoundStarted("1"), ended("a"), RoundStarted("1"), sent("b")]

    history = RunHistory(entries(events))

    # The third one is the first round of a second strategy.
    assert [(each.number, each.asked, each.answered) for each in history.rounds] == [("1", 1, 1), ("1", 1, 0)]


def test_round_of_a_resumed_run_begins_again() -> None:
    after = entries([resumed(), sent("b"), RoundStarted("1"), RoundStarted("2")], process="two", start=100)

    history = RunHistory([*entries([begun(), sent("a")]), *after])

    assert [(each.number, each.asked) for each in history.rounds] == [("1", 1), ("2", 0)]
    assert history.rounds[0].started > _NOW + timedelta(seconds=100)


def test_request_that_was_open_at_the_end_did_not_fail(home: Home) -> None:
    home.serve(RunState.COMPLETED)
    stopped = ended("b", outcome="failed", reason="stopped", text="the run has ended")
    failed = ended("c", outcome="failed", reason="app-raised", text="ValueError")
    home.record([begun(), RoundStarted("1"), sent("a"), sent("b"), sent("c"), ended("a"), stopped, failed])

    run = home.open()

    assert (run.failed, [each.message for each in run.failures], run.rounds[0].failed) == (1, ["c"], 1)


def test_requests_have_outcome_bytes_and_seconds() -> None:
    failed = ended("b", outcome="failed", reason="app-raised", text="ValueError", bytes=0, seconds={}, replayed=True)
    history = RunHistory(entries([begun(), sent("a"), sent("b"), sent("z", kind=CONTROL), ended("a"), failed]))

    first, second = history.requests.values()
    assert (first.message, first.peer, first.kind, first.round, first.outcome) == ("a", _DO, "train", "1", "answered")
    assert (first.bytes_request, first.bytes_reply, first.seconds, first.replayed) == (10, 20, {"run": 1.5}, False)
    assert (second.outcome, second.reason, second.text, second.replayed) == ("failed", "app-raised", "ValueError", True)


def test_requests_have_their_end_and_all_their_seconds() -> None:
    first, second = RunHistory(
        entries([begun(), sent("a"), sent("b"), ended("a", metrics={"loss": 0.5})])
    ).requests.values()
    assert (first.ended, first.seconds_total) == (_NOW + timedelta(seconds=6), 4.0)
    assert (first.metrics, second.metrics) == ({"loss": 0.5}, {})
    assert (second.ended, second.seconds_total) == (None, None)


def test_seconds_of_two_processes_are_not_subtracted() -> None:
    history = RunHistory(entries([begun("datasite"), RequestReceived("a", _DS, "train")]))
    for entry in entries([resumed("datasite"), ReplyReleased("a", _DS, "answered")], process="two", start=60):
        history.add(entry)

    (request,) = history.requests.values()
    assert (request.ended, request.seconds_total) == (_NOW + timedelta(seconds=62), None)


def test_request_that_was_never_sent_has_no_seconds() -> None:
    (request,) = RunHistory(entries([begun(), ended("a", outcome="failed", reason="no-key")])).requests.values()
    assert (request.ended, request.seconds_total) == (_NOW + timedelta(seconds=2), None)


def test_request_that_was_never_sent_is_a_failure() -> None:
    """A request that waits for a key has no event of its sending, and a long record loses such events."""
    missed = ended("a", outcome="failed", reason="no-key", text="no key")
    control = RequestEnded("z", _DO, CONTROL, "failed", reason="no-answer")

    history = RunHistory(entries([begun(), RoundStarted("1"), missed, control]))

    assert [(each.message, each.peer, each.outcome) for each in history.requests.values()] == [("a", _DO, "failed")]
    assert [(each.number, each.asked, each.failed) for each in history.rounds] == [("1", 1, 1)]


def test_control_messages_of_a_data_owner_are_no_requests() -> None:
    events = [begun("datasite"), RequestReceived("z", _DS, CONTROL), ReplyReleased("z", _DS, "answered")]

    assert RunHistory(entries(events)).requests == {}


def test_resumed_server_counts_again_and_keeps_metrics() -> None:
    before = entries([begun(), RoundStarted("1"), sent("a"), Metrics("1", "train", {"loss": 1.0}), ended("a")])
    after = entries([resumed(), RoundStarted("1"), sent("b")], process="two", start=100)

    history = RunHistory([*before, *after])

    assert [(each.number, each.asked, each.answered) for each in history.rounds] == [("1", 1, 0)]
    assert list(history.requests) == ["b"]
    assert history.account.metrics == {"train": {"1": {"loss": 1.0}}}


def test_data_owner_learns_the_round_from_its_reply() -> None:
    received = [RequestReceived(each, _DS, "train", bytes=5, digest="x") for each in "ab"]
    released = [
        ReplyReleased("a", _DS, "answered", round="1", bytes=7),
        ReplyReleased("b", _DS, "failed", round="2", reason="app-raised", text="ValueError"),
    ]
    again = entries([resumed("datasite"), released[1], RequestClosed("b")], process="two", start=60)

    history = RunHistory([*entries([begun("datasite"), *received, *released]), *again])

    assert [(each.number, each.asked, each.answered, each.failed) for each in history.rounds] == [
        ("1", 1, 1, 0),
        ("2", 1, 0, 1),
    ]
    assert [(each.peer, each.round, each.bytes_request) for each in history.requests.values()] == [
        (_DS, "1", 5),
        (_DS, "2", 5),
    ]


def test_damaged_fields_and_unknown_events_change_nothing() -> None:
    wrong = [
        RecordEntry(1, _NOW, 0.0, "p", _RUN, "request-ended", {"message": ["x"], "seconds": 3}),
        RecordEntry(2, _NOW, 0.0, "p", _RUN, "of-a-later-release", {"round": {}}),
        RecordEntry(3, _NOW, 0.0, "p", _RUN, "run-started", {"settings": 5}),
        RecordEntry(4, _NOW, 0.0, "p", _RUN, "metrics", {"values": "x"}),
    ]

    history = RunHistory(wrong)

    assert (history.rounds, dict(history.settings)) == ([], {})
    assert [(each.outcome, each.seconds) for each in history.requests.values()] == [("", {})]


# The object


def test_completed_run_has_all_values(home: Home, tmp_path: Path) -> None:
    home.serve(RunState.COMPLETED)
    record = home.record(
        [
            begun(output_dir=str(tmp_path / "output")),
            RoundStarted("1", 1),
            sent("a"),
            sent("b"),
            ended("a"),
            ended("b", outcome="failed", reason="app-raised", text="ValueError"),
            Metrics("1", "evaluate", {"accuracy": 0.5}),
            LoggedWarning("warning", "slow", "do1@y.org"),
            Lost(3, "queue"),
            RunEnded("completed"),
        ]
    )

    run = home.open()

    assert run
    assert (run.run_id, run.app, run.role, run.participant, run.local) == (_RUN, "tiny", "aggregator", _DS, "")
    assert (run.state, run.cause, run.started, run.ended) == ("completed", "", _NOW, _NOW + timedelta(minutes=1))
    assert (run.round, run.total_rounds, run.asked, run.answered, run.failed) == ("1", 1, 2, 1, 1)
    assert run.metrics["evaluate"]["1"]["accuracy"] == 0.5
    assert [str(each) for each in run.failures] == [f"{_DO} in round 1: app-raised: ValueError"]
    assert (run.data_owners[_DO].asked, run.lost) == (2, 3)
    assert [(each.level, each.text, each.peer) for each in run.warnings] == [("warning", "slow", "do1@y.org")]
    assert (run.paths.record, run.paths.home, run.paths.output, run.paths.log) == (
        record,
        home.folder,
        tmp_path / "output",
        None,
    )
    assert [entry.event for entry in run.events()][-2:] == ["lost", "run-ended"]
    assert list(run.follow()) == list(run.events())
    assert repr(run) == (f"<run {_RUN} of tiny, aggregator {_DS}: completed; round 1 of 1, 1 of 2 answered, 1 failed>")


@pytest.mark.parametrize("state", [*RunState])
def test_only_a_completed_run_is_true(home: Home, state: RunState) -> None:
    home.serve(None if state is RunState.RUNNING else state, "" if state is RunState.COMPLETED else "why")

    run = home.open()

    assert bool(run) is (state is RunState.COMPLETED)
    assert run.state == ("interrupted" if state is RunState.RUNNING else state.value)


def test_completed_run_with_a_refusal_is_not_true(home: Home) -> None:
    home.serve(RunState.COMPLETED, "losses count as a failure")

    run = home.open()

    assert not run
    assert (run.state, run.cause, run.refusal) == ("completed", "", "losses count as a failure")


@pytest.mark.parametrize(("role", "lock"), [("aggregator", "server.lock"), ("datasite", "client.lock")])
def test_run_without_end_is_running_while_it_is_served(home: Home, role: str, lock: str) -> None:
    home.serve(role=role)
    home.record([begun(role)], role)

    with ProcessLock(home.app_home / lock, "a process"):
        assert (home.open().state, bool(home.open())) == ("running", False)
    assert home.open().state == "interrupted"


def test_database_decides_over_the_record(home: Home) -> None:
    home.serve(RunState.FAILED, "the disk was full")
    home.record([begun(), RunEnded("completed")])

    run = home.open()

    assert (run.state, run.cause, bool(run)) == ("failed", "the disk was full", False)


@pytest.mark.parametrize("damage", ["missing", "empty", "garbage", "torn"])
def test_lost_record_leaves_the_state(home: Home, damage: str) -> None:
    home.serve(RunState.COMPLETED)
    if damage != "missing":
        content = {"empty": b"", "garbage": b"\x00\xff\n{}\n[]\n", "torn": b'{"v":1,"n":1,"ti'}[damage]
        record = home.record([])
        record.write_bytes(content)
        # A record that was written a moment ago may still belong to a process, and a reader waits for it.
        os.utime(record, (0, 0))

    run = home.open()

    assert run
    assert (run.has_record, run.started, run.rounds, run.failures, run.asked) == (False, _NOW, [], [], 0)
    assert list(run.events()) == list(run.follow()) == []


@pytest.mark.parametrize(("state", "cause"), [("failed", "it raised"), ("completed", "")])
def test_record_without_a_database_shows_but_is_false(home: Home, state: str, cause: str) -> None:
    home.record([begun(), RunEnded(state, cause)])

    run = home.open()

    assert (run.state, run.started, bool(run)) == (state, _NOW, False)
    assert run.cause.startswith(cause)
    assert "futures.db is missing" in run.cause


def damage(database: Path) -> None:
    database.write_bytes(b"damaged" * 100)


def make_newer(database: Path) -> None:
    set_version(database, 99)


def make_older(database: Path) -> None:
    set_version(database, 3)


def set_version(database: Path, version: int) -> None:
    Futures(database).close()
    with closing(sqlite3.connect(database)) as connection:
        connection.execute(f"PRAGMA user_version = {version}")


@pytest.mark.parametrize("harm", [damage, make_newer, make_older])
@pytest.mark.parametrize("recorded", [True, False])
def test_run_of_an_unreadable_database_is_an_error(home: Home, harm: Callable[[Path], None], recorded: bool) -> None:
    harm(home.app_home / "futures.db")
    before = (home.app_home / "futures.db").read_bytes()
    if recorded:
        home.record([begun(), RunEnded("completed")])

    with pytest.raises(StoreError, match=r"futures\.db"):
        home.open()
    assert (home.app_home / "futures.db").read_bytes() == before


def test_unreadable_database_hides_no_run_of_another_app(home: Home) -> None:
    home.serve(RunState.COMPLETED)
    other = home.app_home.with_name("a-first-app")
    other.mkdir()
    damage(other / "futures.db")

    assert home.open()


def test_record_without_end_and_database_is_interrupted(home: Home) -> None:
    home.record([begun()])
    (home.app_home / "server.lock").touch()

    assert home.open().state == "interrupted"


def test_aggregator_side_is_preferred(home: Home) -> None:
    home.serve(RunState.COMPLETED, role="datasite")
    assert home.open().role == "datasite"

    home.serve(RunState.COMPLETED)
    assert home.open().role == "aggregator"
    assert home.open(role="datasite").role == "datasite"


def test_run_that_was_never_served_here_is_not_found(home: Home) -> None:
    with closing(Ledger(home.app_home / "ledger.db")) as ledger:
        ledger.runs.end(_RUN, RunState.STOPPED, "a stop", _NOW)

    with pytest.raises(ConfigError, match="is not recorded on this machine"):
        home.open()


@pytest.mark.parametrize(
    "run",
    [0, -1, 12, "", "x", "../../etc", "9" * 30, "²", "20260101-000000-00000000", 1 << 63, 1 << 64],
)
def test_unknown_run_is_an_error_with_a_hint(home: Home, run: int | str) -> None:
    home.serve(RunState.COMPLETED)
    home.record([begun()], run=0)

    with pytest.raises(ConfigError, match="is not recorded on this machine") as caught:
        home.open(run)

    assert "syft-flwr runs" in caught.value.hint


def test_text_of_a_run_id_finds_the_run(home: Home) -> None:
    home.serve(RunState.COMPLETED)

    assert home.open(f" {_RUN}\n").run_id == _RUN


@pytest.mark.parametrize("arguments", [{"role": "server"}, {"email": "../ds@x.org"}, {"email": "ds"}])
def test_wrong_role_or_email_is_refused(home: Home, arguments: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match=r"role|email"):
        home.open(**arguments)


def test_run_of_another_participant_is_not_found(home: Home) -> None:
    home.serve(RunState.COMPLETED)

    with pytest.raises(ConfigError, match="as aggregator"):
        home.open(email="other@x.org", role="aggregator")


def test_record_that_is_a_link_is_not_followed(home: Home, tmp_path: Path) -> None:
    home.serve(RunState.COMPLETED)
    (tmp_path / "elsewhere").write_bytes(entries([begun()])[0].encode())
    record_path(home.app_home / "runs", _RUN, "aggregator").symlink_to(tmp_path / "elsewhere")

    assert not home.open().has_record


def test_unreadable_record_leaves_the_state(home: Home, logged: list[str]) -> None:
    home.serve(RunState.COMPLETED)
    record_path(home.app_home / "runs", _RUN, "aggregator").mkdir()

    run = home.open()

    assert run
    assert not run.has_record
    assert any("cannot be read, so rounds and replies of this run are not shown" in line for line in logged)
    with pytest.raises(StorageError, match="the record of the run"):
        list(run.events())


def test_open_run_of_a_served_home_writes_no_row(home: Home) -> None:
    home.serve()
    with ProcessLock(home.app_home / "server.lock", "a server"), closing(Futures(home.app_home / "futures.db")):
        before = (home.app_home / "futures.db").read_bytes()
        lock = (home.app_home / "server.lock").read_bytes()
        assert home.open().state == "running"
        assert (home.app_home / "futures.db").read_bytes() == before
        assert (home.app_home / "server.lock").read_bytes() == lock


def test_follow_gives_entries_that_are_added_later(home: Home) -> None:
    home.serve()
    path = home.record([begun()])
    with ProcessLock(home.app_home / "server.lock", "a server"):
        following = home.open().follow()
        assert next(following).event == "run-started"
        with path.open("ab") as file:
            file.writelines(entry.encode() for entry in entries([begun(), sent("a"), RunEnded("completed")])[1:])
        assert [entry.event for entry in following] == ["request-sent", "run-ended"]


# Losses


def test_losses_come_from_the_database_of_the_aggregator(home: Home) -> None:
    home.serve(RunState.COMPLETED)
    home.collect(Ended(), Ended("no-answer", "no reply"), Ended(app_error="code 7: no"), Ended("late", "too late"))
    # The record lost the ends of the requests.
    home.record([begun(), RunEnded("completed")])

    found = home.open()

    assert found.losses == (Loss(_DO, "train", "app-error", 1, 1), Loss(_DO, "train", "no-answer", 1, 1))
    assert (found.state, bool(found)) == ("completed", True)
    assert f"completed (losses: {_DO}: 1 train app-error; {_DO}: 1 train no-answer)" in repr(found)


def test_losses_without_a_database_come_from_the_record(home: Home) -> None:
    loss = Loss(_DO, "train", "app-raised", 2, 0)
    home.record([begun(), RunEnded("failed", "why", losses=[loss.as_fields()])])

    assert home.open().losses == (loss,)


def test_data_owner_knows_no_losses_of_a_run(home: Home) -> None:
    home.serve(RunState.COMPLETED, role="datasite")
    home.record([begun("datasite"), RunEnded("completed")], role="datasite")

    assert home.open(role="datasite").losses == ()


def test_notebook_shows_the_run_as_a_table(home: Home) -> None:
    failed = ended("a", outcome="failed", reason="app-raised", text="<script>alert(1)</script>")
    home.serve(RunState.COMPLETED)
    home.record([begun(), RoundStarted("1", 3), sent("a"), failed, Metrics("1", "train", {"<b>loss": 0.5})])
    html = home.open()._repr_html_()

    assert f"Run {_RUN} of tiny" in html
    assert "round 1 of 3" in html
    assert f">{_DO}</td>" in html
    assert "app-raised: &lt;script&gt;" in html
    assert "train (round 1): &lt;b&gt;loss 0.5" in html


def test_notebook_shows_a_run_without_a_record(home: Home) -> None:
    home.serve(RunState.FAILED, "why")
    html = home.open()._repr_html_()

    assert "aggregator ds@x.org: failed (why)" in html
    assert "<table" not in html
