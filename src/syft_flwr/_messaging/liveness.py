"""When each datasite was last seen, by this machine's clock."""

from loguru import logger

from syft_flwr._messaging.heartbeat import Heartbeat, read_heartbeat
from syft_flwr._messaging.limits import MAX_HEARTBEAT
from syft_flwr._messaging.names import AppNames
from syft_flwr._messaging.once import Once
from syft_flwr._messaging.trust import Trust
from syft_flwr.clock import Clock
from syft_flwr.errors import NotFoundError, SyftFlwrError
from syft_flwr.transport.base import Transport


class Liveness:
    """Reads heartbeats. Used by one thread."""

    def __init__(self, transport: Transport, trust: Trust, names: AppNames, clock: Clock) -> None:
        self._transport = transport
        self._trust = trust
        self._names = names
        self._clock = clock
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
        self._latest[email] = (heartbeat, self._clock.monotonic())
        return heartbeat

    def last_seen(self, email: str) -> str:
        """Say for a person when a datasite was last seen."""
        known = self._latest.get(email)
        return f"last seen {self._clock.monotonic() - known[1]:.0f} s ago" if known else "not seen yet"
