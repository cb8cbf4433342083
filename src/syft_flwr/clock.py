"""The clock, behind an interface, so that tests can jump it.

``now`` is aware UTC, for what is written down; ``monotonic`` is seconds for limits. The two are never mixed, and clocks
of two machines are compared only with ``SKEW`` of tolerance.
"""

import threading
import time
from datetime import UTC, datetime, timedelta
from typing import Protocol

#: How far the clocks of two participants may lie apart.
SKEW = timedelta(minutes=5)


class Clock(Protocol):
    """What the code may ask of time."""

    def now(self) -> datetime:
        """Return the wall clock, aware, in UTC."""

    def monotonic(self) -> float:
        """Return seconds that never go back, of no meaning outside this process."""

    def wait_until(self, condition: threading.Condition, deadline: float | None) -> None:
        """Wait on a held ``condition`` until it is notified or ``monotonic`` reaches ``deadline``.

        Whoever waits rechecks what it waits for: a wake-up of any kind is allowed.
        """


class SystemClock:
    """The machine's clock."""

    def now(self) -> datetime:
        return datetime.now(UTC)

    def monotonic(self) -> float:
        return time.monotonic()

    def wait_until(self, condition: threading.Condition, deadline: float | None) -> None:
        condition.wait(None if deadline is None else max(0.0, deadline - time.monotonic()))
