"""Keeps the calls of an account within Drive's quotas: calls per second, and units per minute.

Each quota has a token bucket. A bucket may go into debt: a call takes its tokens at once, and gets the time at which it
may start. So calls start in the order in which they reserve, and no thread has to be woken.
"""

import threading
from enum import IntEnum

from syft_flwr.clock import Clock, SystemClock

UNITS_PER_MINUTE = 300_000
CALLS_PER_SECOND = 10.0
BURST = 100


class Units(IntEnum):
    """Quota units of one call, by its kind. A batch costs the sum of its parts."""

    GET = 5
    OTHER = 5
    EDIT = 50
    LIST = 100
    DOWNLOAD = 200


class _Bucket:
    def __init__(self, rate: float, capacity: float, now: float) -> None:
        self._rate, self._capacity = rate, capacity
        self._level, self._filled = capacity, now

    def start(self, amount: float, now: float) -> float:
        """Return the time at which ``amount`` tokens are available; take none."""
        self._level = min(self._capacity, self._level + (now - self._filled) * self._rate)
        self._filled = now
        return now + max(0.0, (amount - self._level) / self._rate)

    def take(self, amount: float) -> None:
        self._level -= amount


class Budget:
    """Limits the rate at which the calls of one account start. Thread-safe.

    In any minute, the calls use at most the rate plus the capacity of the bucket. The capacity in units is a twelfth of
    the rate per minute, so that the default stays within Google's limit of 325,000 units.

    Args:
        units_per_minute: the rate of quota units.
        calls_per_second: the rate of HTTP requests.
        burst: HTTP requests that may start at once after a pause.
    """

    def __init__(
        self,
        units_per_minute: float = UNITS_PER_MINUTE,
        calls_per_second: float = CALLS_PER_SECOND,
        burst: float = BURST,
        *,
        clock: Clock | None = None,
    ) -> None:
        self._clock = clock or SystemClock()
        self._lock = threading.Lock()
        now = self._clock.monotonic()
        self._units = _Bucket(units_per_minute / 60, units_per_minute / 12, now)
        self._calls = _Bucket(calls_per_second, burst, now)

    def reserve(self, units: float, latest: float) -> float | None:
        """Reserve one HTTP request of ``units``; return the time at which it may start.

        Return None, and reserve nothing, if that time is after ``latest``. Both are times of the monotonic clock. A
        batch is one request.
        """
        with self._lock:
            now = self._clock.monotonic()
            start = max(self._units.start(units, now), self._calls.start(1, now))
            if start > latest:
                return None
            self._units.take(units)
            self._calls.take(1)
            return start
