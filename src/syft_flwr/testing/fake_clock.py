"""A clock that stands still until it is told to jump."""

import threading
from datetime import UTC, datetime, timedelta


class FakeClock:
    """A :class:`syft_flwr.clock.Clock` whose time passes only by :meth:`advance`.

    A thread in :meth:`wait_until` wakes when the condition is notified and at every jump, so a test of a two-hour limit
    takes microseconds. A jump is never lost: a deadline that it passed before the wait began ends the wait at once.

    Args:
        start: the time that it shows.
        patience: real seconds after which a wait that nothing ended raises TimeoutError, so that a test that waits in
            vain fails where it waits. None to wait for ever.
    """

    def __init__(self, start: datetime = datetime(2030, 1, 1, tzinfo=UTC), *, patience: float | None = None) -> None:
        self._start = start
        self._patience = patience
        self._elapsed = 0.0
        self._skew = timedelta()
        self._lock = threading.Lock()
        self._waiting: list[threading.Condition] = []

    def now(self) -> datetime:
        return self._start + timedelta(seconds=self._elapsed) + self._skew

    def monotonic(self) -> float:
        return self._elapsed

    def wait_until(self, condition: threading.Condition, deadline: float | None) -> None:
        with self._lock:
            self._waiting.append(condition)
        try:
            # ``advance`` takes the condition to notify, and the caller holds it from here until the wait begins.
            if (deadline is None or self._elapsed < deadline) and not condition.wait(self._patience):
                raise TimeoutError(f"nothing ended a wait within {self._patience:g} s, and nobody moved the clock")
        finally:
            with self._lock:
                self._waiting.remove(condition)

    def advance(self, seconds: float) -> None:
        """Let ``seconds`` pass on both clocks, and wake whoever waits."""
        self._elapsed += seconds
        with self._lock:
            waiting = list(self._waiting)
        for condition in waiting:
            with condition:
                condition.notify_all()

    def set_wall_clock_back(self, seconds: float) -> None:
        """Move the wall clock alone, as an operator or NTP does."""
        self._skew -= timedelta(seconds=seconds)
