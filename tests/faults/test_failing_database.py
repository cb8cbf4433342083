"""Shows that one failing call to a database does not lose a message: it gets its reply, and the data owner continues.

The failing call is the first one after the message is sent, then the second, and so on. So each call for a message is tested.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from faultkit.federation import OWNERS, Federation, answer_of
from faultkit.storage import MemoryStorage
from flwr.app import Message
from waiting import eventually

from syft_flwr._store.database import Database
from syft_flwr._store.futures import Futures
from syft_flwr.errors import StoreError

OWNER = OWNERS[0]


class FailingCall:
    """Lets the ``number``-th call to the database ``name`` fail, counted from the time when it is armed."""

    def __init__(self, name: str, number: int) -> None:
        self.name = name
        self.number = number
        self.armed = False
        self.calls = 0

    def meet(self, database: Database) -> None:
        if self.armed and database._path.name == self.name:
            self.calls += 1
            if self.calls == self.number:
                raise StoreError("database or disk is full")

    def install(self, monkeypatch: pytest.MonkeyPatch) -> None:
        transaction, rows = Database.transaction, Database.rows

        @contextmanager
        def failing_transaction(database: Database, **options: Any) -> Iterator[sqlite3.Connection]:
            self.meet(database)
            with transaction(database, **options) as connection:
                yield connection

        def failing_rows(database: Database, *statement: Any) -> list[sqlite3.Row]:
            self.meet(database)
            return rows(database, *statement)

        monkeypatch.setattr(Database, "transaction", failing_transaction)
        monkeypatch.setattr(Database, "rows", failing_rows)


def pulled(federation: Federation, ids: list[str]) -> list[Message]:
    """Return the replies that have arrived, or none if the call fails. The caller tries again."""
    with suppress(StoreError):
        return list(federation.grid.pull_messages(ids))
    return []


def ask_through(federation: Federation, call: FailingCall, *, late: bool) -> list[Message]:
    """Send one message while ``call`` is armed, and return its reply. Return an empty list if the send fails."""
    if not late:
        federation[OWNER].start()
    federation.begin_run()
    if not late:
        federation.ask("answer")
        call.armed = True
    try:
        ids = federation.push("answer")
    except StoreError:
        return []
    if late:
        federation[OWNER].start()
        call.armed = True
    replies: list[Message] = []
    eventually(lambda: bool(replies.extend(pulled(federation, ids)) or replies), "a reply")
    return replies


@pytest.mark.parametrize("late", [False, True], ids=["owner is running", "owner starts late"])
@pytest.mark.parametrize("number", range(1, 10))
@pytest.mark.parametrize("name", ["futures.db", "ledger.db"])
def test_one_failing_call_loses_no_reply(
    tmp_path: Path, memory: MemoryStorage, monkeypatch: pytest.MonkeyPatch, name: str, number: int, late: bool
) -> None:
    call = FailingCall(name, number)
    call.install(monkeypatch)
    with Federation(tmp_path / "homes", memory, [OWNER]) as federation:
        replies = ask_through(federation, call, late=late)

        assert all(answer_of(reply) for reply in replies)
        assert replies or (name == "futures.db" and call.calls >= number)
        assert federation[OWNER].is_running
        call.armed = False


def test_request_is_sent_whole_after_a_failed_record(
    tmp_path: Path, memory: MemoryStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    refusals = iter(["database or disk is full", "database is locked"])
    set_request = Futures.set_request

    def failing(futures: Futures, *values: Any, **named: Any) -> bool:
        for why in refusals:
            raise StoreError(why)
        return set_request(futures, *values, **named)

    monkeypatch.setattr(Futures, "set_request", failing)
    with Federation(tmp_path / "homes", memory, [OWNER]) as federation:
        federation.begin_run()
        ids = federation.push("answer")
        federation[OWNER].start()

        (reply,) = federation.pull(ids)

        assert answer_of(reply)
        assert next(refusals, None) is None
