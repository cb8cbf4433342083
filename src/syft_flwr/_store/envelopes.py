"""The table with the envelopes of requests and replies, which each database of messages has.

SQLite writes a whole row again when one of its values changes. An envelope can have megabytes, and the state of its
message changes several times. So the envelopes are in a table of their own.
"""

import sqlite3
from typing import Literal

from syft_flwr._store.database import Database

Kind = Literal["request", "response"]

TABLE = """
    CREATE TABLE envelopes (
        id   TEXT NOT NULL,
        kind TEXT NOT NULL,
        data BLOB NOT NULL,
        PRIMARY KEY (id, kind)
    ) STRICT
"""
_PUT = """
    INSERT INTO envelopes (id, kind, data) VALUES (?, ?, ?) ON CONFLICT (id, kind) DO UPDATE SET data = excluded.data
"""
_GET = "SELECT data FROM envelopes WHERE id = ? AND kind = ?"


def column_of(kind: Kind, table: str) -> str:
    """Return the SQL of a column with the envelopes of this kind, for the messages in ``table``; NULL without one."""
    return f"(SELECT data FROM envelopes WHERE id = {table}.id AND kind = '{kind}') AS {kind}"  # noqa: S608 - constants


def moved_from(table: str, kind: Kind) -> str:
    """Return the SQL that moves the envelopes from a column of ``table``, where earlier releases had them."""
    return f"""
        INSERT INTO envelopes SELECT id, '{kind}', {kind} FROM {table} WHERE {kind} IS NOT NULL;
        ALTER TABLE {table} DROP COLUMN {kind}
    """  # noqa: S608 - constants


def envelope_of(database: Database, message_id: str, kind: Kind) -> bytes | None:
    """Return the envelope of this kind of a message; None if it is not there."""
    rows = database.rows(_GET, (message_id, kind))
    return rows[0]["data"] if rows else None


def put_envelope(connection: sqlite3.Connection, message_id: str, kind: Kind, data: bytes) -> None:
    """Write an envelope in the transaction of ``connection``; replace an earlier one of this message."""
    connection.execute(_PUT, (message_id, kind, data))


def delete_envelopes(connection: sqlite3.Connection, message_id: str, *kinds: Kind) -> None:
    """Delete the envelopes of these kinds of a message in the transaction of ``connection``."""
    connection.executemany("DELETE FROM envelopes WHERE id = ? AND kind = ?", [(message_id, kind) for kind in kinds])
