"""Reads a log file with its earlier parts, also while another process writes it and gives it other names."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from syft_flwr.logbook.rotating_file import KEPT

_CHUNK = 1 << 16
#: Bytes of one row. A longer one, of another program, is read in parts.
_MAX_ROW = 1 << 20


class LogReader:
    """Reads the rows of a log, the oldest first. :meth:`rows` can be called again, for the rows that were added.

    Args:
        path: the log.
        rotates: whether a full file gets another name. Without it, the file of the first call is read.
    """

    def __init__(self, path: Path, *, rotates: bool = True) -> None:
        self._path = path
        self._rotates = rotates
        self._file: BinaryIO | None = None
        #: The file that was opened last.
        self._last: tuple[int, int] | None = None
        self._rest = b""

    @property
    def exists(self) -> bool:
        """Return whether there is a part of this log."""
        return bool(self._parts())

    def rows(self) -> Iterator[str]:
        """Yield the complete rows that were added since the last call.

        Raises:
            OSError: the file cannot be read.
        """
        while self._open_next():
            yield from self._added()
            if not self._is_full():
                return
            # Rows that came between the last read and the new name.
            yield from self._added()
            self.close()

    def end(self) -> Iterator[str]:
        """Yield the added rows, and a last one without a line break."""
        yield from self.rows()
        if self._rest:
            yield _text(self._rest)
            self._rest = b""

    def close(self) -> None:
        if self._file:
            self._file.close()
            self._file = None

    def _parts(self) -> list[Path]:
        """Return the existing parts, the oldest first."""
        numbers = range(KEPT, 0, -1) if self._rotates else ()
        names = [*(f"{self._path.name}.{number}" for number in numbers), self._path.name]
        return [path for name in names if (path := self._path.with_name(name)).is_file() and not path.is_symlink()]

    def _open_next(self) -> bool:
        """Open the part after the last one, unless a part is open; return whether one is open."""
        if self._file:
            return True
        known = [(path, _identity(path)) for path in self._parts()]
        places = [place for place, (_, identity) in enumerate(known) if identity == self._last]
        later = known[places[0] + 1 :] if places else known
        if not later:
            return False
        path, self._last = later[0]
        self._file = os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC), "rb")
        return True

    def _is_full(self) -> bool:
        """Return whether the open part got another name, so that a later one continues it."""
        if not self._rotates:
            return False
        try:
            return _identity(self._path) != self._last
        except FileNotFoundError:
            # It is renamed at this moment, or was deleted.
            return False

    def _added(self) -> Iterator[str]:
        while self._file and (data := self._file.read(_CHUNK)):
            *rows, self._rest = (self._rest + data).split(b"\n")
            yield from map(_text, rows)
            if len(self._rest) > _MAX_ROW:
                yield _text(self._rest)
                self._rest = b""


def _identity(path: Path) -> tuple[int, int]:
    found = path.stat()
    return found.st_dev, found.st_ino


def _text(row: bytes) -> str:
    return row.decode(errors="backslashreplace")
