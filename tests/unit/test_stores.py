"""The databases of futures, received requests and peers: stored rows, and concurrent writers."""

import sqlite3
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from stored_rows import row_of

from syft_flwr._store.futures import Ended, FutureRow, Futures
from syft_flwr._store.ledger import Ledger, ReceivedRow
from syft_flwr._store.peers import PeerRow, Peers
from syft_flwr._store.states import Future, Received, RunState
from syft_flwr.errors import StoreError

NOW = datetime(2030, 1, 1, 12, 30, 0, 123_456, UTC)
LATER = NOW + timedelta(hours=2)


@pytest.fixture
def futures(tmp_path: Path) -> Iterator[Futures]:
    with closing(Futures(tmp_path / "futures.db")) as opened:
        yield opened


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with closing(Ledger(tmp_path / "ledger.db")) as opened:
        yield opened


@pytest.fixture
def peers(tmp_path: Path) -> Iterator[Peers]:
    with closing(Peers(tmp_path / "peers.db")) as opened:
        yield opened


def asked(number: int, *, run: int = 7, **changes: Any) -> FutureRow:
    fields: dict[str, Any] = {
        "recipient": "do@y.org",
        "type": "train",
        "group": "1",
        "round": "3",
        "content": "c0" * 32,
        "state": Future.CREATED,
        "created": NOW,
        "expires": LATER,
        "request": b"request",
        "digest": "d1" * 32,
        "objects": ("aa" * 8, "bb" * 8),
    }
    return FutureRow(id=f"{number:032x}", run=run, **fields | changes)


def got(number: int, *, run: int = 7, expires: datetime = LATER) -> ReceivedRow:
    return ReceivedRow(f"{number:032x}", run, "ds@x.org", "train", "1", Received.RECEIVED, "ab" * 32, NOW, expires)


def answer(ledger: Ledger, message_id: str, response: bytes, context: tuple[int, str] | None = None) -> bool:
    return ledger.answer(message_id, response=response, objects=["a", "b"], context=context)


# Futures


def test_future_round_trips(futures: Futures) -> None:
    row = asked(1, run=(1 << 63) - 1)

    futures.add([row, asked(2, request=None)])

    assert row_of(futures, row.id) == row
    assert futures.response(row.id) is None
    second = row_of(futures, asked(2).id)
    assert second is not None
    assert second.request is None
    assert row_of(futures, "f" * 32) is None


def test_times_of_other_zones_are_read_as_utc(futures: Futures) -> None:
    local = NOW.astimezone(timezone(timedelta(hours=5.5)))

    futures.add([asked(0, created=local, expires=local)])

    found = row_of(futures, "0" * 32)
    assert found is not None
    assert found.created == found.expires == NOW
    assert found.created.tzinfo is found.expires.tzinfo is UTC


def test_batch_with_a_known_id_is_refused_whole(futures: Futures) -> None:
    futures.add([asked(1)])

    with pytest.raises(StoreError):
        futures.add([asked(2), asked(1), asked(3)])

    assert futures.count_by_state(7) == {Future.CREATED: 1}


def test_request_can_be_sealed_after_it_was_added(futures: Futures) -> None:
    futures.add([asked(1, request=None, digest="", objects=())])

    futures.set_request(asked(1).id, b"sealed", digest="5e" * 32, objects=["c", "d"])

    assert row_of(futures, asked(1).id) == asked(1, request=b"sealed", digest="5e" * 32, objects=("c", "d"))


def test_reply_can_be_recorded_twice(futures: Futures) -> None:
    futures.add([asked(1)])

    assert futures.answer(asked(1).id, response=b"first")
    assert futures.answer(asked(1).id, response=b"first")
    assert not futures.answer(asked(2).id, response=b"unasked")

    found = row_of(futures, asked(1).id)
    assert found is not None
    assert (found.state, futures.response(asked(1).id)) == (Future.ANSWERED, b"first")


