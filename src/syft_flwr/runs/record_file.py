"""The file of a record: ``<run>.<role>.jsonl``, one line for each event. Only one process writes to it.

The exchange does not depend on this file, so a line is written without fsync. A reader may find a torn last line after a
power cut. A file that was deleted or replaced is created again at the next line.
"""

import errno
import os
import stat
from collections.abc import Callable, Sequence
from pathlib import Path

from syft_flwr.files import no_link
from syft_flwr.private_files import make_private_folder, open_private
from syft_flwr.runs.entry import MAX_LINE, RecordEntry, read_entry
from syft_flwr.runs.events import (
    EVENTS,
    AggregatorHeard,
    Beat,
    Heard,
    ReplyProgress,
    RequestHeld,
    RequestProgress,
    RequestSent,
    RequestStarted,
    RunEnded,
    RunResumed,
    RunStarted,
    Waiting,
)

#: Bytes of one record. A larger one is shortened.
MAX_SIZE = 29_000_000
#: Bytes of all warnings in one record. The rest is for the events of rounds, requests and the end.
MAX_WARNINGS = MAX_SIZE // 4
_LASTING = frozenset(name for name, kind in EVENTS.items() if kind.lasting)
#: Events that tell only the progress of a request, or that a participant is alive.
_PASSING = frozenset(
    kind.name for kind in (AggregatorHeard, Beat, Heard, ReplyProgress, RequestHeld, RequestProgress, Waiting)
)
#: Events of which a later one of the same request repeats the most.
_REPEATED = frozenset(kind.name for kind in (RequestSent, RequestStarted))
_OF_THE_RUN = frozenset(kind.name for kind in (RunStarted, RunResumed, RunEnded))
#: The passes that shorten a record, until one frees enough: the events that are lost, and whether only the older half is.
_PASSES: Sequence[tuple[Callable[[str], bool], bool]] = (
    (_PASSING.__contains__, False),
    (_REPEATED.__contains__, True),
    (lambda event: event not in _LASTING, True),
    (lambda event: event not in _OF_THE_RUN, True),
)


class RecordFile:
    """Appends entries to one record. Not thread-safe.

    A record that is too large is shortened. It loses the events about the progress of requests first. If that is not
    enough, its older half also loses the begins of requests, so that all ends and failures stay. If that is not enough,
    only the lasting events of its older half stay, and at last only the begins and ends of the run.

    Args:
        path: the file; its folder is created if it is missing.
        max_size: bytes after which the record is shortened.

    Raises:
        OSError: the file cannot be opened.
    """

    def __init__(self, path: Path, max_size: int = MAX_SIZE) -> None:
        self._path = path
        self._max_size = max_size
        self._fd = -1
        #: Whether the last line has no line break, because a process was killed or the disk was full.
        self._torn = False
        #: The number of the last entry.
        self.n = 0
        self._open()

    def append(self, entries: Sequence[RecordEntry]) -> None:
        """Write these entries at the end.

        Raises:
            OSError: they cannot be written, or only in part; then the last line is torn.
        """
        self._open_again_if_gone()
        data = b"".join(entry.encode() for entry in entries)
        if self._torn:
            data = b"\n" + data
        # From here on, a part of a line may be at the end.
        self._torn = True
        view = memoryview(data)
        while view:
            view = view[os.write(self._fd, view) :]
        self._torn = False
        self.n = entries[-1].n

    def shorten(self) -> int:
        """Shorten the record if it is too large; return the number of removed entries.

        Raises:
            OSError: the shorter file cannot be written; the record stays as it was.
        """
        if self._size() <= self._max_size:
            return 0
        removed = 0
        for is_lost, only_older in _PASSES:
            removed += self._rewrite(is_lost, only_older=only_older)
            # Otherwise the record is soon too large again.
            if self._size() <= self._max_size - self._max_size // 16:
                break
        return removed

    def _size(self) -> int:
        return os.fstat(self._fd).st_size

    def close(self) -> None:
        os.close(self._fd)

    def _open(self) -> None:
        make_private_folder(self._path.parent)
        flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
        fd = open_private(self._path, flags)
        try:
            status = os.fstat(fd)
            if not stat.S_ISREG(status.st_mode):
                raise OSError(errno.ESPIPE, "not a regular file", str(self._path))
            tail = os.pread(fd, 2 * MAX_LINE, max(0, status.st_size - 2 * MAX_LINE))
        except OSError:
            os.close(fd)
            raise
        self._fd = fd
        self._torn = bool(tail) and not tail.endswith(b"\n")
        known = [entry.n for line in tail.split(b"\n") if (entry := read_entry(line))]
        self.n = max(self.n, *known, 0)

    def _open_again_if_gone(self) -> None:
        try:
            if os.path.samestat(self._path.lstat(), os.fstat(self._fd)):
                return
        except FileNotFoundError:
            pass
        self._reopen()

    def _reopen(self) -> None:
        old = self._fd
        self._open()
        os.close(old)

    def _rewrite(self, is_lost: Callable[[str], bool], *, only_older: bool) -> int:
        """Replace the file by one without these events, in its older half or everywhere; return their number."""
        older = self._size() // 2 if only_older else self._size()
        temporary = self._path.with_name(f".{self._path.name}.tmp")
        temporary.unlink(missing_ok=True)
        place = removed = 0
        try:
            with open(self._path, "rb", opener=no_link) as old, open(temporary, "xb", opener=open_private) as new:
                while line := old.readline(MAX_LINE + 1):
                    entry = read_entry(line) if line.endswith(b"\n") else None
                    if entry and place < older and is_lost(entry.event):
                        removed += 1
                    elif entry:
                        new.write(line)
                    place += len(line)
            temporary.replace(self._path)
        except OSError:
            temporary.unlink(missing_ok=True)
            raise
        self._reopen()
        return removed
