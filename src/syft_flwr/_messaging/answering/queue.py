"""The requests that were taken and not answered: waiting for their objects, queued, or running."""

import threading
from collections import OrderedDict
from collections.abc import Callable

from syft_flwr._messaging.answering.inbox import Request
from syft_flwr.clock import Clock


class RequestQueue:
    """Requests in the order of their making, as far as they came together. Thread-safe."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._changed = threading.Condition()
        self._incomplete: OrderedDict[str, Request] = OrderedDict()
        self._queue: OrderedDict[str, Request] = OrderedDict()
        self._running = ""
        self._finished = False

    def add(self, request: Request) -> None:
        """Take a request, whether its objects have arrived or not."""
        with self._changed:
            self._incomplete[request.header.id] = request

    def queue_complete(self, is_complete: Callable[[Request], bool]) -> None:
        """Queue the requests that are complete now, in the order of their making."""
        with self._changed:
            waiting = sorted(self._incomplete.values(), key=lambda request: request.header.created)
        for request in waiting:
            # Asked without the lock: it looks at files, and may drop the request.
            if is_complete(request):
                with self._changed:
                    if self._incomplete.pop(request.header.id, None):
                        self._queue[request.header.id] = request
                        self._changed.notify_all()

    def next(self) -> Request | None:
        """Wait for a queued request, which then runs; None after :meth:`finish`."""
        with self._changed:
            while not self._queue and not self._finished:
                self._clock.wait_until(self._changed, None)
            if self._finished:
                return None
            self._running, request = self._queue.popitem(last=False)
            return request

    def done(self, message_id: str) -> None:
        """Say that a request runs no longer."""
        with self._changed:
            if self._running == message_id:
                self._running = ""

    def drop(self, message_id: str) -> None:
        """Forget a request that waits."""
        with self._changed:
            self._incomplete.pop(message_id, None)
            self._queue.pop(message_id, None)

    def drop_run(self, run: int) -> list[str]:
        """Forget the requests of a run that wait; return their ids."""
        with self._changed:
            waiting = {**self._queue, **self._incomplete}
            dropped = [message_id for message_id, request in waiting.items() if request.header.run == run]
        for message_id in dropped:
            self.drop(message_id)
        return dropped

    def held(self) -> tuple[str, tuple[str, ...]]:
        """Return the id of the request that runs (or an empty string), and those of the ones that wait."""
        with self._changed:
            return self._running, (*self._queue, *self._incomplete)

    def finish(self) -> None:
        """Give out no more requests."""
        with self._changed:
            self._finished = True
            self._changed.notify_all()