@pytest.mark.parametrize("end", [Future.FAILED, Future.EXPIRED, Future.COLLECTED])
def test_ended_request_takes_no_reply(futures: Futures, end: Future) -> None:
    futures.add([asked(1)])
    futures.move([asked(1).id], Future.FAILED if end is Future.COLLECTED else end)
    if end is Future.COLLECTED:
        futures.collect({asked(1).id: Ended("c")})

    assert not futures.answer(asked(1).id, response=b"late")
    assert futures.response(asked(1).id) is None


def test_collected_future_keeps_reason_but_no_bytes(futures: Futures) -> None:
    futures.add([asked(1), asked(2)])
    futures.move([asked(1).id], Future.FAILED, code="c", reason="why")
    futures.answer(asked(2).id, response=b"response")

    outcomes = {asked(1).id: Ended("c", "why", "7"), asked(2).id: Ended()}
    futures.collect(outcomes)

    ended: dict[str, Any] = {"state": Future.COLLECTED, "request": None}
    assert row_of(futures, asked(1).id) == asked(1, **ended, code="c", reason="why", reference="7")
    assert row_of(futures, asked(2).id) == asked(2, **ended)
    assert [futures.response(asked(number).id) for number in (1, 2)] == [None, None]


def test_unfinished_requests_of_other_runs_are_found(futures: Futures) -> None:
    futures.add([asked(1, run=1), asked(2, run=1), asked(3, run=2), asked(4, run=7)])
    futures.move([asked(2).id], Future.FAILED)
    futures.collect({asked(2).id: Ended()})

    unfinished = futures.unfinished(except_run=7)

    assert unfinished == [asked(1, run=1), asked(3, run=2)]


def test_requests_are_counted_by_state_and_run(futures: Futures) -> None:
    futures.add([asked(1), asked(2), asked(3), asked(4, run=8)])
    futures.move([asked(2).id], Future.SENT)

    assert futures.count_by_state(7) == {Future.CREATED: 2, Future.SENT: 1}
    assert futures.count_by_state(9) == {}


# The ledger


def test_received_request_round_trips(ledger: Ledger) -> None:
    assert ledger.add(got(1))

    assert ledger.get(got(1).id) == got(1)
    assert ledger.get("f" * 32) is None


def test_known_request_id_is_not_added_again(ledger: Ledger) -> None:
    ledger.add(got(1))

    assert not ledger.add(got(1, run=8))
    assert ledger.get(got(1).id) == got(1)


