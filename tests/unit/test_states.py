"""The states of messages: the tables of allowed moves, and the databases that enforce them."""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path

import pytest
from stored_rows import row_of

from syft_flwr._store.futures import Ended, FutureRow, Futures
from syft_flwr._store.ledger import Ledger, ReceivedRow
from syft_flwr._store.states import FUTURE_ARROWS, RECEIVED_ARROWS, Future, Received, before

NOW = datetime(2030, 1, 1, tzinfo=UTC)
ID = "0" * 32


def future_row(message_id: str = ID, *, state: str = Future.CREATED, run: int = 7) -> FutureRow:
    return FutureRow(
        id=message_id,
        run=run,
        recipient="do@y.org",
        type="train",
        group="1",
        round="1",
        content="c0" * 32,
        state=state,
        created=NOW,
        expires=NOW,
        request=b"request",
    )


def received_row(message_id: str = ID, *, state: str = Received.RECEIVED, run: int = 7) -> ReceivedRow:
    return ReceivedRow(message_id, run, "ds@x.org", "train", "1", state, "ab" * 32, NOW, NOW)


# The tables


@pytest.mark.parametrize(
    ("arrows", "first", "last"),
    [(FUTURE_ARROWS, Future.CREATED, Future.COLLECTED), (RECEIVED_ARROWS, Received.RECEIVED, Received.CLOSED)],
    ids=["future", "received"],
)
def test_every_state_is_reachable_and_can_end(
    arrows: dict[StrEnum, frozenset[StrEnum]], first: StrEnum, last: StrEnum
) -> None:
    def reach(start: StrEnum) -> set[StrEnum]:
        seen, frontier = {start}, [start]
        while frontier:
            for state in arrows[frontier.pop()] - seen:
                seen.add(state)
                frontier.append(state)
        return seen

    assert set(arrows) == set(type(first))
    assert reach(first) == set(arrows)
    assert all(last in reach(state) for state in arrows)
    assert arrows[last] == frozenset()


@pytest.mark.parametrize("arrows", [FUTURE_ARROWS, RECEIVED_ARROWS], ids=["future", "received"])
def test_states_have_no_cycle(arrows: dict[StrEnum, frozenset[StrEnum]]) -> None:
    # Without a cycle, the states can be sorted so that every arrow leads forward.
    remaining, order = dict(arrows), []
    while remaining:
        ends = [state for state, targets in remaining.items() if not targets & set(remaining)]
        assert ends, "the states form a cycle"
        order += ends
        remaining = {state: targets for state, targets in remaining.items() if state not in ends}
    assert len(order) == len(arrows)


def test_before_returns_states_with_an_arrow_to_it() -> None:
    assert before(FUTURE_ARROWS, Future.CREATED) == ()
    assert set(before(FUTURE_ARROWS, Future.ANSWERED)) == {Future.CREATED, Future.SENT}
    assert set(before(RECEIVED_ARROWS, Received.REPLIED)) == {Received.ANSWERED}
    assert Received.CLOSED not in before(RECEIVED_ARROWS, Received.CLOSED)


# The futures database


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state.db"


@pytest.fixture
def futures(path: Path) -> Iterator[Futures]:
    with closing(Futures(path)) as opened:
        yield opened


@pytest.fixture
def ledger(path: Path) -> Iterator[Ledger]:
    with closing(Ledger(path)) as opened:
        yield opened


def force(path: Path, table: str, state: StrEnum) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(f"UPDATE {table} SET state = ?", (state,))


FUTURE_STEPS: dict[Future, Callable[[Futures], object]] = {
    Future.CREATED: lambda futures: futures.move([ID], Future.CREATED),
    Future.SENT: lambda futures: futures.move([ID], Future.SENT),
    Future.ANSWERED: lambda futures: futures.answer(ID, response=b"response"),
    Future.FAILED: lambda futures: futures.move([ID], Future.FAILED, code="code", reason="why"),
    Future.EXPIRED: lambda futures: futures.move([ID], Future.EXPIRED, reason="late"),
    Future.COLLECTED: lambda futures: futures.collect({ID: Ended("code", "why")}),
}


@pytest.mark.parametrize("start", list(Future))
@pytest.mark.parametrize("end", list(Future))
def test_future_moves_only_along_arrows(futures: Futures, path: Path, start: Future, end: Future) -> None:
    futures.add([future_row()])
    force(path, "futures", start)
    unmoved = row_of(futures, ID)

    FUTURE_STEPS[end](futures)

    moved = row_of(futures, ID)
    assert moved is not None
    if end in FUTURE_ARROWS[start]:
        assert moved.state == end
    else:
        assert moved == unmoved


@pytest.mark.parametrize("end", [end for end in Future if end is not Future.CREATED])
def test_repeated_future_move_changes_nothing(futures: Futures, path: Path, end: Future) -> None:
    futures.add([future_row()])
    force(path, "futures", before(FUTURE_ARROWS, end)[0])
    FUTURE_STEPS[end](futures)
    once = row_of(futures, ID)

    FUTURE_STEPS[end](futures)

    assert row_of(futures, ID) == once


# The ledger

#: A move to these states can be repeated: after a crash a request runs again and its reply is written again.
REPEATABLE = {Received.RUNNING, Received.REPLIED}
RECEIVED_STEPS: dict[Received, Callable[[Ledger], object]] = {
    Received.RECEIVED: lambda ledger: ledger.add(received_row()),
    Received.RUNNING: lambda ledger: ledger.move(ID, Received.RUNNING),
    Received.ANSWERED: lambda ledger: ledger.answer(
        ID,
        response=b"response",
        objects=["a"],
        context=(7, "state"),
    ),
    Received.REPLIED: lambda ledger: ledger.move(ID, Received.REPLIED),
    Received.CLOSED: lambda ledger: ledger.close_request(ID),
}


@pytest.mark.parametrize("start", list(Received))
@pytest.mark.parametrize("end", list(Received))
def test_received_request_moves_only_along_arrows(ledger: Ledger, path: Path, start: Received, end: Received) -> None:
    ledger.add(received_row())
    force(path, "received", start)
    unmoved = ledger.get(ID)

    moved = RECEIVED_STEPS[end](ledger)

    row = ledger.get(ID)
    assert row is not None
    if end in RECEIVED_ARROWS[start]:
        assert row.state == end
        assert moved in (True, None)
    else:
        assert row == unmoved
        assert moved in (False, None) or (moved and end == start and end in REPEATABLE)
        assert ledger.context(7) == ""


@pytest.mark.parametrize("end", list(Received))
def test_repeated_request_move_changes_nothing(ledger: Ledger, path: Path, end: Received) -> None:
    ledger.add(received_row())
    force(path, "received", (*before(RECEIVED_ARROWS, end), Received.RECEIVED)[0])
    RECEIVED_STEPS[end](ledger)
    once = ledger.get(ID)

    assert RECEIVED_STEPS[end](ledger) in ((True,) if end in REPEATABLE else (False, None))
    assert ledger.get(ID) == once
