"""Reads the table of all locks of this machine, ``/proc/locks`` of Linux. So a look at a lock does not take it.

The table has only the locks of processes that this process can see: a container does not see those of another container.
The device numbers of some file systems differ from those of their files. Then the number of the process decides.
"""

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

#: The table; a system without it has no such file.
TABLE = Path("/proc/locks")
_NAMESPACE = "/proc/self/ns/pid"
#: Bytes that the kernel gives at once. Between two parts of a larger table, a lock can be missed.
_PART = 4_096
_LOOKS = 3


def process_namespace() -> str:
    """Return the name of the set of processes that this process can see; empty on a system without a table.

    It has the name of the machine: several ones can share a disk.
    """
    try:
        return f"{os.uname().nodename}/{Path(_NAMESPACE).readlink()}"
    except OSError:
        return ""


def is_in_table(file: os.stat_result, process: str, namespace: str) -> bool | None:
    """Return whether the table has a lock of ``file``; None if it cannot be read, or may not show the lock.

    Args:
        file: the status of the file.
        process: the number of the process that wrote the file; empty if it is not known.
        namespace: the :func:`process_namespace` of that process; empty if it is not known.
    """
    if process and namespace != process_namespace():
        # The writer runs in another container, or is of an older release.
        return None
    is_readable = False
    for table in _tables():
        is_readable = True
        if any(
            _is_of(file, lock) or (process in ("", lock.holder) and lock.inode == file.st_ino)
            for lock in _locks(table, "FLOCK")
        ):
            return True
    return False if is_readable else None


def writer_of(file: os.stat_result, first: int, last: int) -> int | None:
    """Return the process that keeps others from writing to some of these bytes of a file; None if the table shows none."""
    for table in _tables():
        for lock in _locks(table, "POSIX"):
            if _is_of(file, lock) and lock.first <= last and first <= lock.last:
                return int(lock.holder)
    return None


def _tables() -> Iterator[str]:
    """Yield the table, more often if it is long; nothing if it cannot be read."""
    for _ in range(_LOOKS):
        try:
            table = TABLE.read_text(encoding="ascii", errors="replace")
        except OSError:
            return
        yield table
        if len(table) < _PART:
            return


class _Lock(NamedTuple):
    """A lock of some bytes of a file that keeps others out."""

    holder: str
    device: tuple[int, int]
    inode: int
    first: int
    last: int


def _is_of(file: os.stat_result, lock: _Lock) -> bool:
    return lock.inode == file.st_ino and lock.device == (os.major(file.st_dev), os.minor(file.st_dev))


def _locks(table: str, kind: str) -> Iterator[_Lock]:
    """Yield the locks of a kind: FLOCK for a whole file, POSIX for some bytes."""
    for line in table.splitlines():
        # A line of a process that waits has "->" in the second column.
        match line.split():
            case [_, found, _, "WRITE", holder, place, first, last] if found == kind:
                try:
                    major, minor, inode = place.split(":")
                    end = sys.maxsize if last == "EOF" else int(last)
                    yield _Lock(holder, (int(major, 16), int(minor, 16)), int(inode), int(first), end)
                except ValueError:
                    continue
