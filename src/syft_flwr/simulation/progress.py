"""How far each participant is, by its own records: its database, read while it writes, and what the server logs.

The server's database knows what was asked and what came back, a data owner's what it received and ran. Only the log
knows the round (Flower's strategies say ``[ROUND 1/3]``; most do not mark their messages with it), and why an answer
was an error.
"""

import re
import sqlite3
from collections.abc import Iterable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from syft_flwr._messaging.reasons import Reason
from syft_flwr._messaging.states import Future, Received

#: What the queries look for. The type of control messages and the group of the stop are those of fl_orchestrator, which
#: is not imported here because it loads Flower.
_WORDS = {"system": "system", "final": "final"} | {state.value: state.value for state in (*Future, *Received)}

_ASKED = """
    SELECT count(DISTINCT nullif(round, '')) AS groups,
           count(*) FILTER (WHERE state IN (:answered, :collected) AND reason = '') AS answers,
           count(*) FILTER (WHERE state IN (:created, :sent)) AS open,
           (SELECT type FROM futures WHERE type <> :system ORDER BY rowid DESC LIMIT 1) AS type,
           EXISTS (SELECT 1 FROM futures WHERE type = :system AND round = :final) AS stopping
    FROM futures WHERE type <> :system
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
class Progress:
    """What one participant's database says."""

    #: It has a database, so it has begun.
    begun: bool = False
    #: Groups of messages; rounds, with strategies that mark their messages by them.
    groups: int = 0
    #: Answers that the server received, or the data owner gave; an error is one too if the data owner gave it.
    answers: int = 0
    doing: str = ""
    #: The server has told the data owners that the run is over.
    stopping: bool = False


class Records:
    """One participant's database, found by its name somewhere below its private folder."""

    def __init__(self, state: Path, role: str) -> None:
        self._state = state
        self._server = role == "server"
        self._path: Path | None = None

    def read(self) -> Progress | None:
        """Return how far it is; None if that cannot be read at this moment."""
        try:
            if self._path is None:
                self._path = next(self._state.rglob("futures.db" if self._server else "ledger.db"), None)
                if self._path is None:
                    return Progress()
            with closing(sqlite3.connect(f"{self._path.as_uri()}?mode=ro", uri=True, timeout=0)) as connection:
                connection.row_factory = sqlite3.Row
                row = connection.execute(_ASKED if self._server else _RECEIVED, _WORDS).fetchone()
        except (sqlite3.OperationalError, FileNotFoundError):
            # It is being made, or its owner holds the lock.
            return None
        return self._asked(row) if self._server else self._received(row)

    def _asked(self, row: sqlite3.Row) -> Progress:
        doing = f"{row['type']}: waits for {row['open']}" if row["open"] else ""
        return Progress(True, row["groups"], row["answers"], doing, bool(row["stopping"]))

    def _received(self, row: sqlite3.Row) -> Progress:
        return Progress(True, row["groups"], row["answers"], row["type"] or "")


class ServerLog:
    """What the server's log says, read as it grows."""

    def __init__(self, path: Path, datasites: Iterable[str]) -> None:
        self._path = path
        self._offset = 0
        self._rest = b""
        self._round = re.compile(rb"\[ROUND (\d{1,9})(?:/(\d{1,9}))?\]")
        emails = "|".join(map(re.escape, sorted(datasites, key=len, reverse=True)))
        self._failure = re.compile(rf"(?:^|\s)({emails}): ((?:{'|'.join(Reason)}): .*)".encode())
        #: The round that the strategy is in, and how many it wants; 0 if it has not said.
        self.round, self.total_rounds = 0, 0
        #: Failed answers by email: how many, and what the last one says.
        self.failures: dict[str, tuple[int, str]] = {}

    def read(self) -> None:
        """Look at what was added."""
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
        if found := self._failure.search(line):
            email, text = found[1].decode(), found[2].decode(errors="replace")
            count, _ = self.failures.get(email, (0, ""))
            self.failures[email] = (count + 1, "".join(filter(str.isprintable, text)))
