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
#: Seconds of one wait of the main thread. The kernel may give a signal to another thread, above all after SIGCONT. Then the
#: handler runs in the main thread only when its wait ends.
SIGNAL_DELAY = 1.0


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
        left = None if deadline is None else max(0.0, deadline - time.monotonic())
        if threading.current_thread() is threading.main_thread():
            left = SIGNAL_DELAY if left is None else min(left, SIGNAL_DELAY)
        condition.wait(left)
