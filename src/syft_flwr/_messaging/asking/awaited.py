"""Follows the data owners that requests wait for, by their heartbeats and by the transfers of objects."""

from collections.abc import Collection, Sequence

from loguru import logger

from syft_flwr._messaging.asking.pending import Pending
from syft_flwr._messaging.asking.request_transfers import RequestTransfers
from syft_flwr._messaging.endpoint import Endpoint
from syft_flwr._messaging.liveness import Liveness

#: Seconds between two log lines with the datasites that the aggregator waits for.
_SAY_WAITING = 30.0


class AwaitedOwners:
    """The data owners of the open requests. Used by one thread.

    Args:
        endpoint: the transport, keys and names of the aggregator.
        liveness: the heartbeats of the data owners.
        transfers: the objects of the open requests.
        watched: the emails of the data owners to read a heartbeat of at every scan, also without an open request.
    """

    def __init__(
        self, endpoint: Endpoint, liveness: Liveness, transfers: RequestTransfers, watched: Collection[str]
    ) -> None:
        self._app = endpoint.names.app
        self._clock = endpoint.clock
        self._liveness = liveness
        self._transfers = transfers
        self._watched = list(watched)
        self._said_waiting = self._clock.monotonic()

    def look(self, run: int, waiting: Sequence[Pending]) -> None:
        """Read the heartbeats, and note each request that is held or under way. ``waiting`` are the open requests."""
        now = self._clock.monotonic()
        by_datasite: dict[str, list[Pending]] = {}
        for pending in waiting:
            by_datasite.setdefault(pending.asked.recipient, []).append(pending)
        for email in dict.fromkeys((*self._watched, *by_datasite)):
            self.look_at(email, by_datasite.get(email, ()))
        for email in by_datasite:
            self._liveness.note_awaited(email)
        for pending in waiting:
            email = pending.asked.recipient
            online = self._liveness.latest(email) if self._liveness.is_online(email) else None
            if self._transfers.is_under_way(pending, online):
                pending.seen = now
        if by_datasite and now - self._said_waiting >= _SAY_WAITING:
            self._said_waiting = now
            awaited = ", ".join(f"{email} ({self._liveness.last_seen(email)})" for email in sorted(by_datasite))
            logger.info("run {} ({}): waiting for {}", run, self._app, awaited)

    def look_at(self, email: str, waiting: Sequence[Pending]) -> None:
        """Read the heartbeat of one data owner. ``waiting`` are its open requests."""
        heartbeat = self._liveness.look(email)
        if heartbeat is None or not self._liveness.is_online(email):
            # No new heartbeat, or one that a client left which died long ago.
            return
        self._transfers.hear(heartbeat, waiting)
        for pending in waiting:
            if heartbeat.holds(pending.id):
                pending.seen = self._clock.monotonic()
