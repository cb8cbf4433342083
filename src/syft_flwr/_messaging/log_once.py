"""Logs each warning or error only once, so that a bad file does not fill the log at every scan."""

import threading

from loguru import logger

_CAPACITY = 10_000


class LogOnce:
    """Remembers the keys of logged lines. After 10 000 keys it logs nothing more, to protect the disk.

    Thread-safe.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._seen: set[str] = set()
        self._full = False

    def warning(self, key: object, text: str, *values: object) -> bool:
        """Log a warning if ``key`` is new; return whether it is."""
        return self._log("WARNING", key, text, values)

    def error(self, key: object, text: str, *values: object) -> bool:
        """Log an error if ``key`` is new; return whether it is."""
        return self._log("ERROR", key, text, values)

    def _log(self, level: str, key: object, text: str, values: tuple[object, ...]) -> bool:
        is_new = self.first(key)
        if is_new:
            # The log line must name the caller of warning() or error(), which is two calls up.
            logger.opt(depth=2).log(level, text, *values)
        return is_new

    def first(self, key: object) -> bool:
        """Remember ``key``; return True if it is new and the capacity is not used up."""
        name = str(key)
        with self._lock:
            if name in self._seen or self._full:
                return False
            self._seen.add(name)
            self._full = len(self._seen) >= _CAPACITY
        if self._full:
            text = "{} different warnings of this kind were logged; further ones are dropped until the next start"
            logger.warning(text, _CAPACITY)
        return True
