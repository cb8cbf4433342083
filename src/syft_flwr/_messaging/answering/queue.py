"""The accepted requests without a reply: waiting for their objects, queued, or running."""

import math
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime

from syft_flwr._messaging.answering.inbox import Request
from syft_flwr._messaging.wire.body import ObjectRef
from syft_flwr._messaging.wire.limits import MAX_WAITING, MAX_WAITING_BYTES
from syft_flwr.clock import Clock

#: Later than the creation of any request.
_LAST = datetime.max.replace(tzinfo=UTC), ""


class RequestQueue:
    """A queue of requests, in the order of their creation. Thread-safe.

    A request waits for an earlier one of its round (the same run, type and group) that is here without its objects. It
    does not wait for requests of other rounds: objects that never arrive must not hold up a later round.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._changed = threading.Condition()
        self._incomplete: OrderedDict[str, Request] = OrderedDict()
        #: For each request without all its objects, the objects that have not arrived.
        self._missing: dict[str, Sequence[ObjectRef]] = {}
        self._queue: OrderedDict[str, Request] = OrderedDict()
        #: The bytes of the bodies of the waiting requests.
        self._bytes = 0
        self._running: Request | None = None
        self._finished = False

    def has_room(self, request: Request) -> bool:
        """Return whether a further request may wait here: the number and the bytes of the waiting ones are bounded."""
        with self._changed:
            count = len(self._incomplete) + len(self._queue)
            return count < MAX_WAITING and self._bytes + request.header.body_size <= MAX_WAITING_BYTES

    def add(self, request: Request) -> None:
        """Add a request. It waits here until :meth:`queue_complete` finds its objects."""
        self.drop(request.header.id)
        with self._changed:
            self._incomplete[request.header.id] = request
            self._bytes += request.header.body_size

    def queue_complete(self, missing_of: Callable[[Request], Sequence[ObjectRef] | None]) -> None:
        """Queue the waiting requests that are complete now.

        ``missing_of`` returns the objects of a request that have not arrived; None if that is not known now.
        """
        with self._changed:
            waiting = sorted(self._incomplete.values(), key=_order)
        for request in waiting:
            # Called without the lock: it reads files, and may drop the request.
            missing = missing_of(request)
            if missing is None:
                continue
            with self._changed:
                self._note_missing(request, missing)

    def _note_missing(self, request: Request, missing: Sequence[ObjectRef]) -> None:
        message_id = request.header.id
        if missing and message_id in self._incomplete:
            self._missing[message_id] = missing
        elif self._incomplete.pop(message_id, None):
            self._missing.pop(message_id, None)
            self._queue[message_id] = replace(request, complete=self._clock.monotonic())
            self._changed.notify_all()

    def missing(self) -> list[ObjectRef]:
        """Return the objects that waiting requests need and that have not arrived."""
        with self._changed:
            return [ref for refs in self._missing.values() for ref in refs]

    def next(self, on_idle: Callable[[], object] = lambda: None, *, after: float = math.inf) -> Request | None:
        """Wait for the next request and count it as running; return None after :meth:`finish`.

        ``on_idle`` is called once if no request came for ``after`` seconds. The wait then continues.
        """
        end = self._clock.monotonic() + after
        while True:
            with self._changed:
                while not (self._finished or (request := self._first()) or self._clock.monotonic() >= end):
                    self._clock.wait_until(self._changed, None if end == math.inf else end)
                if self._finished:
                    return None
                if request:
                    del self._queue[request.header.id]
                    self._bytes -= request.header.body_size
                    self._running = replace(request, taken=self._clock.monotonic())
                    return self._running
            on_idle()
            end = math.inf

    def _first(self) -> Request | None:
        """Return the earliest queued request that overtakes no request of its round; None if there is none."""
        held_up: dict[tuple[int, str, str], tuple[datetime, str]] = {}
        for request in self._incomplete.values():
            held_up[_round(request)] = min(_order(request), held_up.get(_round(request), _order(request)))
        ready = (one for one in self._queue.values() if _order(one) < held_up.get(_round(one), _LAST))
        return min(ready, key=_order, default=None)

    def done(self, message_id: str) -> None:
        """Record that a request has stopped running."""
        with self._changed:
            if self._running and self._running.header.id == message_id:
                self._running = None

    def drop(self, message_id: str) -> None:
        """Remove a waiting or queued request."""
        with self._changed:
            for waiting in (self._incomplete, self._queue):
                if request := waiting.pop(message_id, None):
                    self._bytes -= request.header.body_size
            self._missing.pop(message_id, None)
            # A later request may have waited for this one.
            self._changed.notify_all()

    def drop_run(self, run: int) -> list[str]:
        """Remove the waiting and queued requests of a run; return their ids."""
        with self._changed:
            waiting = {**self._queue, **self._incomplete}
            dropped = [message_id for message_id, request in waiting.items() if request.header.run == run]
        for message_id in dropped:
            self.drop(message_id)
        return dropped

    def held(self) -> tuple[str, tuple[str, ...]]:
        """Return the id of the running request (or an empty string) and the ids of the waiting ones."""
        with self._changed:
            running = self._running.header.id if self._running else ""
            return running, (*self._queue, *self._incomplete)

    def running_type(self) -> str:
        """Return the message type of the running request; empty if there is none."""
        with self._changed:
            return self._running.header.type if self._running else ""

    def running(self) -> Request | None:
        """Return the running request; None if there is none."""
        with self._changed:
            return self._running

    def running_run(self) -> int | None:
        """Return the run of the running request; None if there is none."""
        with self._changed:
            return self._running.header.run if self._running else None

    def finish(self) -> None:
        """Let :meth:`next` return None from now on."""
        with self._changed:
            self._finished = True
            self._changed.notify_all()


def _order(request: Request) -> tuple[datetime, str]:
    """Return the sort key of a request. The times of one aggregator's requests differ; others are in any fixed order."""
    return request.header.created, request.header.id


def _round(request: Request) -> tuple[int, str, str]:
    return request.header.run, request.header.type, request.header.group
