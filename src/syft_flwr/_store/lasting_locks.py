"""Finds the process that keeps a database locked, in the kernel's table of locks. No database is opened for that."""

import time
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path

from syft_flwr.lock_table import writer_of

#: The byte of the shared memory that a writer locks (https://www.sqlite.org/walformat.html), and the bytes of the file
#: itself that a writer locks who uses no write-ahead log (https://www.sqlite.org/lockingv3.html).
_SHARED_MEMORY = (120, 120)
_FILE = (0x4000_0001, 0x4000_01FF)
_PAUSE = 0.1


def lasting_writers(databases: Collection[Path], seconds: float) -> dict[Path, int]:
    """Return the databases that one process keeps locked for all of ``seconds``, each with the number of this process.

    A transaction takes some milliseconds, so this returns at once if none is open. Without a table of locks, it finds none.
    """
    deadline = time.monotonic() + seconds
    found = _writers(databases)
    while found and time.monotonic() < deadline:
        time.sleep(_PAUSE)
        now = _writers(found)
        found = {path: process for path, process in found.items() if now.get(path) == process}
    return found


def _writers(databases: Collection[Path]) -> dict[Path, int]:
    found = {}
    for path in databases:
        for file, span in ((path.with_name(f"{path.name}-shm"), _SHARED_MEMORY), (path, _FILE)):
            with suppress(OSError):
                if (process := writer_of(file.stat(), *span)) is not None:
                    found[path] = process
    return found
