"""The futures database: what the aggregator asked, and what came back."""

import sqlite3
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from syft_flwr._store.database import Database

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
)

_INSERT = """
    INSERT INTO futures (id, run, recipient, type, round, state, created, expires, request)
    VALUES (:id, :run, :recipient, :type, :round, :state, :created, :expires, :request)
"""
_MOVE = "UPDATE futures SET state = ?, reason = ?{extra} WHERE id = ? AND state IN ({states})"
_UNFINISHED = "SELECT * FROM futures WHERE run <> ? AND state <> ?"


@dataclass(frozen=True, slots=True)
class FutureRow:
    id: str
    run: int
    recipient: str
    type: str
    round: str
    state: str
    created: datetime
    expires: datetime
    #: The request's envelope, until it is collected.
    request: bytes | None


class Futures:
    """Rows of ``futures.db``. States are the caller's words; a move says from which states it may start."""

    def __init__(self, path: Path) -> None:
        self._database = Database(path, _SCHEMA)

    def add(self, rows: Iterable[FutureRow]) -> None:
        """Record new requests, all or none."""
        with self._database.transaction() as connection:
            connection.executemany(
                _INSERT,
                [
                    {
                        "id": row.id,
                        "run": row.run,
                        "recipient": row.recipient,
                        "type": row.type,
                        "round": row.round,
                        "state": row.state,
                        "created": row.created.isoformat(),
                        "expires": row.expires.isoformat(),
                        "request": row.request,
                    }
                    for row in rows
                ],
            )

    def set_request(self, message_id: str, request: bytes) -> None:
        """Record the envelope of a request that could not be sealed when it was made."""
        with self._database.transaction() as connection:
            connection.execute("UPDATE futures SET request = ? WHERE id = ?", (request, message_id))

    def move(self, ids: Iterable[str], state: str, *, before: Collection[str], reason: str = "") -> None:
        """Bring requests to ``state``; those that are not in one of ``before`` stay as they are. Not durable by itself."""
        statement = _MOVE.format(extra="", states=", ".join("?" * len(before)))
        with self._database.transaction(durable=False) as connection:
            connection.executemany(statement, [(state, reason, message_id, *before) for message_id in ids])

    def answer(self, message_id: str, state: str, *, before: Collection[str], response: bytes) -> bool:
        """Record the response's envelope; False if the request was not waiting for one.

        Not durable by itself: the response's file stays until :meth:`collect`, which is.
        """
        statement = _MOVE.format(extra=", response = ?", states=", ".join("?" * len(before)))
        with self._database.transaction(durable=False) as connection:
            return connection.execute(statement, (state, "", response, message_id, *before)).rowcount == 1

    def collect(self, reasons: Mapping[str, str], state: str, *, before: Collection[str]) -> None:
        """End requests: their outcome was given away, and the envelopes are dropped.

        Args:
            reasons: by id, why there was no answer; empty for those that were answered.
            state: the state that ends a request.
            before: the states in which it may be.
        """
        statement = _MOVE.format(extra=", request = NULL, response = NULL", states=", ".join("?" * len(before)))
        with self._database.transaction() as connection:
            values = [(state, reason, message_id, *before) for message_id, reason in reasons.items()]
            connection.executemany(statement, values)

    def unfinished(self, *, except_run: int, final: str) -> list[FutureRow]:
        """Return the requests of other runs that did not reach the ``final`` state."""
        return [_row(row) for row in self._database.rows(_UNFINISHED, (except_run, final))]

    def get(self, message_id: str) -> tuple[FutureRow, str, bytes | None] | None:
        """Return a request, the reason why it has no answer, and its response's envelope."""
        rows = self._database.rows("SELECT * FROM futures WHERE id = ?", (message_id,))
        return (_row(rows[0]), rows[0]["reason"], rows[0]["response"]) if rows else None

    def count_by_state(self, run: int) -> dict[str, int]:
        """Return how many requests of a run are in each state."""
        rows = self._database.rows("SELECT state, count(*) AS n FROM futures WHERE run = ? GROUP BY state", (run,))
        return {row["state"]: row["n"] for row in rows}

    def close(self) -> None:
        self._database.close()


def _row(row: sqlite3.Row) -> FutureRow:
    return FutureRow(
        id=row["id"],
        run=row["run"],
        recipient=row["recipient"],
        type=row["type"],
        round=row["round"],
        state=row["state"],
        created=datetime.fromisoformat(row["created"]).astimezone(UTC),
        expires=datetime.fromisoformat(row["expires"]).astimezone(UTC),
        request=row["request"],
    )
