"""Reads the table of all locks of this machine, ``/proc/locks`` of Linux. So a look at a lock does not take it.

The table has only the locks of processes that this process can see: a container does not see those of another container.
The device numbers of some file systems differ from those of their files. Then the number of the process decides.
"""

import os
from collections.abc import Iterator
from pathlib import Path

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
    for _ in range(_LOOKS):
        try:
            table = TABLE.read_text(encoding="ascii", errors="replace")
        except OSError:
            return None
        if any(_is_of(file, process, *lock) for lock in _locks(table)):
            return True
        if len(table) < _PART:
            break
    return False


def _is_of(file: os.stat_result, process: str, holder: str, device: tuple[int, int], inode: int) -> bool:
    is_same_device = device == (os.major(file.st_dev), os.minor(file.st_dev))
    return inode == file.st_ino and (is_same_device or process in ("", holder))


def _locks(table: str) -> Iterator[tuple[str, tuple[int, int], int]]:
    """Yield the holder, the device and the number of the file of each lock of a whole file that keeps others out."""
    for line in table.splitlines():
        # A line of a process that waits has "->" in the second column.
        match line.split():
            case [_, "FLOCK", _, "WRITE", holder, place, *_]:
                try:
                    major, minor, inode = place.split(":")
                    yield holder, (int(major, 16), int(minor, 16)), int(inode)
                except ValueError:
                    continue
