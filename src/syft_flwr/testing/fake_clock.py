"""A clock for tests: its time passes only on command."""

import threading
from datetime import UTC, datetime, timedelta


class FakeClock:
    """A :class:`syft_flwr.clock.Clock` for tests. Its time passes only by :meth:`advance`.

    A thread in :meth:`wait_until` wakes when its condition is notified, and at each call of :meth:`advance`. So a test of a
    two-hour limit takes microseconds. A wait ends at once if its deadline had passed before it began.

    Args:
        start: the time at the beginning.
        patience: real seconds after which a wait raises a TimeoutError, so that a stuck test fails at the place where it
            waits. None waits without limit.
    """

    def __init__(self, start: datetime = datetime(2030, 1, 1, tzinfo=UTC), *, patience: float | None = None) -> None:
        self._start = start
        self._patience = patience
        self._elapsed = 0.0
        self._skew = timedelta()
        self._lock = threading.Lock()
        self._waiting: list[threading.Condition] = []

    def now(self) -> datetime:
        """Return the time of the wall clock, aware, in UTC."""
        return self._start + timedelta(seconds=self._elapsed) + self._skew

    def monotonic(self) -> float:
        """Return the seconds that passed since the clock was made."""
        return self._elapsed

    def wait_until(self, condition: threading.Condition, deadline: float | None) -> None:
        """Wait on a held condition until it is notified, or the clock moves.

        Args:
            condition: the condition; the caller holds it.
            deadline: a value of :meth:`monotonic`. If it has passed before, the wait ends at once.

        Raises:
            TimeoutError: the patience of this clock is over.
        """
        with self._lock:
            self._waiting.append(condition)
        try:
            # No jump is lost here: ``advance`` must acquire the condition, which the caller holds until the wait begins.
            if (deadline is None or self._elapsed < deadline) and not condition.wait(self._patience):
                raise TimeoutError(
                    f"a wait did not end within {self._patience:g} s, and the test did not move the clock"
                )
        finally:
            with self._lock:
                self._waiting.remove(condition)

    def advance(self, seconds: float) -> None:
        """Let ``seconds`` pass on the wall clock and on the monotonic clock, and wake the waiting threads."""
        self._elapsed += seconds
        with self._lock:
            waiting = list(self._waiting)
        for condition in waiting:
            with condition:
                condition.notify_all()

    def set_wall_clock_back(self, seconds: float) -> None:
        """Set only the wall clock back, as an operator or NTP does."""
        self._skew -= timedelta(seconds=seconds)
