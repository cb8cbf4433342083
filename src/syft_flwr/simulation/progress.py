"""Reads the progress of each participant from its database and from the log of the server.

The database of the server has its requests and replies. The database of a data owner has the requests that it received
and ran. The number of the round is often only in the log (Flower's strategies log ``[ROUND 1/3]``).
"""

import re
import sqlite3
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from syft_flwr._messaging.wire import Reason
from syft_flwr._store.states import Future, Received
from syft_flwr.text import one_line

#: Parameters of the queries. The type of control messages and the group of a stop are copied from fl_orchestrator, because
#: its import would load Flower.
_WORDS = {"system": "system", "final": "final"} | {state.value: state.value for state in (*Future, *Received)}
#: A request that was open at the end of the run does not count as failed.
_WORDS["cut_short"] = Reason.STOPPED.value

_ASKED = """
    SELECT count(DISTINCT nullif(round, '')) AS groups,
           count(*) FILTER (WHERE state IN (:answered, :collected) AND code = '') AS answers,
           count(*) FILTER (WHERE state IN (:created, :sent)) AS open,
           (SELECT type FROM futures WHERE type <> :system ORDER BY rowid DESC LIMIT 1) AS type,
           EXISTS (SELECT 1 FROM futures WHERE type = :system AND group_id = :final) AS stopping
    FROM futures WHERE type <> :system
"""
_COUNTS = """
    WITH asked AS (
        SELECT rowid AS number, recipient, code || ': ' || reason AS reason,
               state IN (:answered, :collected) AND code = '' AS good,
               (state IN (:failed, :expired) OR state = :collected AND code <> '') AND code <> :cut_short AS failed
        FROM futures WHERE type <> :system
    )
    SELECT recipient, sum(good) AS answers, sum(failed) AS failures,
           (SELECT reason FROM asked AS other WHERE other.recipient = asked.recipient AND other.failed
            ORDER BY other.number DESC LIMIT 1) AS reason
    FROM asked GROUP BY recipient
"""
_RECEIVED = """
    SELECT count(DISTINCT nullif(round, '')) AS groups,
           count(*) FILTER (WHERE state IN (:answered, :replied, :closed)) AS answers,
           (SELECT type FROM received WHERE state = :running) AS type
    FROM received WHERE type <> :system
"""

_READ_AT_ONCE = 1 << 20
_LONGEST_LINE = 1 << 14
_COLOUR = re.compile(rb"\x1b\[[\d;]*m")


@dataclass(frozen=True, slots=True)
class AnswerCounts:
    """Counts of the requests to one data owner."""

    answers: int = 0
    #: Requests with an error or without a reply, and the reason of the last failure, as ``code: text``.
    failures: int = 0
    last_failure: str = ""


@dataclass(frozen=True, slots=True)
class Progress:
    """The progress of one participant, from its database."""

    #: The participant has a database, so it has started.
    begun: bool = False
    #: Number of groups of messages. It is the number of rounds if the strategy groups its messages by round.
    groups: int = 0
    #: Replies that the server received without an error, or that the data owner sent, errors included.
    answers: int = 0
    doing: str = ""
    #: The server has sent a stop to the data owners.
    stopping: bool = False
    #: Counts by the email of the data owner; only for the server.
    counts: Mapping[str, AnswerCounts] = field(default_factory=dict)


class Records:
    """Reads the database of one participant, which it finds by name below the private folder."""

    def __init__(self, state: Path, role: str) -> None:
        self._state = state
        self._server = role == "server"
        self._path: Path | None = None

    def read(self) -> Progress | None:
        """Return the current progress; None if the database cannot be read at the moment."""
        try:
            if self._path is None:
                self._path = next(self._state.rglob("futures.db" if self._server else "ledger.db"), None)
                if self._path is None:
                    return Progress()
            with closing(sqlite3.connect(f"{self._path.as_uri()}?mode=ro", uri=True, timeout=0)) as connection:
                connection.row_factory = sqlite3.Row
                row = connection.execute(_ASKED if self._server else _RECEIVED, _WORDS).fetchone()
                owners = connection.execute(_COUNTS, _WORDS).fetchall() if self._server else []
        except (sqlite3.OperationalError, FileNotFoundError):
            # The database is just created, or its process holds the lock.
            return None
        return self._asked(row, owners) if self._server else self._received(row)

    def _asked(self, row: sqlite3.Row, owners: list[sqlite3.Row]) -> Progress:
        doing = f"{row['type']}: waits for {row['open']}" if row["open"] else ""
        by_owner = {
            owner["recipient"]: AnswerCounts(owner["answers"], owner["failures"], one_line(owner["reason"] or ""))
            for owner in owners
        }
        return Progress(True, row["groups"], row["answers"], doing, bool(row["stopping"]), by_owner)

    def _received(self, row: sqlite3.Row) -> Progress:
        return Progress(True, row["groups"], row["answers"], row["type"] or "")


class ServerLog:
    """Reads the round from the log of the server while the log grows."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset = 0
        self._rest = b""
        self._round = re.compile(rb"\[ROUND (\d{1,9})(?:/(\d{1,9}))?\]")
        #: The current round of the strategy and the total number; 0 if the log does not show it.
        self.round, self.total_rounds = 0, 0

    def read(self) -> None:
        """Read the lines that were added since the last call."""
        with self._path.open("rb") as file:
            file.seek(self._offset)
            added = file.read(_READ_AT_ONCE)
        self._offset += len(added)
        *lines, self._rest = (self._rest + added).split(b"\n")
        self._rest = self._rest[:_LONGEST_LINE]
        for line in lines:
            self._read_line(line[:_LONGEST_LINE])

    def _read_line(self, coloured: bytes) -> None:
        line = _COLOUR.sub(b"", coloured)
        if found := self._round.search(line):
            self.round, self.total_rounds = int(found[1]), int(found[2] or 0)
