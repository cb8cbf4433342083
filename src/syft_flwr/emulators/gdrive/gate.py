"""Where requests wait: for time to pass, for a pause to end, for a stall to be released."""

import threading
from collections.abc import Callable

from syft_flwr.clock import Clock


class Gate:
    """Waits of many threads on the emulator's clock. All of them end when it is shut."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._condition = threading.Condition()
        self._paused = False
        self._shut = False
        self._releases = 0
        self._stalled = 0

    @property
    def stalled(self) -> int:
        """How many requests wait to be released."""
        with self._condition:
            return self._stalled

    def wait_until_stalled(self, count: int, timeout: float) -> bool:
        """Wait until so many requests are stalled; False after ``timeout`` real seconds."""
        with self._condition:
            return self._condition.wait_for(lambda: self._stalled >= count, timeout)

    def pass_through(self) -> None:
        """Wait while paused."""
        self._wait(lambda: not self._paused, None)

    def sleep(self, seconds: float) -> None:
        if seconds > 0:
            self._wait(lambda: False, seconds)

    def stall(self, seconds: float | None) -> None:
        """Wait for so long or for a release; for ``None``, only for a release."""
        with self._condition:
            self._stalled += 1
            self._condition.notify_all()
            before = self._releases
        self._wait(lambda: self._releases != before, seconds)
        with self._condition:
            self._stalled -= 1

    def pause(self) -> None:
        with self._condition:
            self._paused = True

    def resume(self) -> None:
        with self._condition:
            self._paused = False
            self._condition.notify_all()

    def release(self) -> None:
        """Let go what is stalled now."""
        with self._condition:
            self._releases += 1
            self._condition.notify_all()

    def shut(self) -> None:
        with self._condition:
            self._shut = True
            self._condition.notify_all()

    def _wait(self, is_over: Callable[[], bool], seconds: float | None) -> None:
        with self._condition:
            deadline = None if seconds is None else self._clock.monotonic() + seconds
            while not self._shut and not is_over():
                if deadline is not None and self._clock.monotonic() >= deadline:
                    return
                self._clock.wait_until(self._condition, deadline)
