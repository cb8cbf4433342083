"""Reads a log file with its earlier parts, also while another process writes it and gives it other names."""

import os
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
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
        #: The files that were opened, the last one at the end.
        self._opened: deque[tuple[int, int]] = deque(maxlen=2 * KEPT)
        #: The time of the last change of the file that was closed last.
        self._changed = 0
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
            self._changed = os.fstat(self._file.fileno()).st_mtime_ns
            self._file.close()
            self._file = None

    def _parts(self) -> list[tuple[Path, tuple[int, int]]]:
        """Return the existing parts with their identity, the oldest first."""
        numbers = range(1, KEPT + 1) if self._rotates else ()
        found: dict[tuple[int, int], Path] = {}
        # The newest first: a part that gets its next name meanwhile is found twice, and not overlooked.
        for name in (self._path.name, *(f"{self._path.name}.{number}" for number in numbers)):
            path = self._path.with_name(name)
            if path.is_file() and not path.is_symlink() and (identity := _identity_of(path)):
                found.pop(identity, None)
                found[identity] = path
        return [(path, identity) for identity, path in reversed(found.items())]

    @property
    def _last(self) -> tuple[int, int] | None:
        return self._opened[-1] if self._opened else None

    def _open_next(self) -> bool:
        """Open the part after the last one, unless a part is open; return whether one is open."""
        if self._file:
            return True
        known = self._parts()
        places = [place for place, (_, identity) in enumerate(known) if identity == self._last]
        # If the last one was deleted, the others that were read stay read. A new file can have the number of a deleted one.
        later = known[places[0] + 1 :] if places else [each for each in known if self._is_new(*each)]
        if not later:
            return False
        path, identity = later[0]
        try:
            file = os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC), "rb")
        except FileNotFoundError:
            return False
        status = os.fstat(file.fileno())
        if (status.st_dev, status.st_ino) != identity:
            # It got another name since. The next call finds it there.
            file.close()
            return False
        self._file = file
        self._opened.append(identity)
        return True

    def _is_new(self, path: Path, identity: tuple[int, int]) -> bool:
        if identity not in self._opened:
            return True
        with suppress(FileNotFoundError):
            return path.stat().st_mtime_ns > self._changed
        return False

    def _is_full(self) -> bool:
        """Return whether the open part got another name, so that a later one continues it."""
        if not self._rotates:
            return False
        # Without a file, it is renamed at this moment, or was deleted.
        return _identity_of(self._path) not in (None, self._last)

    def _added(self) -> Iterator[str]:
        while self._file and (data := self._file.read(_CHUNK)):
            *rows, self._rest = (self._rest + data).split(b"\n")
            yield from map(_text, rows)
            if len(self._rest) > _MAX_ROW:
                yield _text(self._rest)
                self._rest = b""


def _identity_of(path: Path) -> tuple[int, int] | None:
    """Return the numbers of the disk and of the file; None if it is not there now."""
    with suppress(FileNotFoundError):
        found = path.stat()
        return found.st_dev, found.st_ino
    return None


def _text(row: bytes) -> str:
    return row.decode(errors="backslashreplace")
