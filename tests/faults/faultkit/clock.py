"""A clock that stands still and knows which threads sleep on it."""

import threading

from syft_flwr.testing import FakeClock


class StillClock(FakeClock):
    """A jump counts for a thread's time limit only once the thread sleeps on it; :attr:`asleep` tells that it does."""

    def __init__(self) -> None:
        super().__init__()
        self.asleep: set[int] = set()

    def wait_until(self, condition: threading.Condition, deadline: float | None) -> None:
        thread = threading.get_ident()
        self.asleep.add(thread)
        try:
            super().wait_until(condition, deadline)
        finally:
            self.asleep.discard(thread)
