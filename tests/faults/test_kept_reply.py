"""A finished reply that cannot be recorded is kept and tried again at each scan, and its app does not work twice."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from faultkit.clock import StillClock
from faultkit.federation import OWNERS, STOP_LIMIT, Federation, answer_of
from faultkit.storage import MemoryStorage
from faultkit.synced import SyncedStorage
from waiting import eventually

from syft_flwr._messaging.answering.responder import MOST_DEATHS
from syft_flwr._messaging.answering.work import Work
from syft_flwr._store.database import Database
from syft_flwr._store.ledger import Ledger
from syft_flwr.errors import StoreError
from syft_flwr.shutdown import Terminated

OWNER = OWNERS[0]
KEPT = "cannot be recorded now"


class FullDisk:
    """Refuses each write to the ledger while it is full; if it is broken, each read, too."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.full = self.broken = False
        #: The number of refused writes of a reply.
        self.refused = 0
        transaction, rows = Database.transaction, Database.rows

        @contextmanager
        def refusing_transaction(database: Database, **options: Any) -> Iterator[sqlite3.Connection]:
            if self.full and database._path.name == "ledger.db":
                self.refused += options.get("durable", True)
                raise StoreError("database or disk is full")
            with transaction(database, **options) as connection:
                yield connection

        def refusing_rows(database: Database, *statement: Any) -> list[sqlite3.Row]:
            if self.broken and database._path.name == "ledger.db":
                raise StoreError("disk I/O error")
            return rows(database, *statement)

        monkeypatch.setattr(Database, "transaction", refusing_transaction)
        monkeypatch.setattr(Database, "rows", refusing_rows)

    def heal(self) -> None:
        self.full = self.broken = False


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> FullDisk:
    return FullDisk(monkeypatch)


def keep_a_reply(
    federation: Federation,
    disk: FullDisk,
    behaviour: str = "answer_at_the_gate",
    *,
    broken: bool = False,
    ttl: float | None = None,
) -> str:
    """Fill the disk while the app works, and return the message after its reply was tried some times."""
    (message,) = federation.messages(behaviour)
    message.metadata.ttl = ttl or message.metadata.ttl
    (message_id,) = federation.grid.push_messages([message])
    journal = federation[OWNER].journal
    journal.wait_for_call(message_id)
    disk.full, disk.broken = True, broken
    journal.open_gate()
    # If the clock stands still, no scan comes by itself.
    times = 1 if isinstance(federation.clock, StillClock) else 3
    eventually(lambda: disk.refused >= times, "some attempts to record the reply")
    return message_id


@pytest.mark.parametrize("behaviour", ["answer_at_the_gate", "answer_large_at_the_gate"])
@pytest.mark.parametrize("broken", [False, True], ids=["full", "broken"])
def test_reply_is_kept_until_it_can_be_recorded(
    tmp_path: Path,
    storage: MemoryStorage | SyncedStorage,
    disk: FullDisk,
    logged: list[str],
    broken: bool,
    behaviour: str,
) -> None:
    with Federation(tmp_path / "homes", storage, [OWNER]) as federation:
        federation.start()
        message_id = keep_a_reply(federation, disk, behaviour, broken=broken)
        disk.heal()
        (reply,) = federation.pull([message_id])
        assert reply.has_content()
        assert len(federation[OWNER].journal.calls_of(message_id)) == 1
        # The state of the app was recorded with the reply.
        (after,) = federation.assert_served()
        assert after["messages"] == 2
        assert len([line for line in logged if KEPT in line]) == 1
    federation.assert_nothing_left()


def test_heartbeats_continue_while_a_reply_is_kept(tmp_path: Path, memory: MemoryStorage, disk: FullDisk) -> None:
    clock = StillClock()
    with Federation(tmp_path / "homes", memory, [OWNER], clock=clock) as federation:
        federation.start()
        message_id = keep_a_reply(federation, disk)
        for _ in range(10):
            # Ten minutes, with a silence limit of two.
            clock.advance(60)
            federation.wait_for_heartbeat(OWNER)
        assert disk.refused >= 5
        disk.heal()
        clock.advance(15)
        (reply,) = federation.pull([message_id])
        assert answer_of(reply)["messages"] == 1
        assert len(federation[OWNER].journal.calls) == 1


