"""Logs each warning or error only once, so that a bad file does not fill the log at every scan."""

import threading

from loguru import logger

_CAPACITY = 1_000


class LogOnce:
    """Remembers the keys of logged lines. After 1000 keys of one text it logs no further line with that text.

    So a peer that writes ever new files fills neither the disk nor the memory, and hides no line of another kind. A key must
    not contain the content of a peer's file: the name of the file or participant and the type of the error are enough.
    Thread-safe.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        #: The keys of each text.
        self._seen: dict[str, set[str]] = {}

    def warning(self, key: object, text: str, *values: object) -> bool:
        """Log a warning if ``key`` is new for this text; return whether it was logged."""
        return self._log("WARNING", key, text, values)

    def error(self, key: object, text: str, *values: object) -> bool:
        """Log an error if ``key`` is new for this text; return whether it was logged."""
        return self._log("ERROR", key, text, values)

    def _log(self, level: str, key: object, text: str, values: tuple[object, ...]) -> bool:
        count = self._add(str(key), text)
        if count:
            # The log line must name the caller of warning() or error(), which is two calls up.
            logger.opt(depth=2).log(level, text, *values)
        if count == _CAPACITY:
            more = "{} different lines of this kind were logged; further ones are dropped until the next start: {}"
            logger.opt(depth=2).warning(more, _CAPACITY, text)
        return count > 0

    def _add(self, key: str, text: str) -> int:
        """Remember ``key``; return the number of keys of ``text`` if it is new, 0 if it is known or there are too many."""
        with self._lock:
            seen = self._seen.setdefault(text, set())
            if key in seen or len(seen) >= _CAPACITY:
                return 0
            seen.add(key)
            return len(seen)
