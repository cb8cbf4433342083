"""Reads the heartbeats of data owners, and dates them by the clock of the aggregator."""

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
    """Reads heartbeats. Used by one thread, except :meth:`is_online`."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._transport = endpoint.transport
        self._trust = endpoint.trust
        self._names = endpoint.names
        self._clock = endpoint.clock
        #: By email, the latest heartbeat and the monotonic time of its discovery; minus infinity if it was old by then.
        self._latest: dict[str, tuple[Heartbeat, float]] = {}
        self._logged = LogOnce()

    def look(self, email: str) -> Heartbeat | None:
        """Return the heartbeat of a datasite if it is newer than the last returned one; otherwise None."""
        name = self._names.heartbeat(email)
        try:
            data = self._transport.get(name, max_size=MAX_HEARTBEAT)
            peer = self._trust.identity_of(email)
            heartbeat = read_heartbeat(data, email=email, app=self._names.app, identity=peer)
        except NotFoundError:
            return None
        except SyftFlwrError as error:
            self._logged.warning(
                f"{name} {error}",
                "{} cannot be used now, and is read again at the next scan: {}",
                name,
                error.diagnose(),
            )
            return None
        known = self._latest.get(email)
        if known and not heartbeat.is_newer_than(known[0]):
            return None
        is_old = known is None and heartbeat.written < self._clock.now() - _OLD - SKEW
        self._latest[email] = (heartbeat, -math.inf if is_old else self._clock.monotonic())
        return heartbeat

    def last_seen(self, email: str) -> str:
        """Return the time of the last heartbeat of a datasite, as text for a person."""
        known = self._latest.get(email)
        if known is None:
            return "not seen yet"
        if known[1] == -math.inf:
            return f"last seen on {known[0].written:%Y-%m-%d %H:%M} UTC"
        return f"last seen {self._clock.monotonic() - known[1]:.0f} s ago"

    def is_online(self, email: str) -> bool:
        """Return whether a heartbeat of a datasite was found within two intervals. Any thread may call this."""
        known = self._latest.get(email)
        return known is not None and self._clock.monotonic() - known[1] <= 2 * HEARTBEAT_INTERVAL
