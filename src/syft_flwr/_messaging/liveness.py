"""The signs of life of peers, as seen by this participant's own clock."""

import math
from datetime import timedelta

from syft_flwr._messaging.endpoint import Endpoint
from syft_flwr._messaging.log_once import LogOnce
from syft_flwr._messaging.wire.heartbeat import Heartbeat, read_heartbeat
from syft_flwr._messaging.wire.limits import HEARTBEAT_INTERVAL, MAX_HEARTBEAT
from syft_flwr.clock import SKEW
from syft_flwr.errors import NotFoundError, SyftFlwrError

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
        self._logged = LogOnce()

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
            self._logged.warning(f"{name} {error}", "{} is ignored: {}", name, error)
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
