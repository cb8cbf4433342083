"""One SQLite file in WAL mode, with durable and faster non-durable transactions.

* A durable commit is on disk before it returns.
* A commit that is not durable survives the end of the process, but not a power cut. The next durable commit also writes
  it to disk. Non-durable commits avoid an fsync. They are for facts that the shared files also show.
* A schema is a list of steps. The file stores the number of the completed steps in ``user_version``. An older file gets
  the missing steps; a newer file is refused.
* All threads share one connection behind a lock: transactions are short, and SQLite allows only one writer.
* A command that only shows runs reads the file as it is: it changes no row and no schema.
"""

import errno
import os
import shlex
import shutil
import sqlite3
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import quote

from syft_flwr.disk_errors import hint_of
from syft_flwr.errors import StoreError
from syft_flwr.private_files import make_private_folder, open_private

_BUSY_SECONDS = 30.0
_RETRY_SECONDS = 0.01

_HELD = "Another process of this participant holds it; stop that one first."
_HINTS = {
    sqlite3.SQLITE_BUSY: _HELD,
    sqlite3.SQLITE_LOCKED: _HELD,
    sqlite3.SQLITE_FULL: "Free disk space, then start again.",
}
_DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
#: SQLite cannot create the shared memory of the file: a folder without write access, or a full disk.
_NO_SHARED_MEMORY = (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_FULL)
#: Bytes of the shared memory of a database.
_SHARED_MEMORY = 64 << 10
_OTHER_HINT = "Check that its folder exists and that this user may write to it."


class Database:
    """A SQLite file of this participant. Thread-safe.

    Args:
        path: the file. It is created if it does not exist.
        schema: the SQL statements of each step.
        loss: the consequence for a user who moves a damaged file away; part of the hint.
        read_only: only read the file, which must exist. An empty file reads as one without rows.

    Raises:
        StoreError: the file is damaged, locked by another program, or written by a newer release. With ``read_only``,
            also if it was written by an older release.
    """

    def __init__(
        self,
        path: Path,
        schema: Sequence[str],
        *,
        loss: str = "the records of unfinished runs in it are lost",
        read_only: bool = False,
    ) -> None:
        self._path = path
        self._loss = loss
        self._lock = threading.RLock()
        try:
            if path.exists() and not path.is_file():
                # SQLite would wait for the writer of a pipe.
                raise StoreError(f"{path} is not a regular file", hint="Move it away, then start again.")
            self._connection = _open_to_read(path) if read_only else _open_to_write(path)
        except (sqlite3.Error, OSError) as error:
            raise self._translate(error) from error
        try:
            if read_only:
                self._check(schema)
            else:
                self._set_up()
                self._migrate(schema)
        except BaseException as error:
            self._connection.close()
            if isinstance(error, sqlite3.Error):
                raise self._translate(error) from error
            raise

    def _check(self, schema: Sequence[str]) -> None:
        self._durable = True
        version = self._known_version(self._connection, schema)
        if version == 0 and not self._connection.execute("SELECT 1 FROM sqlite_schema LIMIT 1").fetchone():
            # A process creates it at this moment, or was killed when it did.
            self._connection.close()
            self._connection = _connect(":memory:")
            self._migrate(schema)
        elif version < len(schema):
            raise StoreError(
                f"{self._path} was written by an older release (schema {version}; this one reads {len(schema)})",
                hint="Start its server or client once, which takes over its rows.",
            )

    def _known_version(self, connection: sqlite3.Connection, schema: Sequence[str]) -> int:
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        if version > len(schema):
            raise StoreError(
                f"{self._path} was written by a newer release (schema {version}; this one knows {len(schema)})",
                hint=f"Upgrade syft-flwr, or move the file away and start again; {self._loss}.",
            )
        return int(version)

    def _set_up(self) -> None:
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
            for step in schema[self._known_version(connection, schema) :]:
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
        if refused := _refused_file(self._path):
            # SQLite tells only that it cannot open a file.
            return StoreError(
                f"{refused} cannot be read: {os.strerror(errno.EACCES)}",
                hint=f"Give this user access to it: ls -l {shlex.quote(str(refused))}",
            )
        # The low byte is the primary result code; the other bytes are its details.
        code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
        hint = hint_of(error) if isinstance(error, OSError) else _HINTS.get(code, _OTHER_HINT)
        if code == sqlite3.SQLITE_IOERR and _is_full(self._path.parent):
            hint = _HINTS[sqlite3.SQLITE_FULL]
        if code in _DAMAGED:
            hint = f"Move the file away and start again; {self._loss}."
        return StoreError(f"{self._path} cannot be used: {error}", hint=hint)


def _open_to_write(path: Path) -> sqlite3.Connection:
    make_private_folder(path.parent)
    # SQLite gives its other files the mode of this one.
    os.close(open_private(path, os.O_RDWR | os.O_CREAT))
    return _connect(str(path))


def _open_to_read(path: Path) -> sqlite3.Connection:
    place = f"file:{quote(str(path))}?mode=ro"
    # A process that has the file open also has its write-ahead log. Without one, all commits are in the file itself, and
    # SQLite needs no other file, which it would create and leave there.
    alone = f"{place}&immutable=1"
    log = path.with_name(f"{path.name}-wal")
    if not log.exists():
        return _connect_to_file(alone)
    try:
        return _connect_to_file(place)
    except sqlite3.Error as error:
        if error.sqlite_errorcode & 0xFF not in _NO_SHARED_MEMORY or _size(log):
            raise
        return _connect_to_file(alone)


def _refused_file(path: Path) -> Path | None:
    """Return the first file of a database that this user may not read; None if there is none."""
    files = (path, *(path.with_name(path.name + end) for end in ("-wal", "-shm")))
    return next((file for file in files if os.path.lexists(file) and not os.access(file, os.R_OK)), None)


def _is_full(folder: Path) -> bool:
    """Return whether a folder has no room for the shared memory of a database. SQLite calls that an I/O error."""
    with suppress(OSError):
        return shutil.disk_usage(folder).free < _SHARED_MEMORY
    return False


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _connect_to_file(place: str) -> sqlite3.Connection:
    connection = _connect(place)
    try:
        # SQLite opens the file only for the first statement.
        connection.execute("PRAGMA user_version")
    except sqlite3.Error:
        connection.close()
        raise
    return connection


def _connect(place: str) -> sqlite3.Connection:
    connection = sqlite3.connect(
        place, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False, uri=place.startswith("file:")
    )
    connection.row_factory = sqlite3.Row
    return connection
