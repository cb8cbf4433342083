"""The status of each file in a running client: at work, strikes, and markers (``sync_status.go``).

It is lost when the client stops. Three strikes exclude a file until then.
"""

import threading
from dataclasses import dataclass

from syft_flwr.emulators.syftbox.sync_names import Marker

_STRIKES = 3


@dataclass(slots=True)
class _FileStatus:
    syncing: bool = False
    strikes: int = 0
    marker: Marker | None = None


class SyncStatus:
    """The status of all files that are at work, have strikes, or have a marker. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._files: dict[str, _FileStatus] = {}

    def begin(self, name: str) -> None:
        with self._lock:
            self._files.setdefault(name, _FileStatus()).syncing = True

    def complete(self, name: str) -> None:
        """End the work on a file. This clears its strikes, but not beside a marker."""
        with self._lock:
            status = self._files.get(name)
            if status is None:
                return
            status.syncing = False
            if status.marker is None:
                del self._files[name]

    def forget(self, name: str) -> None:
        with self._lock:
            self._files.pop(name, None)

    def strike(self, name: str) -> None:
        with self._lock:
            status = self._files.setdefault(name, _FileStatus())
            status.syncing = False
            status.strikes += 1

    def mark(self, name: str, marker: Marker) -> None:
        """Record that the file was renamed to a marker. Its strikes remain."""
        with self._lock:
            status = self._files.setdefault(name, _FileStatus())
            status.syncing = False
            status.marker = marker

    def is_left_out(self, name: str) -> bool:
        """Return whether a cycle leaves the file out: it is at work, or has three strikes."""
        with self._lock:
            status = self._files.get(name)
            return status is not None and (status.syncing or status.strikes >= _STRIKES)

    def excluded(self) -> set[str]:
        with self._lock:
            return {name for name, status in self._files.items() if status.strikes >= _STRIKES}

    def marked_files(self) -> dict[str, Marker]:
        with self._lock:
            return {name: status.marker for name, status in self._files.items() if status.marker}

    def is_idle(self) -> bool:
        with self._lock:
            return not any(status.syncing for status in self._files.values())
