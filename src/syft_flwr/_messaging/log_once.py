"""Say a thing once: a hostile file stays where it is, and its reason must not fill the log at every scan."""

import threading

from loguru import logger

_CAPACITY = 10_000


class LogOnce:
    """Remembers what was said. When that is too much it says no more: a flood must not fill the disk. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._seen: set[str] = set()
        self._full = False

    def first(self, what: object) -> bool:
        """Return True the first time that this is asked of ``what``, as long as there is room to remember it."""
        key = str(what)
        with self._lock:
            if key in self._seen or self._full:
                return False
            self._seen.add(key)
            self._full = len(self._seen) >= _CAPACITY
        if self._full:
            logger.warning("{} different things were said of such files; further ones are not", _CAPACITY)
        return True
