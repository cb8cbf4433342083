"""Databases of the release before the table of runs: their runs, requests and app states are taken over."""

import sqlite3
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from syft_flwr._store.futures import Futures
from syft_flwr._store.ledger import Attempt, Ledger, ReceivedRow
from syft_flwr._store.peers import PeerRow, Peers
from syft_flwr._store.states import Future, Received, RunState

_NOW = datetime(2030, 1, 1, 12, 30, tzinfo=UTC)
_LATER = _NOW + timedelta(hours=2)
#: Copies of the schemas of that release; they must not change with the source.
_FUTURES = """
    CREATE TABLE futures (
        id TEXT PRIMARY KEY, run INTEGER NOT NULL, recipient TEXT NOT NULL, type TEXT NOT NULL, round TEXT NOT NULL,
        state TEXT NOT NULL, created TEXT NOT NULL, expires TEXT NOT NULL, reason TEXT NOT NULL DEFAULT '',
        group_id TEXT NOT NULL DEFAULT '', content TEXT NOT NULL DEFAULT '', digest TEXT NOT NULL DEFAULT '',
        objects TEXT NOT NULL DEFAULT '', code TEXT NOT NULL DEFAULT '', reference TEXT NOT NULL DEFAULT ''
    ) STRICT;
    CREATE INDEX futures_by_run ON futures (run, state);
    CREATE TABLE envelopes (
        id TEXT NOT NULL, kind TEXT NOT NULL, data BLOB NOT NULL, PRIMARY KEY (id, kind)
    ) STRICT;
    PRAGMA user_version = 3
"""
_LEDGER = """
    CREATE TABLE received (
        id TEXT PRIMARY KEY, run INTEGER NOT NULL, sender TEXT NOT NULL, type TEXT NOT NULL, round TEXT NOT NULL,
        state TEXT NOT NULL, digest TEXT NOT NULL, received TEXT NOT NULL, expires TEXT NOT NULL,
        objects TEXT NOT NULL DEFAULT ''
    ) STRICT;
    CREATE INDEX received_by_state ON received (state);
    CREATE TABLE runs (run INTEGER PRIMARY KEY, ended TEXT, context TEXT NOT NULL DEFAULT '') STRICT;
    CREATE TABLE envelopes (
        id TEXT NOT NULL, kind TEXT NOT NULL, data BLOB NOT NULL, PRIMARY KEY (id, kind)
    ) STRICT;
    PRAGMA user_version = 2
"""
_PEERS = """
    CREATE TABLE peers (
        email TEXT PRIMARY KEY, identity BLOB NOT NULL, verified INTEGER NOT NULL DEFAULT 0, first_seen TEXT NOT NULL,
        offered BLOB
    ) STRICT;
    INSERT INTO peers VALUES ('do@y.org', x'0102', 1, '2030-01-01T12:30:00+00:00', NULL);
    PRAGMA user_version = 1
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "old.db"


def make(path: Path, schema: str) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None)
    connection.executescript(schema)
    return connection


def asked(number: int, run: int, content: str, created: datetime, state: Future) -> tuple[object, ...]:
    times = (created.isoformat(), (created + timedelta(days=1)).isoformat())
    return (f"{number:032x}", run, "do@y.org", "train", "1", state, *times, "1", content)


def make_futures(path: Path, *later: tuple[object, ...]) -> None:
    """Make the database of an aggregator: the run 1 has ended, the run 2 was interrupted, and later rows follow."""
    with closing(make(path, _FUTURES)) as connection:
        columns = "id, run, recipient, type, round, state, created, expires, group_id, content"
        rows = [
            asked(1, 1, "", _NOW, Future.COLLECTED),
            asked(2, 2, "c0" * 32, _NOW, Future.COLLECTED),
            asked(3, 2, "c1" * 32, _LATER, Future.SENT),
            asked(4, 2, "", _LATER, Future.SENT),
            *later,
        ]
        connection.executemany(f"INSERT INTO futures ({columns}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", rows)
        connection.execute("INSERT INTO envelopes VALUES (?, 'response', ?)", (f"{2:032x}", b"reply"))


def make_ledger(path: Path) -> None:
    """Make the database of a data owner: the run 1 has ended, the run 2 is open, the end of the run 3 came first."""
    with closing(make(path, _LEDGER)) as connection:
        columns = "id, run, sender, type, round, state, digest, received, expires"
        for number, run, state in ((1, 1, Received.CLOSED), (2, 2, Received.CLOSED), (3, 2, Received.REPLIED)):
            received = (_NOW + timedelta(minutes=number)).isoformat()
            values = (f"{number:032x}", run, "ds@x.org", "train", "1", state, "d1" * 32, received, _LATER.isoformat())
            connection.execute(f"INSERT INTO received ({columns}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", values)
        connection.execute("INSERT INTO envelopes VALUES (?, 'response', ?)", (f"{3:032x}", b"reply"))
        connection.execute("INSERT INTO runs VALUES (1, ?, '')", (_LATER.isoformat(),))
        connection.execute("INSERT INTO runs VALUES (2, NULL, 'two.state')")
        connection.execute("INSERT INTO runs VALUES (3, ?, '')", (_LATER.isoformat(),))


def test_unfinished_run_of_an_old_release_is_resumable(path: Path) -> None:
    make_futures(path)

    with closing(Futures(path)) as futures:
        interrupted = futures.interrupted_run(_LATER)
        assert interrupted is not None
        assert (interrupted.run, interrupted.state, interrupted.started) == (2, RunState.RUNNING, _NOW)
        assert interrupted.served == _LATER
        assert [row.run for row in futures.runs.all()] == [2]
        assert [row.content for row in futures.of_run(2)] == ["c0" * 32, "c1" * 32, ""]
        assert futures.response(f"{2:032x}") == b"reply"


def test_replaced_run_of_an_old_release_stays_stopped(path: Path) -> None:
    make_futures(path, asked(5, 3, "c3" * 32, _LATER, Future.SENT))

    with closing(Futures(path)) as futures:
        interrupted = futures.interrupted_run(_LATER)
        assert interrupted is not None
        assert interrupted.run == 3
        replaced = futures.runs.get(2)
        assert replaced is not None
        assert (replaced.state, replaced.started, replaced.ended) == (RunState.STOPPED, _NOW, _LATER)
        assert replaced.cause == "an earlier release did not record why"


def test_ended_latest_run_of_an_old_release_revives_none(path: Path) -> None:
    make_futures(path, asked(5, 3, "", _LATER, Future.COLLECTED))

    with closing(Futures(path)) as futures:
        assert futures.interrupted_run(_LATER) is None
        assert [(row.run, row.state) for row in futures.runs.all()] == [(2, RunState.STOPPED)]


def test_resume_of_an_old_run_is_counted(path: Path) -> None:
    make_futures(path)

    with closing(Futures(path)) as futures:
        assert futures.runs.begin(2, _LATER, alone=True).resumed == 1


def test_ended_runs_of_an_old_ledger_stay_ended(path: Path) -> None:
    make_ledger(path)

    with closing(Ledger(path)) as ledger:
        assert [ledger.runs.has_ended(run) for run in (1, 2, 3)] == [True, False, True]
        ended = ledger.runs.get(1)
        assert ended is not None
        assert (ended.state, ended.ended) == (RunState.STOPPED, _LATER)
        assert not ledger.end_run(1, RunState.COMPLETED, "Server stopped", _LATER)


def test_open_run_and_app_state_of_an_old_ledger_survive(path: Path) -> None:
    make_ledger(path)

    with closing(Ledger(path)) as ledger:
        (row,) = ledger.runs.unfinished()
        assert (row.run, row.started) == (2, _NOW + timedelta(minutes=2))
        assert ledger.context(2) == "two.state"
        assert ledger.contexts() == {"two.state"}
        assert [(each.id, each.attempts, each.report) for each in ledger.unfinished()] == [(f"{3:032x}", 0, "")]
        assert ledger.response(f"{3:032x}") == b"reply"


@pytest.mark.parametrize(("make_old", "store"), [(make_futures, Futures), (make_ledger, Ledger)])
def test_migrated_schema_equals_a_new_one(path: Path, tmp_path: Path, make_old: object, store: type) -> None:
    assert callable(make_old)
    make_old(path)
    for each in (path, tmp_path / "new.db"):
        store(each).close()

    schemas = []
    for each in (path, tmp_path / "new.db"):
        with closing(sqlite3.connect(each)) as connection:
            tables = connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name").fetchall()
            columns = {name: connection.execute(f"PRAGMA table_info({name})").fetchall() for (name,) in tables}
            schemas.append({name: sorted(row[1:] for row in rows) for name, rows in columns.items()})
    assert schemas[0] == schemas[1]


def test_pinned_keys_are_taken_over(path: Path) -> None:
    make(path, _PEERS).close()
    with closing(Peers(path)) as peers:
        assert peers.get("do@y.org") == PeerRow("do@y.org", b"\x01\x02", True, _NOW, None)
        assert peers.heard("do@y.org", "app", "data-owner") is None
        first = peers.begin_session("app", "aggregator", _NOW)
        assert peers.begin_session("app", "aggregator", _NOW) == first + 1


def test_open_request_of_an_older_release_has_no_deaths(path: Path) -> None:
    make_ledger(path)
    with closing(Ledger(path)) as ledger:
        ledger.add(ReceivedRow("f" * 32, 2, "ds@x.org", "train", "1", Received.RECEIVED, "0" * 64, _NOW, _LATER))
        assert ledger.interval() is None
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(
            "UPDATE received SET state = 'running', attempts = 7, attempt = '' WHERE id = ?", ("f" * 32,)
        )
        connection.commit()
    with closing(Ledger(path)) as ledger:
        assert ledger.start("f" * 32) == Attempt(8, 0)
