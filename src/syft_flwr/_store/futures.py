"""``futures.db``: the requests that the aggregator sent, and their replies."""

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
    # These columns make a run resumable: the digest of each request, and its outcome.
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
    """One request of the aggregator."""

    id: str
    run: int
    recipient: str
    type: str
    group: str
    #: The round, or the group if the round has no name. For people only.
    round: str
    #: The digest of the message; empty if a resumed run always sends the message again.
    content: str
    state: Future
    created: datetime
    expires: datetime
    #: The envelope of the request (None before it is sealed and after it is collected), its
    #: SHA-256, and the ids of its objects.
    request: bytes | None = None
    digest: str = ""
    objects: tuple[str, ...] = ()
    #: Why the request failed, and the reference to the details in the log of the data owner.
    code: str = ""
    reason: str = ""
    reference: str = ""


@dataclass(frozen=True, slots=True)
class Ended:
    """The end of a request. An empty ``code`` means that it was answered; ``kept`` keeps the envelope of the reply."""

    code: str = ""
    reason: str = ""
    reference: str = ""
    kept: bool = False


class Futures:
    """The rows of ``futures.db``. A state moves only along an arrow of ``states``; other moves change nothing."""

    def __init__(self, path: Path) -> None:
        self._database = Database(path, _SCHEMA)

    def add(self, rows: Iterable[FutureRow]) -> None:
        """Record new requests in one durable transaction."""
        with self._database.transaction() as connection:
            connection.executemany(_INSERT, [_values(row) for row in rows])

    def set_request(self, message_id: str, request: bytes, *, digest: str, objects: Collection[str]) -> bool:
        """Record the envelope of a request that was sealed later; return False if the request has ended."""
        values = (request, digest, " ".join(objects), message_id, Future.CREATED)
        with self._database.transaction() as connection:
            return connection.execute(_SET_REQUEST, values).rowcount == 1

    def move(self, ids: Iterable[str], state: Future, *, code: str = "", reason: str = "") -> None:
        """Move requests to ``state``. A request without an arrow to it keeps its state. Not durable."""
        starts = before(FUTURE_ARROWS, state)
        statement = _moving("state = ?, code = ?, reason = ?", starts)
        with self._database.transaction(durable=False) as connection:
            connection.executemany(statement, [(state, code, reason, message_id, *starts) for message_id in ids])

    def answer(self, message_id: str, *, response: bytes) -> bool:
        """Record the envelope of the reply; return False if the request does not wait for one.

        A second record of it succeeds, because a process may crash before it gives the reply to its caller. This is not
        durable: the file of the reply stays in the shared folder until :meth:`collect`, which is durable.
        """
        state = Future.ANSWERED
        starts = (*before(FUTURE_ARROWS, state), state)
        statement = _moving("state = ?, response = ?", starts)
        with self._database.transaction(durable=False) as connection:
            return connection.execute(statement, (state, response, message_id, *starts)).rowcount == 1

    def collect(self, outcomes: Mapping[str, Ended]) -> None:
        """Record the outcome of each request id as collected. Drop the envelopes, except those of kept replies."""
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
        """Return the requests of all runs except ``except_run`` that were not collected."""
        return [_row(row) for row in self._database.rows(_UNFINISHED, (except_run, Future.COLLECTED))]

    def of_run(self, run: int) -> list[FutureRow]:
        """Return the requests of a run in the order in which they were added."""
        return [_row(row) for row in self._database.rows(_OF_RUN, (run,))]

    def forget(self, run: int) -> None:
        """Drop the envelopes and digests of a run that has ended. It cannot be resumed afterwards."""
        with self._database.transaction(durable=False) as connection:
            connection.execute(_FORGET, (run,))

    def get(self, message_id: str) -> FutureRow | None:
        rows = self._database.rows("SELECT * FROM futures WHERE id = ?", (message_id,))
        return _row(rows[0]) if rows else None

    def response(self, message_id: str) -> bytes | None:
        """Return the envelope of the reply; None if it is not recorded."""
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
