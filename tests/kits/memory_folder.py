"""Prints the folder for the temporary files of `make test`: one in memory if this machine has enough of it.

Tests write thousands of databases and messages, and each write waits until it is on the disk. In memory there is no such
wait, and all rules stay the same: a test kills processes, never the machine.
"""

import os
import shutil
import sys
import tempfile
from pathlib import Path

_FOLDER = Path("/dev/shm")
#: All processes of `make test` together had less than 0.6 GB of files at a time.
_LEAST_FREE = 2_000_000_000
#: For the files, and for the test processes themselves.
_LEAST_MEMORY = 4_000_000_000


def is_usable(folder: Path, mounts: Path, memory: Path) -> bool:
    """Return whether ``folder`` is a large file system in memory that can hold programs.

    Args:
        folder: the place at which the file system is mounted.
        mounts: the list of file systems, as ``/proc/mounts``.
        memory: the use of memory, as ``/proc/meminfo``.
    """
    try:
        rows = [line.split() for line in mounts.read_text("utf-8").splitlines()]
        available = next(line.split()[1] for line in memory.read_text("utf-8").splitlines() if "MemAvailable" in line)
        free = shutil.disk_usage(folder).free
    except (OSError, StopIteration):
        return False
    # A later file system at the same place hides the one before.
    options = [row[3].split(",") for row in rows if row[1:3] == [str(folder), "tmpfs"]][-1:]
    has_room = free >= _LEAST_FREE and int(available) * 1024 >= _LEAST_MEMORY
    return has_room and os.access(folder, os.W_OK) and any({"ro", "noexec"}.isdisjoint(each) for each in options)


def main() -> None:
    """Print the folder. The one that a person named in ``TMPDIR`` stays."""
    in_memory = not os.environ.get("TMPDIR") and is_usable(_FOLDER, Path("/proc/mounts"), Path("/proc/meminfo"))
    sys.stdout.write(f"{_FOLDER if in_memory else tempfile.gettempdir()}\n")


if __name__ == "__main__":
    main()
