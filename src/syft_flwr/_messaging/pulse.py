"""Writes the heartbeat of this participant, and rewrites it at intervals."""

from collections.abc import Collection
from typing import NamedTuple

from syft_flwr._messaging.endpoint import Endpoint
from syft_flwr._messaging.own_files import discard, is_there
from syft_flwr._messaging.wire.heartbeat import Heartbeat, Role, heartbeat_name
from syft_flwr._messaging.wire.limits import HEARTBEAT_INTERVAL, LEAST_HEARTBEAT_INTERVAL
from syft_flwr.errors import StoreError, TransportError
from syft_flwr.log_once import OURSELVES, LogOnce
from syft_flwr.transport.base import Properties

#: Seconds after which a heartbeat that vanished is written again.
_LEAST_AGE = 3.0
#: Seconds between two writes of which only the missing objects differ, and the bytes of a heartbeat that add one second.
_LEAST_PAUSE = 5.0
_RATE = 1_000
#: The heartbeats of a data owner in ``msg_timeout``, so that a late or a lost one does no harm.
HEARTBEATS_IN_TIMEOUT = 4
#: The interval of a rare heartbeat, as a multiple of the ``update_interval`` of the transport.
_RARE = 10.0
_Ids = tuple[str, ...]


def least_interval(properties: Properties) -> float:
    """Return the least number of seconds between two heartbeats without a change, over this transport."""
    return max(LEAST_HEARTBEAT_INTERVAL, properties.update_interval, properties.poll_interval)


def interval_within(wanted: float, properties: Properties) -> float:
    """Return the seconds between two heartbeats without a change that are nearest to ``wanted``, over this transport."""
    least = least_interval(properties)
    return max(least, min(wanted, HEARTBEAT_INTERVAL))


class _HeartbeatIds(NamedTuple):
    running: str
    waiting: _Ids
    missing: _Ids
    withdrawn: _Ids


class Pulse:
    """Publishes the heartbeat of one role for some ``peers``. Used by one thread at a time.

    It writes after a change of the content, and at least once in each interval. On a transport with expensive
    writes, a change waits until the ``update_interval`` of the transport has passed since the last write. A change of the
    missing objects alone waits some seconds, and causes no write where writes are expensive.

    Args:
        endpoint: the transport, keys and names of the writer.
        role: the role of the writer.
        peers: the readers.
        rare: no wait depends on it, so where writes are expensive, the interval is longer.
    """

    def __init__(self, endpoint: Endpoint, role: Role, peers: Collection[str], *, rare: bool = False) -> None:
        self._transport = endpoint.transport
        self._trust = endpoint.trust
        self._role: Role = role
        self._app = endpoint.names.app
        self._name = heartbeat_name(endpoint.names, role, endpoint.email)
        self._peers = list(peers)
        self._clock = endpoint.clock
        properties = endpoint.transport.properties
        self._interval = interval_within(HEARTBEAT_INTERVAL, properties)
        if rare:
            self._interval = max(self._interval, _RARE * properties.update_interval)
        #: The number of this session; 0 until the first heartbeat.
        self._session = 0
        self._beats = 0
        self._logged = LogOnce()
        #: The monotonic time of the last write, and its content.
        self._published: tuple[float, _HeartbeatIds] | None = None
        self._size = 0
        #: Why the last write failed; empty if it did not.
        self.trouble = ""

    def set_interval(self, seconds: float) -> None:
        """Write at least once in ``seconds``, or as often as the transport and the protocol allow. Any thread."""
        self._interval = interval_within(seconds, self._transport.properties)

    def beat(self, *, running: str = "", waiting: _Ids = (), missing: _Ids = (), withdrawn: _Ids = ()) -> None:
        """Write the heartbeat with these ids, if they changed or the interval has passed."""
        # Before a write, which replaces the heartbeat of a copy.
        self._trust.look_for_a_copy()
        now = self._clock.monotonic()
        content = _HeartbeatIds(running, waiting, missing, withdrawn)
        last = self._published
        if last and now - last[0] < self._due_after(last[1], content) and not self._has_vanished(now - last[0]):
            return
        try:
            self._session = self._session or self._trust.begin_session(self._app, self._role)
            self._beats += 1
            email, session, written = self._trust.email, self._session, self._clock.now()
            heartbeat = Heartbeat(self._role, email, self._app, session, self._beats, written, *content)
            data = heartbeat.encode(self._trust.identity)
            self._transport.put(self._name, data, readers=self._peers, replace=True)
        except (TransportError, StoreError) as error:
            text = "the heartbeat of {} could not be written, and is written again at the next scan: {}"
            self.trouble = f"the heartbeat could not be written: {error.diagnose()}"
            self._logged.warning(OURSELVES, type(error), text, self._app, error.diagnose())
            return
        self.trouble = ""
        self._published, self._size = (now, content), len(data)

    def _due_after(self, before: _HeartbeatIds, content: _HeartbeatIds) -> float:
        """Return the number of seconds between the last write and the next one with ``content``."""
        expensive = self._transport.properties.update_interval
        if before == content:
            return self._interval
        if before._replace(missing=content.missing) != content:
            return min(expensive, self._interval)
        return self._interval if expensive else min(max(_LEAST_PAUSE, self._size / _RATE), self._interval)

    def _has_vanished(self, age: float) -> bool:
        """Return whether the sync service deleted the heartbeat, so that it is written again before its time."""
        if not self._transport.properties.files_vanish or age < _LEAST_AGE:
            return False
        return is_there(self._transport, self._name) is False

    def stop(self) -> None:
        """Delete the heartbeat, if this process wrote it."""
        if self._published:
            discard(self._transport, self._name)
