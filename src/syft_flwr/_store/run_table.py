"""The table with the runs of a participant, which each database of messages has: state, cause, times and resumes.

It is the only source for the questions whether a run has ended, and which run is resumed.
"""

import sqlite3
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from syft_flwr._store.database import Database
from syft_flwr._store.states import RunState

TABLE = """
    CREATE TABLE runs (
        run     INTEGER PRIMARY KEY,
        state   TEXT NOT NULL,
        cause   TEXT NOT NULL DEFAULT '',
        started TEXT NOT NULL,
        served  TEXT,
        ended   TEXT,
        resumed INTEGER NOT NULL DEFAULT 0
    ) STRICT
"""
#: A column for the run configuration at the aggregator, as text; empty if it is not known.
ADD_CONFIG = "ALTER TABLE runs ADD COLUMN config TEXT NOT NULL DEFAULT ''"
#: A run without an end can be resumed this long after its last request. No message lives longer.
RESUMABLE = timedelta(days=31)
#: The most characters of a recorded cause.
MAX_CAUSE = 500
#: The cause of a run that ended because its aggregator began another one.
SUPERSEDED = "another run took its place"
#: The cause of a run that ended because its aggregator has too many runs without an end.
CROWDED_OUT = "its aggregator began too many later runs without an end"

_GET = "SELECT * FROM runs WHERE run = ?"
_ALL = "SELECT * FROM runs ORDER BY started, rowid"
_UNFINISHED = "SELECT * FROM runs WHERE state = ? ORDER BY started, rowid"
_BEGIN = """
    INSERT INTO runs (run, state, started, served, config) VALUES (?, ?, ?, ?, ?)
    ON CONFLICT (run) DO UPDATE SET state = excluded.state, cause = '', started = excluded.started,
                                    served = excluded.served, ended = NULL, resumed = 0, config = excluded.config
"""
#: The configuration of a run does not change; only that of a run of an older release is not known.
_RESUME = """
    UPDATE runs SET served = ?, resumed = resumed + 1, config = CASE config WHEN '' THEN ? ELSE config END
    WHERE run = ? AND state = ?
"""
_FORGET = """
    DELETE FROM runs WHERE state <> ?1 AND run IN
    (SELECT run FROM runs WHERE state <> ?1 ORDER BY started DESC, rowid DESC LIMIT -1 OFFSET ?2)
"""
_SUPERSEDE = "UPDATE runs SET state = ?, cause = ?, ended = ? WHERE run <> ? AND state = ?"
_END = """
    INSERT INTO runs (run, state, cause, started, ended) VALUES (?, ?, ?, ?, ?)
    ON CONFLICT (run) DO UPDATE SET state = excluded.state, cause = excluded.cause, ended = excluded.ended
    WHERE ended IS NULL
"""


@dataclass(frozen=True, slots=True)
class RunRow:
    """One run at one participant. Times are aware, in UTC."""

    run: int
    state: RunState
    #: Why the run ended, for people.
    cause: str
    started: datetime
    #: When a process last began or resumed it; None if it ended while no process served it here.
    served: datetime | None
    ended: datetime | None
    #: The number of resumes after a crash.
    resumed: int
    #: The run configuration, as text of the layer above; empty if it is not known.
    config: str = ""


class Runs:
    """The rows of the table ``runs`` in one database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def begin(self, run: int, now: datetime, *, alone: bool, config: str = "") -> RunRow:
        """Record, durably, that a process serves a run: a new one, or one that an earlier process did not end.

        Args:
            run: the id of the run. A run that has ended begins again.
            now: the time.
            alone: end all other unfinished runs as stopped, in the same transaction.
            config: the run configuration. A run that continues keeps the one that is recorded.
        """
        moment = now.isoformat()
        with self._database.transaction() as connection:
            if not connection.execute(_RESUME, (moment, config, run, RunState.RUNNING)).rowcount:
                connection.execute(_BEGIN, (run, RunState.RUNNING, moment, moment, config))
            if alone:
                connection.execute(_SUPERSEDE, (RunState.STOPPED, SUPERSEDED, moment, run, RunState.RUNNING))
            return _row(connection.execute(_GET, (run,)).fetchone())

    def end(self, run: int, state: RunState, cause: str, now: datetime) -> bool:
        """Record, durably, the end of a run; return False and change nothing if its end is recorded already.

        A run that no process began here is recorded, too: its requests are refused from now on.
        """
        moment = now.isoformat()
        with self._database.transaction() as connection:
            return connection.execute(_END, (run, state, cause[:MAX_CAUSE], moment, moment)).rowcount == 1

    def get(self, run: int) -> RunRow | None:
        """Return a run; None if it is not recorded."""
        rows = self._database.rows(_GET, (run,))
        return _row(rows[0]) if rows else None

    def all(self) -> list[RunRow]:
        """Return every recorded run, oldest first."""
        return [_row(row) for row in self._database.rows(_ALL)]

    def unfinished(self) -> list[RunRow]:
        """Return the runs without a recorded end, oldest first."""
        return [_row(row) for row in self._database.rows(_UNFINISHED, (RunState.RUNNING,))]

    def has_ended(self, run: int) -> bool:
        """Return whether the end of a run is recorded."""
        row = self.get(run)
        return row is not None and row.ended is not None

    def forget_before(self, moment: datetime, most: int) -> None:
        """Drop the runs that no process served since ``moment``, and the oldest ended ones beyond the number ``most``."""
        with self._database.transaction(durable=False) as connection:
            connection.execute("DELETE FROM runs WHERE coalesce(served, ended) < ?", (moment.isoformat(),))
            connection.execute(_FORGET, (RunState.RUNNING, most))


def _row(row: sqlite3.Row) -> RunRow:
    return RunRow(
        run=row["run"],
        state=RunState(row["state"]),
        cause=row["cause"],
        started=_time(row["started"]),
        served=_time(row["served"]) if row["served"] else None,
        ended=_time(row["ended"]) if row["ended"] else None,
        resumed=row["resumed"],
        config=row["config"],
    )


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)
