"""Writes the heartbeat of a client, rewrites it at intervals, and deletes it at the end."""

from syft_flwr._messaging.endpoint import Endpoint
from syft_flwr._messaging.log_once import LogOnce
from syft_flwr._messaging.own_files import discard
from syft_flwr._messaging.wire.heartbeat import Heartbeat
from syft_flwr._messaging.wire.limits import HEARTBEAT_INTERVAL
from syft_flwr.errors import TransportError


class Pulse:
    """Publishes the heartbeat of a data owner. Used by one thread.

    It writes after a change of the held requests, and at least once in each heartbeat interval. On a transport with
    expensive writes, a change waits until the ``update_interval`` of the transport has passed since the last write.
    """

    def __init__(self, endpoint: Endpoint, aggregator: str) -> None:
        self._transport = endpoint.transport
        self._trust = endpoint.trust
        self._names = endpoint.names
        self._aggregator = aggregator
        self._clock = endpoint.clock
        self._since = self._clock.now()
        self._beats = 0
        self._logged = LogOnce()
        self._published: tuple[float, str, tuple[str, ...]] | None = None

    def beat(self, running: str, waiting: tuple[str, ...]) -> None:
        """Write the heartbeat with these request ids, if they changed or the interval has passed."""
        now = self._clock.monotonic()
        last = self._published
        if last and now - last[0] < self._due_after(same=last[1:] == (running, waiting)):
            return
        self._beats += 1
        heartbeat = Heartbeat(
            self._trust.email, self._names.app, self._since, self._clock.now(), self._beats, running, waiting
        )
        try:
            data = heartbeat.encode(self._trust.identity)
            self._transport.put(
                self._names.heartbeat(self._trust.email), data, readers=[self._aggregator], replace=True
            )
        except TransportError as error:
            text = "the heartbeat of {} could not be written, and is written again at the next scan: {}"
            self._logged.warning(type(error), text, self._names.app, error.diagnose())
            return
        self._published = (now, running, waiting)

    def _due_after(self, *, same: bool) -> float:
        return HEARTBEAT_INTERVAL if same else min(self._transport.properties.update_interval, HEARTBEAT_INTERVAL)

    def stop(self) -> None:
        """Delete the heartbeat."""
        discard(self._transport, self._names.heartbeat(self._trust.email))
