"""Log a reason once: a hostile file stays in its place, and its reason must not fill the log at every scan."""

import threading

from loguru import logger

_CAPACITY = 10_000


class LogOnce:
    """Remembers the keys of logged lines. When there are too many it logs no more: a flood must not fill the disk.

    Thread-safe.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._seen: set[str] = set()
        self._full = False

    def warning(self, key: object, text: str, *values: object) -> None:
        """Log a warning, the first time for its ``key``."""
        self._log("WARNING", key, text, values)

    def error(self, key: object, text: str, *values: object) -> None:
        """Log an error, the first time for its ``key``."""
        self._log("ERROR", key, text, values)

    def _log(self, level: str, key: object, text: str, values: tuple[object, ...]) -> None:
        if self.first(key):
            # The line names the module that logs, two calls up.
            logger.opt(depth=2).log(level, text, *values)

    def first(self, key: object) -> bool:
        """Return True the first time for ``key``, as long as there is room to remember it."""
        name = str(key)
        with self._lock:
            if name in self._seen or self._full:
                return False
            self._seen.add(name)
            self._full = len(self._seen) >= _CAPACITY
        if self._full:
            logger.warning("{} different things were said of such files; further ones are not", _CAPACITY)
        return True
