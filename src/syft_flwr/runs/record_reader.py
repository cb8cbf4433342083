"""Reads records, whole or while they grow. Lines that are torn, damaged or of another version are skipped."""

import errno
import os
import stat
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from syft_flwr.runs.entry import MAX_LINE, RecordEntry, read_entry

_CHUNK = 1 << 20
#: Bytes of one record that are read; a writer shortens its record before.
_MOST = 128 << 20


class RecordReader:
    """Reads the new entries of one record at each call, also after the record was shortened or replaced."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = (0, 0)
        self._offset = 0
        self._rest = b""
        self._last = (0, datetime.min.replace(tzinfo=UTC))

    def read(self) -> Iterator[RecordEntry]:
        """Yield the entries that were added since the last call; nothing if there is no file.

        Raises:
            OSError: the file cannot be read.
        """
        try:
            fd = os.open(self._path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except FileNotFoundError:
            return
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode):
            os.close(fd)
            number = errno.EISDIR if stat.S_ISDIR(status.st_mode) else errno.ESPIPE
            raise OSError(number, "not a regular file", str(self._path))
        with os.fdopen(fd, "rb") as file:
            if self._file != (status.st_dev, status.st_ino) or status.st_size < self._offset:
                self._file, self._offset, self._rest = (status.st_dev, status.st_ino), 0, b""
            file.seek(self._offset)
            while self._offset < _MOST and (chunk := file.read(_CHUNK)):
                self._offset += len(chunk)
                yield from self._entries(chunk)

    def _entries(self, chunk: bytes) -> Iterator[RecordEntry]:
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        # The rest of a line without an end is not kept: it can be no entry.
        self._rest = self._rest[: MAX_LINE + 1]
        for line in lines:
            if len(line) <= MAX_LINE and (entry := read_entry(line)):
                n, time = self._last
                # A shortened record has the same numbers as before. A new one, after its loss, starts at 1 again, but later.
                if entry.n > n or entry.time > time:
                    self._last = entry.n, entry.time
                    yield entry


def read_entries(path: Path) -> Iterator[RecordEntry]:
    """Yield the entries of a record, in order.

    Raises:
        OSError: the file cannot be read.
    """
    return RecordReader(path).read()