@pytest.mark.parametrize("broken", [False, True], ids=["full", "broken"])
def test_withdrawal_ends_a_kept_reply(
    tmp_path: Path, storage: MemoryStorage | SyncedStorage, disk: FullDisk, logged: list[str], broken: bool
) -> None:
    """Also while the withdrawal itself cannot be recorded."""
    with Federation(tmp_path / "homes", storage, [OWNER]) as federation:
        federation.start()
        message_id = keep_a_reply(federation, disk, "answer_large_at_the_gate")
        disk.broken = broken
        federation.withdraw(message_id)
        eventually(lambda: any("has withdrawn the request" in line for line in logged), "the end of the work")
        disk.heal()
        (after,) = federation.assert_served()
        assert after["messages"] == 1, "the state of a withdrawn request is dropped"
        assert len(federation[OWNER].journal.calls_of(message_id)) == 1
    federation.assert_nothing_left()


def test_lifetime_ends_a_kept_reply(tmp_path: Path, memory: MemoryStorage, disk: FullDisk, logged: list[str]) -> None:
    clock = StillClock()
    with Federation(tmp_path / "homes", memory, [OWNER], clock=clock) as federation:
        federation.start()
        keep_a_reply(federation, disk, ttl=60.0)
        clock.advance(60)
        eventually(lambda: any("lifetime of the request is over" in line for line in logged), "the end of the work")
        disk.heal()
        (after,) = federation.assert_served()
        assert after["messages"] == 1
        assert len(federation[OWNER].journal.calls) == 2


def test_client_stops_with_a_kept_reply(tmp_path: Path, memory: MemoryStorage, disk: FullDisk) -> None:
    """The request runs again at the next start, without blame."""
    with Federation(tmp_path / "homes", memory, [OWNER], options={OWNER: {"keep": True}}) as federation:
        federation.start()
        message_id = keep_a_reply(federation, disk)
        federation[OWNER].end()
        federation[OWNER].join(STOP_LIMIT)
        disk.heal()
        federation[OWNER].start()
        (reply,) = federation.pull([message_id])
        assert answer_of(reply)["messages"] == 1
        assert len(federation[OWNER].journal.calls_of(message_id)) == 2


def test_end_of_the_run_ends_a_kept_reply(
    tmp_path: Path, memory: MemoryStorage, monkeypatch: pytest.MonkeyPatch, logged: list[str]
) -> None:
    answer = Ledger.answer

    def refusing(ledger: Ledger, message_id: str, *, context: tuple[int, str] | None, **facts: Any) -> bool:
        if context:
            raise StoreError("database or disk is full")
        return answer(ledger, message_id, context=context, **facts)

    monkeypatch.setattr(Ledger, "answer", refusing)
    with Federation(tmp_path / "homes", memory, [OWNER]) as federation:
        federation.start()
        federation.push("answer_large")
        eventually(lambda: any(KEPT in line for line in logged), "a reply that is kept")
        federation[OWNER].spy.wait_for_scans()
        # The stop has no state of an app, so it can be recorded.
        federation.stop()
        assert len(federation[OWNER].journal.calls) == 1
    federation.assert_nothing_left()


def test_signals_with_a_reply_that_fills_the_disk_are_no_deaths(
    tmp_path: Path, memory: MemoryStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The deletion of its objects at the end makes room for the record of the end."""
    transaction, wait = Database.transaction, Work._wait_for_scan
    signals = iter([True] * MOST_DEATHS)

    @contextmanager
    def full(database: Database, **options: Any) -> Iterator[sqlite3.Connection]:
        has_objects = any(name.startswith(OWNER) and "/objects/" in name for name in memory.names())
        if database._path.name == "ledger.db" and has_objects:
            raise StoreError("database or disk is full")
        with transaction(database, **options) as connection:
            yield connection

    def interrupted(work: Work, message_id: str) -> bool:
        if next(signals, False):
            raise Terminated
        return wait(work, message_id)

    monkeypatch.setattr(Work, "_wait_for_scan", interrupted)
    with Federation(tmp_path / "homes", memory, [OWNER]) as federation:
        federation.start()
        with monkeypatch.context() as patch:
            patch.setattr(Database, "transaction", full)
            (message_id,) = federation.push("answer_large")
            for _ in range(MOST_DEATHS):
                with pytest.raises(Terminated):
                    federation[OWNER].join()
                federation[OWNER].start()
        (reply,) = federation.pull([message_id])
        assert reply.has_content(), reply.error
