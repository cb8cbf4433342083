"""``futures.db``: the requests of the aggregator, and the replies to them."""

import sqlite3
from collections.abc import Collection, Iterable, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from syft_flwr._store.database import Database
from syft_flwr._store.states import FUTURE_ARROWS, Future, before

_SCHEMA = (
    """
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
    CREATE INDEX futures_by_run ON futures (run, state)
    """,
    # What it takes to take up a run again: what was asked, as a number, and what came of it.
    """
    ALTER TABLE futures ADD COLUMN group_id  TEXT NOT NULL DEFAULT '';
    ALTER TABLE futures ADD COLUMN content   TEXT NOT NULL DEFAULT '';
    ALTER TABLE futures ADD COLUMN digest    TEXT NOT NULL DEFAULT '';
    ALTER TABLE futures ADD COLUMN objects   TEXT NOT NULL DEFAULT '';
    ALTER TABLE futures ADD COLUMN code      TEXT NOT NULL DEFAULT '';
    ALTER TABLE futures ADD COLUMN reference TEXT NOT NULL DEFAULT ''
    """,
)

_INSERT = """
    INSERT INTO futures (id, run, recipient, type, group_id, round, content, state, created, expires, code, reason,
                         request, digest, objects)
    VALUES (:id, :run, :recipient, :type, :group, :round, :content, :state, :created, :expires, :code, :reason,
            :request, :digest, :objects)
"""
_MOVE = "UPDATE futures SET {columns} WHERE id = ? AND state IN ({states})"
_SET_REQUEST = "UPDATE futures SET request = ?, digest = ?, objects = ? WHERE id = ? AND state = ?"
_UNFINISHED = "SELECT * FROM futures WHERE run <> ? AND state <> ?"
_OF_RUN = "SELECT * FROM futures WHERE run = ? ORDER BY rowid"
_FORGET = "UPDATE futures SET content = '', request = NULL, response = NULL WHERE run = ?"


@dataclass(frozen=True, slots=True)
class FutureRow:
    id: str
    run: int
    recipient: str
    type: str
    group: str
    #: For people: the round, or else the group.
    round: str
    #: The digest of the message; empty for one that a resumed run sends again in any case.
    content: str
    state: Future
    created: datetime
    expires: datetime
    #: The request's envelope until it is collected, the SHA-256 of it, and the ids of the objects that it refers to.
    request: bytes | None = None
    digest: str = ""
    objects: tuple[str, ...] = ()
    #: Why there is no answer, and where its data owner finds more.
    code: str = ""
    reason: str = ""
    reference: str = ""


@dataclass(frozen=True, slots=True)
class Ended:
    """How a request ended: without a ``code``, with an answer; ``kept``, its envelope stays on record."""

    code: str = ""
    reason: str = ""
    reference: str = ""
    kept: bool = False


class Futures:
    """Rows of ``futures.db``. A state moves along the arrows of ``states`` only; another move changes nothing."""

    def __init__(self, path: Path) -> None:
        self._database = Database(path, _SCHEMA)

    def add(self, rows: Iterable[FutureRow]) -> None:
        """Record new requests, all or none."""
        with self._database.transaction() as connection:
            connection.executemany(_INSERT, [_values(row) for row in rows])

    def set_request(self, message_id: str, request: bytes, *, digest: str, objects: Collection[str]) -> bool:
        """Record the envelope of a request that could not be sealed when it was made; False if the request has ended."""
        values = (request, digest, " ".join(objects), message_id, Future.CREATED)
        with self._database.transaction() as connection:
            return connection.execute(_SET_REQUEST, values).rowcount == 1

    def move(self, ids: Iterable[str], state: Future, *, code: str = "", reason: str = "") -> None:
        """Bring requests to ``state`` where an arrow leads there; not durable by itself."""
        starts = before(FUTURE_ARROWS, state)
        statement = _moving("state = ?, code = ?, reason = ?", starts)
        with self._database.transaction(durable=False) as connection:
            connection.executemany(statement, [(state, code, reason, message_id, *starts) for message_id in ids])

    def answer(self, message_id: str, *, response: bytes) -> bool:
        """Record the response's envelope; False if the request does not wait for one.

        A process that crashed may have recorded it and told no caller, so recording it again succeeds. Not durable by
        itself: the response's file stays until :meth:`collect`, which is.
        """
        state = Future.ANSWERED
        starts = (*before(FUTURE_ARROWS, state), state)
        statement = _moving("state = ?, response = ?", starts)
        with self._database.transaction(durable=False) as connection:
            return connection.execute(statement, (state, response, message_id, *starts)).rowcount == 1

    def collect(self, outcomes: Mapping[str, Ended]) -> None:
        """End requests, by id: their outcome was given away. Drop the envelopes, except for replies that are kept."""
        state = Future.COLLECTED
        starts = before(FUTURE_ARROWS, state)
        kept = "CASE WHEN ? THEN response END"
        columns = f"state = ?, code = ?, reason = ?, reference = ?, request = NULL, response = {kept}"
        statement = _moving(columns, starts)
        with self._database.transaction() as connection:
            connection.executemany(
                statement,
                [
                    (state, ended.code, ended.reason, ended.reference, ended.kept, message_id, *starts)
                    for message_id, ended in outcomes.items()
                ],
            )

    def unfinished(self, *, except_run: int) -> list[FutureRow]:
        """Return the requests of other runs that were not collected."""
        return [_row(row) for row in self._database.rows(_UNFINISHED, (except_run, Future.COLLECTED))]

    def of_run(self, run: int) -> list[FutureRow]:
        """Return the requests of a run, in the order of their making."""
        return [_row(row) for row in self._database.rows(_OF_RUN, (run,))]

    def forget(self, run: int) -> None:
        """Drop the envelopes of a run that is over, and what it would take to take it up again."""
        with self._database.transaction(durable=False) as connection:
            connection.execute(_FORGET, (run,))

    def get(self, message_id: str) -> FutureRow | None:
        rows = self._database.rows("SELECT * FROM futures WHERE id = ?", (message_id,))
        return _row(rows[0]) if rows else None

    def response(self, message_id: str) -> bytes | None:
        """Return the envelope of a response, if it is on record."""
        rows = self._database.rows("SELECT response FROM futures WHERE id = ?", (message_id,))
        return rows[0]["response"] if rows else None

    def count_by_state(self, run: int) -> dict[Future, int]:
        """Return how many requests of a run are in each state."""
        rows = self._database.rows("SELECT state, count(*) AS n FROM futures WHERE run = ? GROUP BY state", (run,))
        return {Future(row["state"]): row["n"] for row in rows}

    def close(self) -> None:
        self._database.close()


def _moving(columns: str, starts: Collection[Future]) -> str:
    return _MOVE.format(columns=columns, states=", ".join("?" * len(starts)))


def _values(row: FutureRow) -> dict[str, object]:
    times = {"created": row.created.isoformat(), "expires": row.expires.isoformat()}
    return asdict(row) | times | {"objects": " ".join(row.objects)}


def _row(row: sqlite3.Row) -> FutureRow:
    return FutureRow(
        id=row["id"],
        run=row["run"],
        recipient=row["recipient"],
        type=row["type"],
        group=row["group_id"],
        round=row["round"],
        content=row["content"],
        state=Future(row["state"]),
        created=datetime.fromisoformat(row["created"]).astimezone(UTC),
        expires=datetime.fromisoformat(row["expires"]).astimezone(UTC),
        request=row["request"],
        digest=row["digest"],
        objects=tuple(row["objects"].split()),
        code=row["code"],
        reason=row["reason"],
        reference=row["reference"],
    )
