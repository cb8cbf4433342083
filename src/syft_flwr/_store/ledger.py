"""``ledger.db``: the requests that a data owner received and answered, and its runs.

Replies and ends of runs are durable. Other changes are not: after a power cut, the client reads them again from the
shared files (a request arrived, its reply was written, it was withdrawn). Where a sync service can delete files, the
envelope of the request is kept, too.

An attempt is recorded before the app sees the request, and counts as a death if its process was killed. That needs no
fsync, which would make each round slower: a killed process loses no commit, and after a power cut no attempt counts.
"""

import json
import sqlite3
from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from syft_flwr._store import run_table
from syft_flwr._store.database import Database
from syft_flwr._store.envelopes import TABLE, delete_envelopes, envelope_of, moved_from, put_envelope
from syft_flwr._store.process_mark import ProcessMark
from syft_flwr._store.run_table import Runs
from syft_flwr._store.states import RECEIVED_ARROWS, Received, RunState, before

_SCHEMA = (
    """
    CREATE TABLE received (
        id       TEXT PRIMARY KEY,
        run      INTEGER NOT NULL,
        sender   TEXT NOT NULL,
        type     TEXT NOT NULL,
        round    TEXT NOT NULL,
        state    TEXT NOT NULL,
        digest   TEXT NOT NULL,
        received TEXT NOT NULL,
        expires  TEXT NOT NULL,
        objects  TEXT NOT NULL DEFAULT '',
        response BLOB
    ) STRICT;
    CREATE INDEX received_by_state ON received (state);
    CREATE TABLE runs (
        run     INTEGER PRIMARY KEY,
        ended   TEXT,
        context TEXT NOT NULL DEFAULT ''
    ) STRICT
    """,
    # The envelope of a request is kept, too: a sync service can delete the file before the request ran.
    f"{TABLE}; {moved_from('received', 'response')}",
    # Earlier releases recorded only the ends of runs here, and their states in files.
    f"""
    CREATE TABLE contexts (run INTEGER PRIMARY KEY, context TEXT NOT NULL) STRICT;
    INSERT INTO contexts SELECT run, context FROM runs WHERE context <> '';
    CREATE TABLE ended_runs (run INTEGER PRIMARY KEY, ended TEXT NOT NULL) STRICT;
    INSERT INTO ended_runs SELECT run, ended FROM runs WHERE ended IS NOT NULL;
    DROP TABLE runs;
    {run_table.TABLE};
    INSERT INTO runs (run, state, started, served)
    SELECT run, 'running', min(received), max(received) FROM received
    WHERE run NOT IN (SELECT run FROM ended_runs) GROUP BY run;
    INSERT INTO runs (run, state, cause, started, served, ended)
    SELECT run, 'stopped', 'an earlier release did not record why', ended, ended, ended FROM ended_runs;
    DROP TABLE ended_runs;
    ALTER TABLE received ADD COLUMN attempts INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE received ADD COLUMN report TEXT NOT NULL DEFAULT ''
    """,  # noqa: S608 - constants
    # Both databases of runs have the same table.
    run_table.ADD_CONFIG,
    # The interval of the heartbeat in the latest run, which its start asked for.
    "CREATE TABLE intervals (run INTEGER PRIMARY KEY, seconds REAL NOT NULL) STRICT",
    # The mark of the process that began the last attempt and has not ended it, and the number of killed ones.
    """
    ALTER TABLE received ADD COLUMN attempt TEXT NOT NULL DEFAULT '';
    ALTER TABLE received ADD COLUMN deaths INTEGER NOT NULL DEFAULT 0
    """,
)

_INSERT = """
    INSERT INTO received (id, run, sender, type, round, state, digest, received, expires)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO NOTHING
"""
_MOVE = "UPDATE received SET state = ? WHERE id = ? AND state IN ({states})"
_BEFORE = "SELECT attempts, attempt, deaths FROM received WHERE id = ? AND state IN ({states})"
_START = "UPDATE received SET state = ?, attempts = ?, attempt = ?, deaths = ? WHERE id = ?"
_GIVE_BACK = "UPDATE received SET attempt = '' WHERE id = ? AND attempt = ?"
_ANSWER = "UPDATE received SET state = ?, objects = ?, report = ? WHERE id = ? AND state IN ({states})"
_CLOSE = "UPDATE received SET state = ?, objects = '' WHERE id = ? AND state IN ({states})"
_UNFINISHED = "SELECT * FROM received WHERE state <> ? ORDER BY rowid"
_KNOWN_AMONG = "SELECT id FROM received WHERE sender = ? AND id IN (SELECT value FROM json_each(?))"
_CLOSED_AMONG = "SELECT id FROM received WHERE state = ? AND sender = ? AND id IN (SELECT value FROM json_each(?))"
_RECORDED_RUNS = "SELECT run FROM runs UNION SELECT run FROM received"
#: By the order of their first requests, because two runs can begin at the same time by a clock that was set back.
_REPLACED = """
    SELECT run FROM received WHERE sender = ? AND run IN (SELECT run FROM runs WHERE state = ?)
    GROUP BY run HAVING min(rowid) < (SELECT min(rowid) FROM received WHERE run = ?) ORDER BY min(rowid)
"""
_OPEN_RUNS = """
    SELECT run FROM received WHERE sender = ? AND run IN (SELECT run FROM runs WHERE state = ?)
    GROUP BY run ORDER BY min(rowid)
"""
_HAS_REPLY = "SELECT 1 FROM envelopes WHERE id = ? AND kind = 'response'"
_CONTEXT = "INSERT INTO contexts VALUES (?, ?) ON CONFLICT (run) DO UPDATE SET context = excluded.context"


