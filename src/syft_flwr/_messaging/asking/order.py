"""Gives each request to a data owner a later time than the one before, because data owners run them in this order."""

import threading
from datetime import datetime, timedelta

#: The resolution of the times in a header.
_TICK = timedelta(milliseconds=1)


class SendingOrder:
    """The time of the latest request to each data owner. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._latest: dict[str, datetime] = {}

    def next(self, recipient: str, now: datetime) -> datetime:
        """Return the time of a new request: ``now``, or later if the clock gave that time before or stepped back."""
        with self._lock:
            latest = self._latest.get(recipient)
            self._latest[recipient] = now = now if latest is None else max(now, latest + _TICK)
            return now

    def note(self, recipient: str, created: datetime) -> None:
        """Note the time of a resumed request. An earlier process made it, whose clock may have been ahead."""
        with self._lock:
            self._latest[recipient] = max(created, self._latest.get(recipient, created))
