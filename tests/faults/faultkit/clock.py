"""A clock that stands still and records the threads that sleep on it."""

import threading
from datetime import UTC, datetime

from syft_flwr.testing import FakeClock


class StillClock(FakeClock):
    """A clock that only the test moves. :attr:`asleep` has the ids of the threads that sleep on it.

    A jump counts for the time limit of a thread only if the thread sleeps on the clock already.
    """

    def __init__(self, start: datetime = datetime(2030, 1, 1, tzinfo=UTC)) -> None:
        super().__init__(start)
        self.asleep: set[int] = set()

    def wait_until(self, condition: threading.Condition, deadline: float | None) -> None:
        thread = threading.get_ident()
        self.asleep.add(thread)
        try:
            super().wait_until(condition, deadline)
        finally:
            self.asleep.discard(thread)
