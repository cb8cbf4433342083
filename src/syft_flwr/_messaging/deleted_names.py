"""Remembers deleted names, so that a file that comes back can be deleted again."""

import threading
from itertools import islice


class DeletedNames:
    """The latest deleted names of files, or ids of objects: at most ``most`` of them. Thread-safe."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._lock = threading.Lock()
        #: The values have no meaning: the order is that of time.
        self._names: dict[str, None] = {}
        self._next = 0

    def add(self, name: str) -> None:
        """Remember a name; forget the oldest one if there are too many."""
        with self._lock:
            self._names[name] = None
            if len(self._names) > self._most:
                del self._names[next(iter(self._names))]

    def __contains__(self, name: str) -> bool:
        with self._lock:
            return name in self._names

    def __len__(self) -> int:
        return len(self._names)

    def all(self) -> list[str]:
        """Return all names."""
        with self._lock:
            return list(self._names)

    def next(self, number: int) -> list[str]:
        """Return the next ``number`` names, in turn; fewer at the end."""
        with self._lock:
            start = self._next if self._next < len(self._names) else 0
            names = list(islice(self._names, start, start + number))
            self._next = start + len(names)
            return names
