"""The open requests of a data owner, and their progress in this process."""

import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime

from syft_flwr._messaging.wire.limits import MAX_LIFETIME
from syft_flwr.clock import SKEW, Clock


@dataclass(frozen=True, slots=True)
class OpenRequest:
    """A request that is not closed."""

    id: str
    #: The email of its aggregator. A data owner can still have replies to an aggregator that it served before.
    sender: str
    #: The name of its file.
    name: str
    #: Monotonic times: the end of its lifetime, and the last moment at which its reply is kept.
    ends: float
    kept_until: float

    @property
    def received(self) -> float:
        """Return the monotonic time of its first arrival, which may be before the start of this process."""
        return self.kept_until - MAX_LIFETIME.total_seconds()


class OpenRequests:
    """The open requests, by id. Thread-safe."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._changed = threading.Condition()
        self._open: dict[str, OpenRequest] = {}
        #: The ids of open requests that this process has accepted, or that have a reply.
        self._taken: set[str] = set()
        #: The ids of open requests whose end this process does not wait for.
        self._dropped: set[str] = set()
        self._ended = False

    def add(
        self, message_id: str, sender: str, name: str, *, expires: datetime, received: datetime, taken: bool
    ) -> OpenRequest | None:
        """Add a request with these times of the wall clock, or return the known one.

        ``taken`` means that it must not be accepted again. Return None after :meth:`wait_until_closed` for a new request.
        """
        now, wall = self._clock.monotonic(), self._clock.now()
        # A request is accepted for this long after its end, because the clocks of two machines differ.
        ends = now + (expires + SKEW - wall).total_seconds()
        kept_until = now + (received + MAX_LIFETIME - wall).total_seconds()
        request = OpenRequest(message_id, sender, name, ends, kept_until)
        with self._changed:
            if self._ended and message_id not in self._open:
                return None
            if taken:
                self._taken.add(message_id)
            return self._open.setdefault(message_id, request)

    def all(self) -> list[OpenRequest]:
        with self._changed:
            return list(self._open.values())

    def get(self, message_id: str) -> OpenRequest | None:
        with self._changed:
            return self._open.get(message_id)

    def is_taken(self, message_id: str) -> bool:
        """Return whether this process has accepted the request, or the request has a reply."""
        with self._changed:
            return message_id in self._taken

    def give_back(self, message_id: str) -> None:
        """Let the next scan accept this request again."""
        with self._changed:
            self._taken.discard(message_id)

    def drop(self, ids: Iterable[str]) -> None:
        """Do not wait for the end of these requests: their run has ended, or another aggregator decides about them."""
        with self._changed:
            self._dropped.update(ids)

    def remove(self, message_id: str) -> None:
        """Remove a closed request."""
        with self._changed:
            self._open.pop(message_id, None)
            self._taken.discard(message_id)
            self._dropped.discard(message_id)
            self._changed.notify_all()

    def without(self, ids: Iterable[str]) -> list[str]:
        """Return the ids of the open requests that are not in ``ids`` and were not dropped, sorted."""
        with self._changed:
            return sorted(self._open.keys() - set(ids) - self._dropped)

    def wait_until_closed(self, running: Callable[[], str], timeout: float) -> None:
        """Wait at most ``timeout`` seconds until all requests except the running and the dropped ones are closed.

        After that, no request is added: its reply would stay in the shared folder.
        """
        deadline = self._clock.monotonic() + timeout
        with self._changed:
            while self._open.keys() - self._dropped - {running()} and self._clock.monotonic() < deadline:
                self._clock.wait_until(self._changed, deadline)
            # Under the same lock, so that no request is added between the last look and the end.
            self._ended = True
