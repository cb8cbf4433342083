"""One SQLite file in WAL mode, with durable and faster non-durable transactions.

* A durable commit is on disk before it returns.
* A commit that is not durable survives the end of the process, but not a power cut. The next durable commit also writes
  it to disk. Non-durable commits avoid an fsync. They are for facts that the shared files also show.
* A schema is a list of steps. The file stores the number of the completed steps in ``user_version``. An older file gets
  the missing steps; a newer file is refused.
* All threads share one connection behind a lock: transactions are short, and SQLite allows only one writer.
"""

import os
import sqlite3
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from syft_flwr.errors import StoreError

_BUSY_SECONDS = 30.0
_RETRY_SECONDS = 0.01

_HELD = "Another process of this participant holds it; stop that one first."
_HINTS = {
    sqlite3.SQLITE_BUSY: _HELD,
    sqlite3.SQLITE_LOCKED: _HELD,
    sqlite3.SQLITE_FULL: "Free disk space, then start again.",
}
_DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
_OTHER_HINT = "Check that its folder exists and that this user may write to it."


class Database:
    """A SQLite file of this participant. Thread-safe.

    Args:
        path: the file. It is created if it does not exist.
        schema: the SQL statements of each step.
        loss: the consequence for a user who moves a damaged file away; part of the hint.

    Raises:
        StoreError: the file is damaged, locked by another program, or written by a newer release.
    """

    def __init__(
        self, path: Path, schema: Sequence[str], *, loss: str = "the records of unfinished runs in it are lost"
    ) -> None:
        self._path = path
        self._loss = loss
        self._lock = threading.RLock()
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
            self._connection = sqlite3.connect(
                path, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False
            )
        except (sqlite3.Error, OSError) as error:
            raise self._translate(error) from error
        try:
            self._set_up()
            self._migrate(schema)
        except BaseException as error:
            self._connection.close()
            if isinstance(error, sqlite3.Error):
                raise self._translate(error) from error
            raise

    def _set_up(self) -> None:
        self._connection.row_factory = sqlite3.Row
        deadline = time.monotonic() + _BUSY_SECONDS
        while True:
            try:
                self._connection.execute("PRAGMA journal_mode = WAL")
                break
            except sqlite3.OperationalError as error:
                # Two processes may open a new file at the same time, and this statement ignores the busy timeout.
                if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() >= deadline:
                    raise
                time.sleep(_RETRY_SECONDS)
        self._be_durable(durable=True)
        self._connection.execute("PRAGMA foreign_keys = ON")

    def _migrate(self, schema: Sequence[str]) -> None:
        with self.transaction() as connection:
            (version,) = connection.execute("PRAGMA user_version").fetchone()
            if version > len(schema):
                raise StoreError(
                    f"{self._path} was written by a newer release (schema {version}; this one knows {len(schema)})",
                    hint=f"Upgrade syft-flwr, or move the file away and start again; {self._loss}.",
                )
            for step in schema[version:]:
                for statement in step.split(";"):
                    connection.execute(statement)
            connection.execute(f"PRAGMA user_version = {len(schema)}")

    def _be_durable(self, *, durable: bool) -> None:
        # In WAL mode, NORMAL omits the fsync of a commit: https://www.sqlite.org/pragma.html#pragma_synchronous
        self._connection.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
        self._durable = durable

    @contextmanager
    def transaction(self, *, durable: bool = True) -> Iterator[sqlite3.Connection]:
        """Run all statements or none. With ``durable``, the result also survives a power cut."""
        with self._lock:
            try:
                if durable != self._durable:
                    self._be_durable(durable=durable)
                self._connection.execute("BEGIN IMMEDIATE")
                try:
                    yield self._connection
                    self._connection.execute("COMMIT")
                except BaseException:
                    # After some errors, SQLite has already ended the transaction.
                    if self._connection.in_transaction:
                        self._connection.execute("ROLLBACK")
                    raise
            except sqlite3.Error as error:
                raise self._translate(error) from error

    def rows(self, statement: str, values: Sequence[object] = ()) -> list[sqlite3.Row]:
        """Return all rows of a query.

        Raises:
            StoreError: the file cannot be read.
        """
        with self._lock:
            try:
                return self._connection.execute(statement, values).fetchall()
            except sqlite3.Error as error:
                raise self._translate(error) from error

    def close(self) -> None:
        with self._lock:
            self._connection.close()

    def _translate(self, error: Exception) -> StoreError:
        # The low byte is the primary result code; the other bytes are its details.
        code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
        hint = _HINTS.get(code, _OTHER_HINT)
        if code in _DAMAGED:
            hint = f"Move the file away and start again; {self._loss}."
        return StoreError(f"{self._path} cannot be used: {error}", hint=hint)
