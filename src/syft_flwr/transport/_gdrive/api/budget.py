"""The quota of an account: Drive counts calls, and units by the kind of call.

A token bucket each. The buckets are let into debt: a call takes what it needs at once and is told when it may start, so
that whoever asks first goes first, and nobody has to be woken.
"""

import threading
from enum import IntEnum

from syft_flwr.clock import Clock, SystemClock

UNITS_PER_MINUTE = 300_000
CALLS_PER_SECOND = 10.0
BURST = 100


class Units(IntEnum):
    """What a call costs; a batch costs the sum of its parts."""

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
        """Return when ``amount`` may be used."""
        self._level = min(self._capacity, self._level + (now - self._filled) * self._rate)
        self._filled = now
        return now + max(0.0, (amount - self._level) / self._rate)

    def take(self, amount: float) -> None:
        self._level -= amount


class Budget:
    """The rate at which one account's calls start. Thread-safe.

    In any minute at most the rate and the capacity are used. The capacity in units is a twelfth of the rate, so that the
    default stays within the 325,000 units that Google allows.
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
        """Take one call of ``units``; return when it may start, or None, nothing taken, if that is after ``latest``.

        A batch is one call: the limit of calls is there for the rate of HTTP requests.
        """
        with self._lock:
            now = self._clock.monotonic()
            start = max(self._units.start(units, now), self._calls.start(1, now))
            if start > latest:
                return None
            self._units.take(units)
            self._calls.take(1)
            return start
