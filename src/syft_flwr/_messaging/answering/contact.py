"""Tells since when nothing has come from the aggregator, for the people at a data owner.

A heartbeat or a request of the aggregator counts. An aggregator that is away ends no run: it can come back after days, and
resume. So the client waits, and only says so: once, then more and more rarely.
"""

import math

from syft_flwr._messaging.endpoint import Endpoint
from syft_flwr._messaging.liveness import Liveness
from syft_flwr.errors import TransportError
from syft_flwr.log import logger

#: Seconds of silence in a run before the first line. It is two intervals of an aggregator over a transport with
#: expensive writes. The pause doubles with each line, up to the second number.
_SILENT_AFTER, _MOST_RARELY = 600.0, 21_600.0
#: Seconds between two events about new heartbeats.
_SAY_HEARD = 5.0


class Contact:
    """The contact with one aggregator. :meth:`last_seen` is used by any thread, the other methods by one.

    Args:
        endpoint: the transport, keys and names of the data owner.
        aggregator: the email of the aggregator.
        liveness: its heartbeats.
    """

    def __init__(self, endpoint: Endpoint, aggregator: str, liveness: Liveness) -> None:
        self._transport = endpoint.transport
        self._folder = endpoint.names.status(aggregator)
        self._name = endpoint.names.aggregator_heartbeat(aggregator)
        self._app = endpoint.names.app
        self._aggregator = aggregator
        self._liveness = liveness
        self._clock = endpoint.clock
        #: Monotonic times: the begin, and the last request.
        self._began = endpoint.clock.monotonic()
        self._asked = -math.inf
        #: When the last told heartbeat was found, and when it was told.
        self._told, self._told_at = -math.inf, -math.inf
        #: The seconds of silence at the next line, and those at the last one; 0 after the last silence ended.
        self._next, self._said = _SILENT_AFTER, 0.0

    def look(self) -> None:
        """Read the heartbeat of the aggregator, if there is one."""
        try:
            # In a listing, because over Google Drive a missed file is asked for often.
            is_there = any(entry.name == self._name for entry in self._transport.list(self._folder))
        except TransportError:
            # The scan of the inbox reports it.
            return
        if is_there:
            self._liveness.look(self._aggregator)
        else:
            self._liveness.note_absent(self._aggregator)

    def has_news(self) -> bool:
        """Return whether a heartbeat was found since the last call that returned True, at most every 5 seconds."""
        found, now = self._liveness.found_at(self._aggregator), self._clock.monotonic()
        if found <= self._told or now - self._told_at < _SAY_HEARD:
            return False
        self._told, self._told_at = found, now
        return True

    def note_request(self) -> None:
        """Record that a request of the aggregator has come."""
        self._asked = self._clock.monotonic()

    @property
    def _silence(self) -> float:
        return self._clock.monotonic() - max(self._asked, self._liveness.found_at(self._aggregator), self._began)

    def remind(self, *, in_run: bool) -> None:
        """Log a line if nothing has come for long in a run, or if something has come again."""
        silence = self._silence
        if silence < self._said:
            text = "{}: {} is heard again, after {:.0f} s or more"
            logger.info(text, self._app, self._aggregator, self._said)
            self._next, self._said = _SILENT_AFTER, 0.0
        if not in_run:
            self._next = _SILENT_AFTER
        elif silence >= self._next:
            text = (
                "{}: nothing has come from {} for {:.0f} s ({}), though its run has not ended. The client waits, because the "
                "run can continue. If it does not, ask {} whether its server and its sync service run."
            )
            logger.warning(text, self._app, self._aggregator, silence, self.last_seen(), self._aggregator)
            self._said, self._next = silence, silence + min(silence, _MOST_RARELY)

    def last_seen(self) -> str:
        """Return when the last request or heartbeat has come, as text for a person."""
        if self._asked > self._liveness.found_at(self._aggregator):
            return f"last seen {self._clock.monotonic() - self._asked:.0f} s ago"
        return self._liveness.last_seen(self._aggregator)
