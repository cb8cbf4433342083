"""Looks for a server that starts while a ping has its place: a process that waits for the lock of the server."""

import contextlib
import os
from pathlib import Path


class Contender:
    """Another process that has a lock file open, in the view of the process that holds the lock."""

    def __init__(self, lock: Path) -> None:
        self._lock = lock
        self._seen = 0

    def is_there(self) -> bool:
        """Return whether another process than this one and its parent has the lock file open, twice in a row.

        Commands that list runs open the file for a moment only.
        """
        self._seen = self._seen + 1 if self._is_open_elsewhere() else 0
        return self._seen > 1

    def _is_open_elsewhere(self) -> bool:
        try:
            wanted = self._lock.stat()
        except OSError:
            return False
        for process in Path("/proc").glob("[0-9]*"):
            if int(process.name) in (os.getpid(), os.getppid()):
                continue
            with contextlib.suppress(OSError):
                for entry in (process / "fd").iterdir():
                    with contextlib.suppress(OSError):
                        if os.path.samestat(entry.stat(), wanted):
                            return True
        return False