@dataclass(frozen=True, slots=True)
class Attempt:
    """An attempt at a request: its number, and the number of earlier ones in which the client itself was killed."""

    number: int
    deaths: int


@dataclass(frozen=True, slots=True)
class ReceivedRow:
    """One request that a data owner received."""

    id: str
    run: int
    sender: str
    type: str
    round: str
    state: Received
    #: SHA-256 of the request's envelope, in hexadecimal.
    digest: str
    received: datetime
    expires: datetime
    #: Ids of the objects of the reply.
    objects: tuple[str, ...] = ()
    #: How often the app got the request.
    attempts: int = 0
    #: The description of the reply for the record of the run, as JSON; empty before the reply.
    report: str = ""


class Ledger:
    """The rows of ``ledger.db``. A state moves only along an arrow of ``states``; other moves change nothing.

    Args:
        path: the file.
        read_only: only read the file.
        mark: the mark of this process, which each opened ledger has for itself.
    """

    def __init__(self, path: Path, *, read_only: bool = False, mark: ProcessMark | None = None) -> None:
        self._mark = mark or ProcessMark()
        self._database = Database(path, _SCHEMA, read_only=read_only)
        self.runs = Runs(self._database)

    def add(self, row: ReceivedRow, request: bytes | None = None) -> bool:
        """Record a request, with its envelope if it must be kept. Not durable.

        Returns False if its id is already known, even with other content.
        """
        times = (row.received.isoformat(), row.expires.isoformat())
        values = (row.id, row.run, row.sender, row.type, row.round, row.state, row.digest, *times)
        with self._database.transaction(durable=False) as connection:
            is_new = connection.execute(_INSERT, values).rowcount == 1
            if is_new and request:
                put_envelope(connection, row.id, "request", request)
            return is_new

    def move(self, message_id: str, state: Received) -> bool:
        """Move a request to ``state``; return whether it is in that state now. Not durable."""
        starts = (*before(RECEIVED_ARROWS, state), state)
        with self._database.transaction(durable=False) as connection:
            return connection.execute(_in(_MOVE, starts), (state, message_id, *starts)).rowcount == 1

    def start(self, message_id: str) -> Attempt | None:
        """Move a request to ``running`` and record a new attempt; None if it may not run. Not durable.

        The attempt is open until :meth:`give_back` or the end of the request. If it stays open, it counts as a death.
        """
        state = Received.RUNNING
        starts = (*before(RECEIVED_ARROWS, state), state)
        with self._database.transaction(durable=False) as connection:
            row = connection.execute(_in(_BEFORE, starts), (message_id, *starts)).fetchone()
            if row is None:
                return None
            was_killed = row["attempt"] and ProcessMark.read(row["attempt"]).was_killed_before(self._mark)
            attempt = Attempt(row["attempts"] + 1, row["deaths"] + bool(was_killed))
            connection.execute(_START, (state, attempt.number, str(self._mark), attempt.deaths, message_id))
            return attempt

    def give_back(self, message_id: str) -> None:
        """Close the open attempt of this process, because it ends in an orderly way. Not durable."""
        with self._database.transaction(durable=False) as connection:
            connection.execute(_GIVE_BACK, (message_id, str(self._mark)))

    def answer(
        self,
        message_id: str,
        *,
        response: bytes,
        objects: Collection[str],
        context: tuple[int, str] | None,
        report: str = "",
    ) -> bool:
        """Record the reply, its report and the new context of the run, durably, in one transaction.

        Returns False and changes nothing if a reply is recorded already, or if the request is closed.
        """
        state = Received.ANSWERED
        starts = before(RECEIVED_ARROWS, state)
        with self._database.transaction() as connection:
            values = (state, " ".join(objects), report, message_id, *starts)
            first = connection.execute(_in(_ANSWER, starts), values).rowcount == 1
            if first:
                put_envelope(connection, message_id, "response", response)
            if first and context:
                connection.execute(_CONTEXT, context)
            return first

    def close_request(self, message_id: str) -> None:
        """Close a request and drop its envelope and that of its reply. Not durable."""
        state = Received.CLOSED
        starts = before(RECEIVED_ARROWS, state)
        with self._database.transaction(durable=False) as connection:
            connection.execute(_in(_CLOSE, starts), (state, message_id, *starts))
            delete_envelopes(connection, message_id, "request", "response")

    def get(self, message_id: str) -> ReceivedRow | None:
        rows = self._database.rows("SELECT * FROM received WHERE id = ?", (message_id,))
        return _row(rows[0]) if rows else None

    def request(self, message_id: str) -> bytes | None:
        """Return the envelope of a request; None if it is not kept, or the request is closed."""
        return envelope_of(self._database, message_id, "request")

    def response(self, message_id: str) -> bytes | None:
        """Return the envelope of the reply, from its commit until the request is closed."""
        return envelope_of(self._database, message_id, "response")

    def has_reply(self, message_id: str) -> bool:
        """Return whether the reply to a request is recorded."""
        return bool(self._database.rows(_HAS_REPLY, (message_id,)))

    def senders(self) -> list[str]:
        """Return the emails of all aggregators that sent a request, sorted."""
        return [row["sender"] for row in self._database.rows("SELECT DISTINCT sender FROM received ORDER BY 1")]

    def unfinished(self) -> list[ReceivedRow]:
        """Return the requests that are not closed, oldest first."""
        return [_row(row) for row in self._database.rows(_UNFINISHED, (Received.CLOSED,))]

    def known_among(self, ids: Collection[str], sender: str) -> set[str]:
        """Return those of ``ids`` that are recorded requests of ``sender``, in any state."""
        return {row["id"] for row in self._database.rows(_KNOWN_AMONG, (sender, json.dumps(list(ids))))}

    def closed_among(self, ids: Collection[str], sender: str) -> set[str]:
        """Return those of ``ids`` that are closed requests of ``sender``."""
        rows = self._database.rows(_CLOSED_AMONG, (Received.CLOSED, sender, json.dumps(list(ids))))
        return {row["id"] for row in rows}

    def recorded_runs(self) -> set[int]:
        """Return all runs that this data owner served, or of which it received a request."""
        return {row["run"] for row in self._database.rows(_RECORDED_RUNS)}

    def context(self, run: int) -> str:
        """Return the name of the file with the state of the app after its last reply; empty at first."""
        rows = self._database.rows("SELECT context FROM contexts WHERE run = ?", (run,))
        return str(rows[0]["context"]) if rows else ""

    def contexts(self) -> set[str]:
        """Return the names of all files with the state of an app that are in use."""
        return {row["context"] for row in self._database.rows("SELECT context FROM contexts")}

    def end_run(self, run: int, state: RunState, cause: str, now: datetime) -> bool:
        """Record, durably, that a run has ended, and forget the state of the app in it.

        Returns False if its end was recorded before.
        """
        first = self.runs.end(run, state, cause, now)
        with self._database.transaction() as connection:
            connection.execute("DELETE FROM contexts WHERE run = ?", (run,))
            connection.execute("DELETE FROM intervals WHERE run = ?", (run,))
        return first

    def set_interval(self, run: int, seconds: float) -> None:
        """Record the interval of the heartbeat until the end of a run, in place of that of an earlier run. Not durable."""
        with self._database.transaction(durable=False) as connection:
            connection.execute("DELETE FROM intervals")
            connection.execute("INSERT INTO intervals VALUES (?, ?)", (run, seconds))

    def interval(self) -> float | None:
        """Return the recorded interval of the heartbeat; None if there is none."""
        rows = self._database.rows("SELECT seconds FROM intervals")
        return float(rows[0]["seconds"]) if rows else None

    def replaced_by(self, run: int, sender: str) -> list[int]:
        """Return the runs of ``sender`` that began before ``run`` and have no end, because their stop was lost."""
        return [row["run"] for row in self._database.rows(_REPLACED, (sender, RunState.RUNNING, run))]

    def open_runs(self, sender: str) -> list[int]:
        """Return the runs of ``sender`` without an end, by the order of their first requests."""
        return [row["run"] for row in self._database.rows(_OPEN_RUNS, (sender, RunState.RUNNING))]

    def served_runs(self, since: datetime) -> set[int]:
        """Return the runs without an end that a process served at ``since`` or later."""
        return {row.run for row in self.runs.unfinished() if row.served and row.served >= since}

    def forget_before(self, moment: datetime) -> None:
        """Drop closed requests that expired before ``moment``. A replay of them is refused because it has expired."""
        with self._database.transaction() as connection:
            connection.execute(
                "DELETE FROM received WHERE state = ? AND expires < ?", (Received.CLOSED, moment.isoformat())
            )
            # A run without recorded requests has ended, even if its aggregator never reported the end.
            connection.execute("DELETE FROM contexts WHERE run NOT IN (SELECT run FROM received)")

    def close(self) -> None:
        self._database.close()


def _in(statement: str, states: Collection[Received]) -> str:
    return statement.format(states=", ".join("?" * len(states)))


def _row(row: sqlite3.Row) -> ReceivedRow:
    return ReceivedRow(
        id=row["id"],
        run=row["run"],
        sender=row["sender"],
        type=row["type"],
        round=row["round"],
        state=Received(row["state"]),
        digest=row["digest"],
        received=datetime.fromisoformat(row["received"]).astimezone(UTC),
        expires=datetime.fromisoformat(row["expires"]).astimezone(UTC),
        objects=tuple(row["objects"].split()),
        attempts=row["attempts"],
        report=row["report"],
    )
