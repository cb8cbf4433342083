"""``peers.db``: the pinned key of each peer, a different key that the peer has published since, and heartbeats.

The order of heartbeats must survive a restart, so this file has the last one that was read of each peer, and the last
session of this participant. It is the only database that both roles and all apps share.

A session has the number of this file in its file system, which a copy of the home does not share.
"""

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
    """
    CREATE TABLE sessions (
        app     TEXT NOT NULL,
        role    TEXT NOT NULL,
        session INTEGER NOT NULL,
        PRIMARY KEY (app, role)
    ) STRICT;
    CREATE TABLE heard (
        email   TEXT NOT NULL,
        app     TEXT NOT NULL,
        role    TEXT NOT NULL,
        session INTEGER NOT NULL,
        beat    INTEGER NOT NULL,
        written TEXT NOT NULL,
        PRIMARY KEY (email, app, role)
    ) STRICT
    """,
    "ALTER TABLE sessions ADD COLUMN file TEXT NOT NULL DEFAULT ''",
)
_LOSS = "the next key of each peer is then trusted as if it were the first, so compare all fingerprints again"
_PIN = "INSERT INTO peers (email, identity, first_seen) VALUES (?, ?, ?) ON CONFLICT (email) DO NOTHING"
_ACCEPT = """
    INSERT INTO peers (email, identity, verified, first_seen) VALUES (?, ?, 1, ?)
    ON CONFLICT (email) DO UPDATE SET identity = excluded.identity, offered = NULL, verified = 1,
    first_seen = excluded.first_seen
"""
_SET_VERIFIED = "UPDATE peers SET verified = 1 WHERE email = ? AND identity = ?"
_BEGIN_SESSION = """
    INSERT INTO sessions VALUES (:app, :role, :least, :file)
    ON CONFLICT (app, role) DO UPDATE SET session = max(session + 1, :least), file = :file RETURNING session
"""
_HEAR = """
    INSERT INTO heard VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (email, app, role)
    DO UPDATE SET session = excluded.session, beat = excluded.beat, written = excluded.written
"""
_HEARD = "SELECT session, beat, written FROM heard WHERE email = ? AND app = ? AND role = ?"


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


@dataclass(frozen=True, slots=True)
class HeardRow:
    """The last heartbeat of a peer that was read: its session, its number in it, and the time that its writer stated."""

    session: int
    beat: int
    written: datetime


@dataclass(frozen=True, slots=True)
class SessionRow:
    """The last session of this participant in a role."""

    session: int
    #: Whether it began with this very file. False in a copy of the home, and after a restore from a backup.
    is_of_this_file: bool


class Peers:
    """The rows of ``peers.db``. With ``read_only``, the file must exist, and only the calls that read may be used."""

    def __init__(self, path: Path, *, read_only: bool = False) -> None:
        self._database = Database(path, _SCHEMA, loss=_LOSS, read_only=read_only)
        self._path = path

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

    def accept(self, email: str, identity: bytes, now: datetime) -> None:
        """Pin this identity as a verified one, also in place of a pinned one. An equal one only becomes verified."""
        with self._database.transaction() as connection:
            if connection.execute(_SET_VERIFIED, (email, identity)).rowcount:
                return
            connection.execute(_ACCEPT, (email, identity, now.isoformat()))
            # With its keys, the peer has lost its sessions.
            connection.execute("DELETE FROM heard WHERE email = ?", (email,))

    def set_verified(self, email: str, identity: bytes) -> bool:
        """Record that a person has compared this identity; return False if another one is pinned."""
        with self._database.transaction() as connection:
            return connection.execute(_SET_VERIFIED, (email, identity)).rowcount == 1

    def begin_session(self, app: str, role: str, now: datetime) -> int:
        """Record, durably, that this participant starts in a role; return the number of this session.

        It is higher than that of each earlier session. It is also at least the number of milliseconds since 1970, so that
        it is higher after this file was lost, too.
        """
        least = max(1, int(now.timestamp() * 1_000))
        values = {"app": app, "role": role, "least": least, "file": self._number_of_file()}
        with self._database.transaction() as connection:
            (session,) = connection.execute(_BEGIN_SESSION, values).fetchone()
            return int(session)

    def last_session(self, app: str, role: str) -> SessionRow | None:
        """Return the last session of this participant in a role; None if there is none."""
        rows = self._database.rows("SELECT session, file FROM sessions WHERE app = ? AND role = ?", (app, role))
        if not rows:
            return None
        # An older release recorded no file.
        return SessionRow(rows[0]["session"], rows[0]["file"] in ("", self._number_of_file()))

    def _number_of_file(self) -> str:
        try:
            return str(self._path.stat().st_ino)
        except OSError:
            # It was moved away. The next statement reports it.
            return ""

    def heard(self, email: str, app: str, role: str) -> HeardRow | None:
        """Return the last recorded heartbeat of a peer in a role; None if there is none."""
        rows = self._database.rows(_HEARD, (email, app, role))
        if not rows:
            return None
        written = datetime.fromisoformat(rows[0]["written"]).astimezone(UTC)
        return HeardRow(rows[0]["session"], rows[0]["beat"], written)

    def hear(self, email: str, app: str, role: str, row: HeardRow) -> None:
        """Record the last heartbeat of a peer. Not durable: after a power cut, a few seconds of heartbeats may be missing."""
        values = (email, app, role, row.session, row.beat, row.written.isoformat())
        with self._database.transaction(durable=False) as connection:
            connection.execute(_HEAR, values)

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
