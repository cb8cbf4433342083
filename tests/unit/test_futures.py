"""The futures database: an older file is brought up to date with what is in it, and what it takes to take up a run."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from syft_flwr._store.futures import Ended, FutureRow, Futures
from syft_flwr._store.states import Future

NOW = datetime(2030, 1, 1, 12, 30, 0, 123_456, UTC)
LATER = NOW + timedelta(hours=2)
RUN = (1 << 63) - 1

#: What the first release made, word for word.
_FIRST_SCHEMA = """
    CREATE TABLE futures (
        id        TEXT PRIMARY KEY,
        run       INTEGER NOT NULL,
        recipient TEXT NOT NULL,
        type      TEXT NOT NULL,
        round     TEXT NOT NULL,
        state     TEXT NOT NULL,
        created   TEXT NOT NULL,
        expires   TEXT NOT NULL,
        reason    TEXT NOT NULL DEFAULT '',
        request   BLOB,
        response  BLOB
    ) STRICT;
    CREATE INDEX futures_by_run ON futures (run, state);
    PRAGMA user_version = 1;
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "futures.db"


@pytest.fixture
def futures(path: Path) -> Iterator[Futures]:
    with closing(Futures(path)) as opened:
        yield opened


def future(number: int, **changes: Any) -> FutureRow:
    fields: dict[str, Any] = {
        "id": f"{number:032x}",
        "run": RUN,
        "recipient": "do@y.org",
        "type": "train",
        "group": "g",
        "round": "3",
        "content": "c0" * 32,
        "state": Future.CREATED,
        "created": NOW,
        "expires": LATER,
        "request": b"request",
        "digest": "d1" * 32,
        "objects": ("aa" * 16, "bb" * 16),
    }
    return FutureRow(**fields | changes)


def answer(futures: Futures, number: int, response: bytes) -> None:
    assert futures.answer(f"{number:032x}", response=response)


def collect(futures: Futures, **outcomes: Ended) -> None:
    by_id = {f"{int(number[1:]):032x}": ended for number, ended in outcomes.items()}
    futures.collect(by_id)


# An older file


@pytest.fixture
def old(path: Path) -> Path:
    """A database as the first release left it: a request on its way, one that was answered, one that failed."""
    times = (NOW.isoformat(), LATER.isoformat())
    rows = [
        (f"{1:032x}", RUN, "do@y.org", "train", "1", "sent", *times, "", b"request", None),
        (f"{2:032x}", RUN, "do@y.org", "train", "1", "answered", *times, "", b"request", b"response"),
        (f"{3:032x}", 8, "do2@y.org", "evaluate", "2", "collected", *times, "app-raised: it raised", None, None),
    ]
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(_FIRST_SCHEMA)
        connection.executemany("INSERT INTO futures VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", rows)
        connection.commit()
    return path


def schema(path: Path) -> tuple[list[tuple[Any, ...]], list[tuple[Any, ...]], int]:
    with closing(sqlite3.connect(path)) as connection:
        columns = connection.execute("SELECT name, type, \"notnull\", dflt_value, pk FROM pragma_table_info('futures')")
        indexes = connection.execute("SELECT name, tbl_name, sql FROM sqlite_schema WHERE type = 'index' ORDER BY name")
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        # The step's text leaves its last line break in the statement.
        statements = [(name, table, sql and sql.strip()) for name, table, sql in indexes]
        return columns.fetchall(), statements, version


def test_rows_of_the_first_release_keep_what_they_said(old: Path) -> None:
    nothing: dict[str, Any] = {"group": "", "content": "", "digest": "", "objects": (), "round": "1"}

    with closing(Futures(old)) as futures:
        assert futures.get(f"{1:032x}") == future(1, state=Future.SENT, **nothing)
        assert futures.get(f"{2:032x}") == future(2, state=Future.ANSWERED, **nothing)
        assert futures.response(f"{2:032x}") == b"response"
        third = {**nothing, "run": 8, "recipient": "do2@y.org", "type": "evaluate", "round": "2", "request": None}
        assert futures.get(f"{3:032x}") == future(3, state=Future.COLLECTED, reason="app-raised: it raised", **third)


def test_rows_of_the_first_release_are_found_moved_and_ended(old: Path) -> None:
    with closing(Futures(old)) as futures:
        assert [row.id for row in futures.of_run(RUN)] == [f"{number:032x}" for number in (1, 2)]
        assert futures.count_by_state(RUN) == {Future.SENT: 1, Future.ANSWERED: 1}
        assert [row.id for row in futures.unfinished(except_run=8)] == [f"{number:032x}" for number in (1, 2)]
        assert futures.unfinished(except_run=RUN) == []

        futures.move([f"{1:032x}"], Future.FAILED, code="stopped")
        collect(futures, _1=Ended("stopped", "over"), _2=Ended(kept=True))

        assert futures.unfinished(except_run=8) == []
        assert futures.response(f"{2:032x}") == b"response"


