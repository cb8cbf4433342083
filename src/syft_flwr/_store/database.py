"""One SQLite file: opened once, in WAL mode, with every durable commit on disk before it returns.

* A commit that is not durable survives the end of the process, not a power cut; the next durable one brings all before it
  to disk. It is for what the shared files say anyway, and saves a forced write.
* A schema is a list of steps; the file remembers how many it has taken (``user_version``), so an older file is brought up
  to date and a newer one is refused.
* One connection behind a lock: the work is short, and SQLite has one writer anyway.
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
_OTHER_HINT = "Check that its folder is there and that this user may write to it."


class Database:
    """A file of our own state. Thread-safe.

    Args:
        path: the file; made if it is not there.
        schema: the steps.
        loss: what a person should know who moves a damaged file away.

    Raises:
        StoreError: it cannot be opened: damaged, locked by another program, or written by a newer release.
    """

    def __init__(
        self, path: Path, schema: Sequence[str], *, loss: str = "what it held of unfinished runs is lost"
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
                # Two processes may open a new file at once, and SQLite's own patience does not cover this switch.
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
                    hint=f"Upgrade syft-flwr, or move the file away to start anew; {self._loss}.",
                )
            for step in schema[version:]:
                for statement in step.split(";"):
                    connection.execute(statement)
            connection.execute(f"PRAGMA user_version = {len(schema)}")

    def _be_durable(self, *, durable: bool) -> None:
        # https://www.sqlite.org/pragma.html#pragma_synchronous: in WAL mode, NORMAL leaves out the fsync of a commit.
        self._connection.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
        self._durable = durable

    @contextmanager
    def transaction(self, *, durable: bool = True) -> Iterator[sqlite3.Connection]:
        """Run statements as one: all of them hold afterwards, or none; with ``durable``, even after a power cut."""
        with self._lock:
            try:
                if durable != self._durable:
                    self._be_durable(durable=durable)
                self._connection.execute("BEGIN IMMEDIATE")
                try:
                    yield self._connection
                    self._connection.execute("COMMIT")
                except BaseException:
                    # SQLite itself ends the transaction after some errors.
                    if self._connection.in_transaction:
                        self._connection.execute("ROLLBACK")
                    raise
            except sqlite3.Error as error:
                raise self._translate(error) from error

    def rows(self, statement: str, values: Sequence[object] = ()) -> list[sqlite3.Row]:
        """Return all rows of a query."""
        with self._lock:
            try:
                return self._connection.execute(statement, values).fetchall()
            except sqlite3.Error as error:
                raise self._translate(error) from error

    def close(self) -> None:
        with self._lock:
            self._connection.close()

    def _translate(self, error: Exception) -> StoreError:
        # The low byte is the kind of error, the rest its detail.
        code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
        hint = _HINTS.get(code, _OTHER_HINT)
        if code in _DAMAGED:
            hint = f"Move the file away to start anew; {self._loss}."
        return StoreError(f"{self._path} cannot be used: {error}", hint=hint)
