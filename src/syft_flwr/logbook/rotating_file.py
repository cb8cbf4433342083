"""A log file that only this user may read. When it is full, it gets the name ``NAME.1``, and a new file continues it.

So does a new file if another program deletes it or gives it another name.

The file of loguru is not used: with a full disk it prints a traceback for each line, and its files get other names.
"""

import os
import stat
import threading
import time
from contextlib import suppress
from pathlib import Path

from syft_flwr.errors import ConfigError
from syft_flwr.log import write_console
from syft_flwr.logbook.book import book
from syft_flwr.logbook.line import LogLine
from syft_flwr.private_files import make_private_folder, open_private

#: Bytes of one file, and number of full files that are kept.
MAX_SIZE, KEPT = 10_000_000, 4
#: Seconds between two attempts to open a file that cannot be opened.
_TRY_AGAIN = 5.0
#: Seconds between two looks whether the file is still there.
_LOOK_EVERY = 1.0
_FLAGS = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NONBLOCK


class RotatingFile:
    """Appends entries to a file. A full disk or a file that cannot be written loses entries, and is told once.

    Args:
        path: the file. It need not exist.
        follow: whether the file may be a link.
        most: the bytes after which a new file begins.
    """

    def __init__(self, path: Path, *, follow: bool = False, most: int = MAX_SIZE) -> None:
        self.path = path
        self._flags = _FLAGS | (0 if follow else os.O_NOFOLLOW)
        self._most = most
        self._lock = threading.RLock()
        #: Whether this thread writes already: a signal handler or a finalizer can print in the middle of that.
        self._busy = False
        self._process = os.getpid()
        self._fd = -1
        self._size = 0
        self._lost = 0
        #: Whether the last entry is incomplete.
        self._torn = False
        self._due = self._looked = 0.0
        self._told = False

    def require(self) -> None:
        """Open the file now; ConfigError if it cannot be opened."""
        try:
            with self._lock:
                self._open()
        except OSError as error:
            raise ConfigError(
                f"the log file {self.path} cannot be written: {error.strerror}",
                hint="Choose another path for --log-file, or correct the permissions of its folder.",
            ) from error

    def write(self, entry: str) -> None:
        """Append an entry, which ends with a line break. Never raises OSError, and does not wait for a reader."""
        data = entry.encode(errors="backslashreplace")
        if os.getpid() != self._process:
            # A child of fork. The thread that holds the lock may not exist there, so it only appends.
            self._only_append(data)
            return
        with self._lock:
            if self._busy:
                self._only_append(data)
                return
            self._busy = True
            try:
                self._append(data)
            except OSError as error:
                self._lost += 1
                self._tell(error)
            finally:
                self._busy = False

    def _only_append(self, data: bytes) -> None:
        with suppress(OSError):
            os.write(self._fd, data)

    def close(self) -> None:
        """Close the file. A later entry opens it again."""
        with self._lock:
            self._close()

    def _append(self, data: bytes) -> None:
        now = time.monotonic()
        if self._fd >= 0 and now >= self._looked + _LOOK_EVERY:
            self._looked = now
            if self._is_gone():
                self._close()
                self._due = now
        if self._fd < 0:
            if now < self._due:
                self._lost += 1
                return
            self._due = now + _TRY_AGAIN
            self._open()
        elif self._size and self._size + len(data) > self._most:
            self._rotate()
        if self._lost:
            text = f"{self._lost} entries are missing here, because this file could not be written"
            self._put(book.form(LogLine(text, "WARNING")).encode())
            self._lost = 0
        self._put(data)

    def _is_gone(self) -> bool:
        """Return whether the open file was deleted, or has another name."""
        try:
            found = self.path.stat(follow_symlinks=not self._flags & os.O_NOFOLLOW)
        except FileNotFoundError:
            return True
        except OSError:
            return False
        return not os.path.samestat(found, os.fstat(self._fd))

    def _put(self, data: bytes) -> None:
        data = b"\n" + data if self._torn else data
        self._torn = True
        view = memoryview(data)
        while view:
            count = os.write(self._fd, view)
            self._size += count
            view = view[count:]
        self._torn = False

    def _open(self) -> None:
        make_private_folder(self.path.parent)
        fd = open_private(self.path, self._flags)
        found = os.fstat(fd)
        if not stat.S_ISREG(found.st_mode):
            os.close(fd)
            raise OSError(0, "it is no regular file")
        self._fd, self._size = fd, found.st_size

    def _rotate(self) -> None:
        self._close()
        for number in range(KEPT, 0, -1):
            with suppress(FileNotFoundError):
                self._numbered(number - 1).replace(self._numbered(number))
        self._open()

    def _numbered(self, number: int) -> Path:
        return self.path.with_name(f"{self.path.name}.{number}") if number else self.path

    def _close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _tell(self, error: OSError) -> None:
        if not self._told:
            self._told = True
            reason = error.strerror or type(error).__name__
            write_console(f"the log file {self.path} cannot be written, so lines are missing there: {reason}")