def test_new_rows_go_beside_those_of_the_first_release(old: Path) -> None:
    with closing(Futures(old)) as futures:
        futures.add([future(4)])
    with closing(Futures(old)) as futures:
        assert futures.get(f"{4:032x}") == future(4)
        assert len(futures.of_run(RUN)) == 3


def test_an_older_file_ends_with_the_schema_of_a_new_one(old: Path, tmp_path: Path) -> None:
    for path in (old, tmp_path / "new.db"):
        Futures(path).close()

    assert schema(old) == schema(tmp_path / "new.db")


# What it takes to take up a run


def test_the_requests_of_a_run_come_in_the_order_of_their_making(futures: Futures) -> None:
    numbers = [5, 1, 9, 3]
    for number in numbers:
        futures.add([future(number), future(number + 100, run=8)])
    answer(futures, 9, b"response")
    collect(futures, _5=Ended("code", "why"))

    assert [row.id for row in futures.of_run(RUN)] == [f"{number:032x}" for number in numbers]
    assert [row.id for row in futures.of_run(8)] == [f"{number + 100:032x}" for number in numbers]
    assert futures.of_run(9) == []


def test_why_there_is_no_answer_is_told_from_what_was_said_of_it(futures: Futures) -> None:
    futures.add([future(1), future(2), future(3)])
    futures.move([f"{1:032x}", f"{3:032x}"], Future.FAILED, code="no-key", reason="no key: none")
    answer(futures, 2, b"response")
    assert futures.get(f"{1:032x}") == future(1, state=Future.FAILED, code="no-key", reason="no key: none")

    collect(futures, _1=Ended("no-key", "no key: none"), _2=Ended("app-raised", "it raised", "ab12"))

    ended = {"state": Future.COLLECTED, "request": None}
    assert futures.get(f"{1:032x}") == future(1, **ended, code="no-key", reason="no key: none")
    assert futures.get(f"{2:032x}") == future(2, **ended, code="app-raised", reason="it raised", reference="ab12")
    assert futures.get(f"{3:032x}") == future(3, state=Future.FAILED, code="no-key", reason="no key: none")


def test_the_envelope_of_an_answer_stays_if_it_is_kept_and_goes_if_it_is_not(futures: Futures) -> None:
    futures.add([future(1), future(2)])
    for number in (1, 2):
        answer(futures, number, b"response %d" % number)

    collect(futures, _1=Ended(kept=True), _2=Ended(kept=False))

    assert [futures.response(f"{number:032x}") for number in (1, 2)] == [b"response 1", None]
    assert [row.request for row in futures.of_run(RUN)] == [None, None]


def test_a_request_ends_once(futures: Futures) -> None:
    futures.add([future(1)])
    answer(futures, 1, b"response")
    collect(futures, _1=Ended(kept=True))

    collect(futures, _1=Ended("stopped", "over"))

    assert futures.get(f"{1:032x}") == future(1, state=Future.COLLECTED, request=None)
    assert futures.response(f"{1:032x}") == b"response"


def test_the_end_of_a_run_drops_its_envelopes_and_no_others(futures: Futures) -> None:
    futures.add([future(1), future(2), future(3, run=8)])
    for number in (1, 3):
        answer(futures, number, b"response")
    collect(futures, _1=Ended(kept=True), _3=Ended(kept=True))

    futures.forget(RUN)
    futures.forget(9)

    assert [futures.response(f"{number:032x}") for number in (1, 2, 3)] == [None, None, b"response"]
    assert [row.request for row in futures.of_run(RUN)] == [None, None]
    assert [row.state for row in futures.of_run(RUN)] == [Future.COLLECTED, Future.CREATED]


def test_a_response_of_a_request_that_nobody_made_is_none(futures: Futures) -> None:
    assert futures.response("f" * 32) is None


def test_a_row_without_objects_comes_back_without_objects(futures: Futures) -> None:
    futures.add([future(1, objects=())])

    assert futures.get(f"{1:032x}") == future(1, objects=())


def test_what_is_on_record_survives_the_process(futures: Futures, path: Path) -> None:
    futures.add([future(1)])
    futures.set_request(f"{1:032x}", b"sealed late", digest="5e" * 32, objects=["cc" * 16])
    answer(futures, 1, b"response")
    collect(futures, _1=Ended(kept=True))

    with closing(Futures(path)) as later:
        expected = future(1, state=Future.COLLECTED, request=None, digest="5e" * 32, objects=("cc" * 16,))
        assert later.of_run(RUN) == [expected]
        assert later.response(f"{1:032x}") == b"response"
