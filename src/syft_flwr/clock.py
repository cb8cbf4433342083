"""The clock of a participant, as an interface that tests can replace.

``now`` is an aware time in UTC, for times in files. ``monotonic`` counts seconds, for time limits. The code never mixes
the two, and it compares the clocks of two machines only with the tolerance ``SKEW``.
"""

import threading
import time
from datetime import UTC, datetime, timedelta
from typing import Protocol

#: Greatest allowed difference between the clocks of two participants.
SKEW = timedelta(minutes=5)


class Clock(Protocol):
    """The calls that read the time or wait for it."""

    def now(self) -> datetime:
        """Return the time of the wall clock, aware, in UTC."""

    def monotonic(self) -> float:
        """Return seconds that never decrease; the value has a meaning in this process only."""

    def wait_until(self, condition: threading.Condition, deadline: float | None) -> None:
        """Wait on a held ``condition`` until it is notified or ``monotonic`` reaches ``deadline``.

        The wait may end early, so the caller must check its own condition again.
        """


class SystemClock:
    """The machine's clock."""

    def now(self) -> datetime:
        return datetime.now(UTC)

    def monotonic(self) -> float:
        return time.monotonic()

    def wait_until(self, condition: threading.Condition, deadline: float | None) -> None:
        condition.wait(None if deadline is None else max(0.0, deadline - time.monotonic()))
