"""``peers.db``: the pinned key of each peer, and a different key that the peer has published since."""

import sqlite3
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from syft_flwr._store.database import Database

_SCHEMA = (
    """
    CREATE TABLE peers (
        email      TEXT PRIMARY KEY,
        identity   BLOB NOT NULL,
        verified   INTEGER NOT NULL DEFAULT 0,
        first_seen TEXT NOT NULL,
        offered    BLOB
    ) STRICT
    """,
)
_LOSS = "the next key of each peer is then trusted as if it were the first, so compare all fingerprints again"
_PIN = "INSERT INTO peers (email, identity, first_seen) VALUES (?, ?, ?) ON CONFLICT (email) DO NOTHING"
_ACCEPT = """
    UPDATE peers SET identity = offered, offered = NULL, verified = 0, first_seen = ?
    WHERE email = ? AND offered IS NOT NULL
"""


@dataclass(frozen=True, slots=True)
class PeerRow:
    """One peer, with the keys that this participant knows of it."""

    email: str
    #: The pinned public identity, in the encoding of ``PublicIdentity``.
    identity: bytes
    #: Whether a person has compared the fingerprint.
    verified: bool
    first_seen: datetime
    #: A different identity that the peer has published since. No message is exchanged until a person accepts it.
    offered: bytes | None


class Peers:
    """The rows of ``peers.db``, one for each peer."""

    def __init__(self, path: Path) -> None:
        self._database = Database(path, _SCHEMA, loss=_LOSS)

    def pin(self, email: str, identity: bytes, now: datetime) -> PeerRow:
        """Pin the first identity of a peer; return its row, which may have an identity that was pinned before."""
        with self._database.transaction() as connection:
            connection.execute(_PIN, (email, identity, now.isoformat()))
            return _row(connection.execute("SELECT * FROM peers WHERE email = ?", (email,)).fetchone())

    def get(self, email: str) -> PeerRow | None:
        rows = self._database.rows("SELECT * FROM peers WHERE email = ?", (email,))
        return _row(rows[0]) if rows else None

    def all(self) -> list[PeerRow]:
        return [_row(row) for row in self._database.rows("SELECT * FROM peers ORDER BY email")]

    def offer(self, email: str, identity: bytes | None) -> None:
        """Record the identity that a peer publishes in place of the pinned one; None if it publishes the pinned one."""
        with self._database.transaction() as connection:
            connection.execute("UPDATE peers SET offered = ? WHERE email = ?", (identity, email))

    def accept(self, email: str, now: datetime) -> bool:
        """Pin the offered identity in place of the pinned one; return False if no other identity was offered."""
        with self._database.transaction() as connection:
            return connection.execute(_ACCEPT, (now.isoformat(), email)).rowcount == 1

    def set_verified(self, email: str) -> None:
        with self._database.transaction() as connection:
            connection.execute("UPDATE peers SET verified = 1 WHERE email = ?", (email,))

    def close(self) -> None:
        self._database.close()


def _row(row: sqlite3.Row) -> PeerRow:
    return PeerRow(
        email=row["email"],
        identity=row["identity"],
        verified=bool(row["verified"]),
        first_seen=datetime.fromisoformat(row["first_seen"]).astimezone(UTC),
        offered=row["offered"],
    )
