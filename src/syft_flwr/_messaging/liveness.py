"""Signs of life: a data owner's are published, an aggregator's view of them is kept by its own clock."""

import math
from datetime import timedelta

from loguru import logger

from syft_flwr._messaging.endpoint import Endpoint
from syft_flwr._messaging.heartbeat import Heartbeat, read_heartbeat
from syft_flwr._messaging.leftovers import discard
from syft_flwr._messaging.limits import HEARTBEAT_INTERVAL, MAX_HEARTBEAT
from syft_flwr._messaging.once import Once
from syft_flwr.clock import SKEW
from syft_flwr.errors import NotFoundError, SyftFlwrError, TransportError

_OLD = timedelta(seconds=2 * HEARTBEAT_INTERVAL)


class Liveness:
    """Reads heartbeats. Used by one thread."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._transport = endpoint.transport
        self._trust = endpoint.trust
        self._names = endpoint.names
        self._clock = endpoint.clock
        #: By email, the latest heartbeat, and when it was seen to be new (monotonic; minus infinity for one that was old).
        self._latest: dict[str, tuple[Heartbeat, float]] = {}
        self._logged = Once()

    def look(self, email: str) -> Heartbeat | None:
        """Return the heartbeat of a datasite if it is newer than the one returned before."""
        name = self._names.heartbeat(email)
        try:
            data = self._transport.get(name, max_size=MAX_HEARTBEAT)
            peer = self._trust.identity_of(email)
            heartbeat = read_heartbeat(data, email=email, app=self._names.app, identity=peer)
        except NotFoundError:
            return None
        except SyftFlwrError as error:
            if self._logged.first(f"{name} {error}"):
                logger.warning("{} is ignored: {}", name, error)
            return None
        known = self._latest.get(email)
        if known and not heartbeat.is_newer_than(known[0]):
            return None
        is_old = known is None and heartbeat.written < self._clock.now() - _OLD - SKEW
        self._latest[email] = (heartbeat, -math.inf if is_old else self._clock.monotonic())
        return heartbeat

    def last_seen(self, email: str) -> str:
        """Say for a person when a datasite was last seen."""
        known = self._latest.get(email)
        if known is None:
            return "not seen yet"
        if known[1] == -math.inf:
            return f"last seen on {known[0].written:%Y-%m-%d %H:%M} UTC"
        return f"last seen {self._clock.monotonic() - known[1]:.0f} s ago"

    def is_online(self, email: str) -> bool:
        """Say whether a datasite was seen within two intervals. Safe to call from any thread."""
        known = self._latest.get(email)
        return known is not None and self._clock.monotonic() - known[1] <= 2 * HEARTBEAT_INTERVAL


class Pulse:
    """Publishes a data owner's heartbeat: when what it holds changed, and every interval. Used by one thread.

    Where each state of a file costs something, a change waits until the transport's update interval has passed.
    """

    def __init__(self, endpoint: Endpoint, aggregator: str) -> None:
        self._transport = endpoint.transport
        self._trust = endpoint.trust
        self._names = endpoint.names
        self._aggregator = aggregator
        self._clock = endpoint.clock
        self._since = self._clock.now()
        self._beats = 0
        self._logged = Once()
        self._published: tuple[float, str, tuple[str, ...]] | None = None

    def beat(self, running: str, waiting: tuple[str, ...]) -> None:
        """Say which requests are held, if that is news."""
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
            if self._logged.first(type(error)):
                logger.warning("the sign of life could not be written: {}", error.diagnose())
            return
        self._published = (now, running, waiting)

    def _due_after(self, *, same: bool) -> float:
        return HEARTBEAT_INTERVAL if same else min(self._transport.properties.update_interval, HEARTBEAT_INTERVAL)

    def stop(self) -> None:
        """Take the sign of life back."""
        discard(self._transport, self._names.heartbeat(self._trust.email))
