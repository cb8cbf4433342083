"""A thread that runs tasks one after the other, each at its own time."""

import heapq
import itertools
import threading
from collections.abc import Callable

from syft_flwr.clock import Clock


class Schedule:
    """A queue of tasks, ordered by their times.

    Args:
        clock: its ``monotonic`` gives the time.
        name: name of the thread.
    """

    def __init__(self, clock: Clock, name: str) -> None:
        self._clock = clock
        self._name = name
        self._condition = threading.Condition()
        self._numbers = itertools.count()
        self._tasks: list[tuple[float, int, Callable[[], None]]] = []
        self._running = False
        self._stopping = False
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Wait for the running task and drop the others."""
        with self._condition:
            self._stopping = True
            self._condition.notify_all()
        if self._thread:
            self._thread.join()
        self._thread = None
        self._tasks.clear()

    def at(self, due: float, task: Callable[[], None]) -> None:
        """Add a task that runs once the clock's ``monotonic`` reaches ``due``."""
        with self._condition:
            heapq.heappush(self._tasks, (due, next(self._numbers), task))
            self._condition.notify_all()

    def wait_until_idle(self, timeout: float) -> bool:
        """Wait until the queue is empty and no task runs; return False after ``timeout`` real seconds."""
        with self._condition:
            return self._condition.wait_for(lambda: not self._running and not self._tasks, timeout)

    def _run(self) -> None:
        while task := self._next():
            task()

    def _next(self) -> Callable[[], None] | None:
        with self._condition:
            self._running = False
            self._condition.notify_all()
            while not self._stopping:
                due = self._tasks[0][0] if self._tasks else None
                if due is not None and due <= self._clock.monotonic():
                    self._running = True
                    return heapq.heappop(self._tasks)[2]
                self._clock.wait_until(self._condition, due)
            return None
