"""The futures database: migration of an older file, and the data from which a run is resumed."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from stored_rows import row_of

from syft_flwr._store.futures import Ended, FutureRow, Futures
from syft_flwr._store.states import Future, RunState

NOW = datetime(2030, 1, 1, 12, 30, 0, 123_456, UTC)
LATER = NOW + timedelta(hours=2)
RUN = (1 << 63) - 1

#: The schema of the first release, unchanged.
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


# Migration of an older file


@pytest.fixture
def old(path: Path) -> Path:
    """Return a database of the first release with a sent, an answered and a failed request."""
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
        # The migration leaves a line break at the end of its statement.
        statements = [(name, table, sql and sql.strip()) for name, table, sql in indexes]
        return columns.fetchall(), statements, version


def test_migration_keeps_rows_of_the_first_release(old: Path) -> None:
    nothing: dict[str, Any] = {"group": "", "content": "", "digest": "", "objects": (), "round": "1"}

    with closing(Futures(old)) as futures:
        assert row_of(futures, f"{1:032x}") == future(1, state=Future.SENT, **nothing)
        assert row_of(futures, f"{2:032x}") == future(2, state=Future.ANSWERED, **nothing)
        assert futures.response(f"{2:032x}") == b"response"
        third = {**nothing, "run": 8, "recipient": "do2@y.org", "type": "evaluate", "round": "2", "request": None}
        assert row_of(futures, f"{3:032x}") == future(
            3, state=Future.COLLECTED, reason="app-raised: it raised", **third
        )


def test_migrated_rows_can_be_found_moved_and_ended(old: Path) -> None:
    with closing(Futures(old)) as futures:
        assert [row.id for row in futures.of_run(RUN)] == [f"{number:032x}" for number in (1, 2)]
        assert futures.count_by_state(RUN) == {Future.SENT: 1, Future.ANSWERED: 1}
        assert [row.id for row in futures.unfinished(except_run=8)] == [f"{number:032x}" for number in (1, 2)]
        assert futures.unfinished(except_run=RUN) == []

        futures.move([f"{1:032x}"], Future.FAILED, code="stopped")
        collect(futures, _1=Ended("stopped", "over"), _2=Ended(kept=True))

        assert futures.unfinished(except_run=8) == []
        assert futures.response(f"{2:032x}") == b"response"


def test_migrated_database_takes_new_rows(old: Path) -> None:
    with closing(Futures(old)) as futures:
        futures.add([future(4)])
    with closing(Futures(old)) as futures:
        assert row_of(futures, f"{4:032x}") == future(4)
        assert len(futures.of_run(RUN)) == 3


def test_migrated_schema_equals_a_new_schema(old: Path, tmp_path: Path) -> None:
    for path in (old, tmp_path / "new.db"):
        Futures(path).close()

    assert schema(old) == schema(tmp_path / "new.db")


# Data from which a run is resumed


def test_requests_of_a_run_are_listed_oldest_first(futures: Futures) -> None:
    numbers = [5, 1, 9, 3]
    for number in numbers:
        futures.add([future(number), future(number + 100, run=8)])
    answer(futures, 9, b"response")
    collect(futures, _5=Ended("code", "why"))

    assert [row.id for row in futures.of_run(RUN)] == [f"{number:032x}" for number in numbers]
    assert [row.id for row in futures.of_run(8)] == [f"{number + 100:032x}" for number in numbers]
    assert futures.of_run(9) == []


def test_failure_code_and_reason_are_recorded(futures: Futures) -> None:
    futures.add([future(1), future(2), future(3)])
    futures.move([f"{1:032x}", f"{3:032x}"], Future.FAILED, code="no-key", reason="no key: none")
    answer(futures, 2, b"response")
    assert row_of(futures, f"{1:032x}") == future(1, state=Future.FAILED, code="no-key", reason="no key: none")

    collect(futures, _1=Ended("no-key", "no key: none"), _2=Ended("app-raised", "it raised", "ab12"))

    ended = {"state": Future.COLLECTED, "request": None}
    assert row_of(futures, f"{1:032x}") == future(1, **ended, code="no-key", reason="no key: none")
    assert row_of(futures, f"{2:032x}") == future(2, **ended, code="app-raised", reason="it raised", reference="ab12")
    assert row_of(futures, f"{3:032x}") == future(3, state=Future.FAILED, code="no-key", reason="no key: none")


def test_only_kept_replies_keep_their_envelope(futures: Futures) -> None:
    futures.add([future(1), future(2)])
    for number in (1, 2):
        answer(futures, number, b"response %d" % number)

    collect(futures, _1=Ended(kept=True), _2=Ended(kept=False))

    assert [futures.response(f"{number:032x}") for number in (1, 2)] == [b"response 1", None]
    assert [row.request for row in futures.of_run(RUN)] == [None, None]


def test_second_end_of_a_request_changes_nothing(futures: Futures) -> None:
    futures.add([future(1)])
    answer(futures, 1, b"response")
    collect(futures, _1=Ended(kept=True))

    collect(futures, _1=Ended("stopped", "over"))

    assert row_of(futures, f"{1:032x}") == future(1, state=Future.COLLECTED, request=None)
    assert futures.response(f"{1:032x}") == b"response"


def test_end_of_a_run_deletes_only_its_envelopes(futures: Futures) -> None:
    futures.add([future(1), future(2), future(3, run=8)])
    for number in (1, 3):
        answer(futures, number, b"response")
    collect(futures, _1=Ended(kept=True), _3=Ended(kept=True))

    futures.forget(RUN)
    futures.forget(9)

    assert [futures.response(f"{number:032x}") for number in (1, 2, 3)] == [None, None, b"response"]
    assert [row.request for row in futures.of_run(RUN)] == [None, None]
    assert [row.state for row in futures.of_run(RUN)] == [Future.COLLECTED, Future.CREATED]


def test_unknown_request_has_no_response(futures: Futures) -> None:
    assert futures.response("f" * 32) is None


def test_row_without_objects_round_trips(futures: Futures) -> None:
    futures.add([future(1, objects=())])

    assert row_of(futures, f"{1:032x}") == future(1, objects=())


def test_rows_survive_reopening_the_database(futures: Futures, path: Path) -> None:
    futures.add([future(1)])
    futures.set_request(f"{1:032x}", b"sealed late", digest="5e" * 32, objects=["cc" * 16])
    answer(futures, 1, b"response")
    collect(futures, _1=Ended(kept=True))

    with closing(Futures(path)) as later:
        expected = future(1, state=Future.COLLECTED, request=None, digest="5e" * 32, objects=("cc" * 16,))
        assert later.of_run(RUN) == [expected]
        assert later.response(f"{1:032x}") == b"response"


def test_latest_collected_requests_are_few_per_recipient(futures: Futures) -> None:
    owners = ("do1@y.org", "do2@y.org")
    futures.add(future(number, recipient=owners[number % 2], state=Future.FAILED) for number in range(20))
    futures.add([future(20, recipient=owners[0])])
    futures.collect({f"{number:032x}": Ended("stopped", "by the test") for number in range(20)})
    found = futures.latest_collected(owners, 3)
    assert found == {
        owners[0]: [f"{number:032x}" for number in (18, 16, 14)],
        owners[1]: [f"{number:032x}" for number in (19, 17, 15)],
    }


def test_collected_requests_among_many_ids_are_found(futures: Futures) -> None:
    futures.add(future(number, state=Future.FAILED) for number in range(3))
    futures.add([future(3)])
    wanted = [f"{number:032x}" for number in range(1_001)]
    futures.collect(dict.fromkeys(wanted[:3], Ended("stopped", "by the test")))
    assert futures.collected_among(wanted) == set(wanted[:3])
    assert futures.collected_among([]) == set()


def test_last_run_is_known_until_the_next_reply(futures: Futures) -> None:
    def last_run() -> tuple[int, datetime] | None:
        return futures.last_run("do@y.org", control="system", stop="final")

    assert last_run() is None
    futures.add([future(1), future(2, run=7, type="system", group="final")])
    answer(futures, 1, b"response")
    # The data owner has not confirmed the stop.
    assert last_run() is None
    answer(futures, 2, b"response")
    assert last_run() == (7, NOW)
    # A request of the next run without a reply changes nothing: the client does not run.
    futures.add([future(3, run=8, type="system", group="")])
    assert last_run() == (7, NOW)
    answer(futures, 3, b"response")
    assert last_run() is None


def test_last_run_is_not_known_after_a_failed_stop(futures: Futures) -> None:
    futures.add([future(1, type="system", group="final", state=Future.FAILED)])
    futures.collect({f"{1:032x}": Ended("no-answer", "no reply within 5 s")})
    assert futures.last_run("do@y.org", control="system", stop="final") is None


def begin(futures: Futures, run: int) -> None:
    futures.runs.begin(run, NOW, alone=True)


def test_resumed_run_gets_its_first_random_states(futures: Futures) -> None:
    begin(futures, RUN)
    assert futures.keep_states(RUN, "first") == "first"
    for later in ("second", "third"):
        begin(futures, RUN)
        assert futures.keep_states(RUN, later) == "first"


def test_random_states_end_with_their_run(futures: Futures) -> None:
    begin(futures, RUN)
    futures.keep_states(RUN, "first")
    futures.runs.end(RUN, RunState.COMPLETED, "", NOW)
    begin(futures, RUN)
    assert futures.keep_states(RUN, "second") == "second"
    begin(futures, 5)
    assert futures.keep_states(5, "third") == "third"
    futures.forget(5)
    assert futures._database.rows("SELECT * FROM random_states") == []
