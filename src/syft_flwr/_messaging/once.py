"""Say a thing once: a hostile file stays where it is, and its reason must not fill the log at every scan."""

import threading

_CAPACITY = 10_000


class Once:
    """Remembers what was said; forgets the oldest when there is too much of it. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._seen: dict[str, None] = {}

    def first(self, what: object) -> bool:
        """Return True the first time that this is asked of ``what``."""
        key = str(what)
        with self._lock:
            if key in self._seen:
                return False
            if len(self._seen) >= _CAPACITY:
                del self._seen[next(iter(self._seen))]
            self._seen[key] = None
            return True