def test_concurrent_replies_commit_only_one(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    # Two connections stand for two processes; the threads of one process share a connection.
    with closing(Ledger(path)) as one, closing(Ledger(path)) as two:
        for attempt in range(5):
            request = got(attempt)
            one.add(request)
            together = threading.Barrier(16)

            def race(
                number: int, message_id: str = request.id, run: int = attempt + 1, start: threading.Barrier = together
            ) -> bool:
                start.wait()
                text = f"answer {number}"
                return answer((one, two)[number % 2], message_id, text.encode(), (run, f"{text}.state"))

            with ThreadPoolExecutor(16) as threads:
                won = list(threads.map(race, range(16)))

            assert won.count(True) == 1
            row = two.get(request.id)
            assert row is not None
            assert two.response(row.id) == f"answer {won.index(True)}".encode()
            assert row.objects == ("a", "b")
            assert one.context(attempt + 1) == f"answer {won.index(True)}.state"


def test_second_reply_changes_nothing(ledger: Ledger) -> None:
    ledger.add(got(1))
    assert answer(ledger, got(1).id, b"first", (7, "first.state"))

    assert not answer(ledger, got(1).id, b"second", (7, "second.state"))
    assert not answer(ledger, got(2).id, b"unasked", (8, "other.state"))

    row = ledger.get(got(1).id)
    assert row is not None
    assert ledger.response(row.id) == b"first"
    assert ledger.contexts() == {"first.state"}


def test_closed_request_drops_its_reply(ledger: Ledger) -> None:
    ledger.add(got(1))
    answer(ledger, got(1).id, b"response")

    ledger.close_request(got(1).id)

    row = ledger.get(got(1).id)
    assert row is not None
    assert (row.state, ledger.response(row.id), row.objects) == (Received.CLOSED, None, ())
    assert not answer(ledger, got(1).id, b"again")


def test_request_closed_early_takes_no_reply(ledger: Ledger) -> None:
    ledger.add(got(1))
    ledger.close_request(got(1).id)

    assert not answer(ledger, got(1).id, b"late", (7, "late.state"))
    assert ledger.context(7) == ""


def test_unfinished_requests_keep_order_of_receipt(ledger: Ledger) -> None:
    for number in (3, 1, 2, 4):
        ledger.add(got(number))
    ledger.close_request(got(1).id)
    ledger.move(got(2).id, Received.RUNNING)

    assert [row.id for row in ledger.unfinished()] == [got(number).id for number in (3, 2, 4)]


def test_app_state_is_that_of_the_last_reply(ledger: Ledger) -> None:
    for number in (1, 2, 3):
        ledger.add(got(number))
    answer(ledger, got(1).id, b"", (7, "one.state"))
    answer(ledger, got(2).id, b"", (7, "two.state"))
    answer(ledger, got(3).id, b"", None)

    assert ledger.context(7) == "two.state"
    assert ledger.contexts() == {"two.state"}
    assert ledger.context(8) == ""


def test_ended_run_stays_ended_without_app_state(ledger: Ledger) -> None:
    ledger.add(got(1))
    answer(ledger, got(1).id, b"", (7, "one.state"))
    assert not ledger.runs.has_ended(7)

    assert ledger.end_run(7, RunState.COMPLETED, "Server stopped", NOW)
    assert not ledger.end_run(7, RunState.FAILED, "Server failed", LATER)
    assert ledger.end_run(8, RunState.COMPLETED, "Server stopped", NOW)

    assert ledger.runs.has_ended(7)
    assert ledger.runs.has_ended(8)
    assert not ledger.runs.has_ended(9)
    assert ledger.contexts() == set()


def test_later_run_of_the_same_aggregator_replaces_a_run(ledger: Ledger) -> None:
    for run in (4, 7, 9, 2):
        ledger.runs.begin(run, NOW, alone=False)
    ledger.add(got(1, run=4))
    ledger.add(got(2, run=7))
    ledger.add(replace(got(3, run=9), sender="other@z.org"))
    ledger.add(got(4, run=2))

    assert ledger.replaced_by(2, got(1).sender) == [4, 7]
    assert ledger.replaced_by(7, got(1).sender) == [4]
    ledger.end_run(4, RunState.COMPLETED, "Server stopped", LATER)
    assert ledger.replaced_by(2, got(1).sender) == [7]
    assert ledger.replaced_by(5, got(1).sender) == []


def test_only_closed_expired_requests_are_deleted(ledger: Ledger) -> None:
    moment = datetime(2030, 1, 1, tzinfo=UTC)
    expiries = [moment - timedelta(days=1), moment - timedelta(microseconds=1), moment, moment + timedelta(seconds=1)]
    for number, expires in enumerate(expiries):
        ledger.add(got(number, expires=expires))
        ledger.close_request(got(number).id)
    ledger.add(got(9, expires=expiries[0]))

    ledger.forget_before(moment)

    assert [number for number in (0, 1, 2, 3, 9) if ledger.get(got(number).id)] == [2, 3, 9]


# Peers


def test_first_identity_stays_pinned(peers: Peers) -> None:
    assert peers.get("do@y.org") is None

    first = peers.pin("do@y.org", b"first", NOW)
    second = peers.pin("do@y.org", b"second", LATER)

    assert first == second == PeerRow("do@y.org", b"first", verified=False, first_seen=NOW, offered=None)


def test_concurrent_pins_agree(tmp_path: Path) -> None:
    path = tmp_path / "peers.db"
    with closing(Peers(path)) as one, closing(Peers(path)) as two, ThreadPoolExecutor(8) as threads:
        rows = list(threads.map(lambda number: (one, two)[number % 2].pin("do@y.org", bytes([number]), NOW), range(16)))

    assert len({row.identity for row in rows}) == 1


def test_accepted_identity_is_pinned_and_verified(peers: Peers) -> None:
    peers.pin("do@y.org", b"first", NOW)
    peers.offer("do@y.org", b"third")
    assert peers.get("do@y.org") == PeerRow("do@y.org", b"first", verified=False, first_seen=NOW, offered=b"third")

    peers.accept("do@y.org", b"second", LATER)

    accepted = PeerRow("do@y.org", b"second", verified=True, first_seen=LATER, offered=None)
    assert peers.get("do@y.org") == accepted
    peers.accept("do@y.org", b"second", NOW)
    assert peers.get("do@y.org") == accepted


def test_only_the_pinned_identity_becomes_verified(peers: Peers) -> None:
    assert not peers.set_verified("do@y.org", b"first")
    peers.pin("do@y.org", b"first", NOW)

    assert not peers.set_verified("do@y.org", b"second")
    assert not peers.all()[0].verified
    assert peers.set_verified("do@y.org", b"first")
    assert peers.all()[0].verified


def test_peers_are_listed_by_email(peers: Peers) -> None:
    for email in ("c@x.org", "a@x.org", "b@x.org"):
        peers.pin(email, b"identity", NOW)

    assert [row.email for row in peers.all()] == ["a@x.org", "b@x.org", "c@x.org"]


_FIRST_LEDGER = """
    CREATE TABLE received (id TEXT PRIMARY KEY, run INTEGER NOT NULL, sender TEXT NOT NULL, type TEXT NOT NULL,
        round TEXT NOT NULL, state TEXT NOT NULL, digest TEXT NOT NULL, received TEXT NOT NULL, expires TEXT NOT NULL,
        objects TEXT NOT NULL DEFAULT '', response BLOB) STRICT;
    CREATE INDEX received_by_state ON received (state);
    CREATE TABLE runs (run INTEGER PRIMARY KEY, ended TEXT, context TEXT NOT NULL DEFAULT '') STRICT;
    INSERT INTO received VALUES ('a', 7, 'ds@x.org', 'train', '1', 'replied', 'ab',
        '2030-01-01T00:00:00+00:00', '2030-01-02T00:00:00+00:00', 'aa', x'0102');
    INSERT INTO received VALUES ('b', 7, 'ds@x.org', 'train', '1', 'received', 'cd',
        '2030-01-01T00:00:00+00:00', '2030-01-02T00:00:00+00:00', '', NULL);
    PRAGMA user_version = 1
"""


def test_ledger_of_the_first_release_keeps_its_replies(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    with closing(sqlite3.connect(path)) as old:
        old.executescript(_FIRST_LEDGER)

    with closing(Ledger(path)) as ledger:
        first, second = ledger.unfinished()
        assert (first.id, first.state, first.objects) == ("a", Received.REPLIED, ("aa",))
        assert (ledger.response("a"), ledger.request("a")) == (b"\x01\x02", None)
        assert (second.id, ledger.response("b")) == ("b", None)
        assert ledger.has_reply("a")
        assert not ledger.has_reply("b")
        assert ledger.answer("b", response=b"reply", objects=[], context=None)
        assert ledger.has_reply("b")


def test_new_state_does_not_write_the_envelopes_again(tmp_path: Path) -> None:
    large = bytes(1_000_000)
    with closing(Ledger(tmp_path / "ledger.db")) as ledger, closing(Futures(tmp_path / "futures.db")) as futures:
        row = got(1)
        ledger.add(row, large)
        futures.add([asked(1, request=large)])
        before = [(tmp_path / f"{name}.db-wal").stat().st_size for name in ("ledger", "futures")]
        ledger.move(row.id, Received.RUNNING)
        futures.move([f"{1:032x}"], Future.SENT)
        after = [(tmp_path / f"{name}.db-wal").stat().st_size for name in ("ledger", "futures")]

    assert [end - start < 100_000 for start, end in zip(before, after, strict=True)] == [True, True]
