"""Looks at the heartbeats of this participant: another machine with the same email, or with a copy of the home, shows there.

* At the start, a fresh heartbeat with other keys is refused: two machines would take each other's messages away. So is one
  with the own keys that this home did not write: then this home, or the other one, is a copy. A heartbeat that a killed
  process of this home left has a session that this home knows.
* Later, a heartbeat that another machine wrote is told. An old file that a sync service brings back is none: its session is
  lower than that of this process, and it was written before this process began.
"""

import threading
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

from syft_flwr import names
from syft_flwr._crypto.keys import Identity, PublicIdentity
from syft_flwr._messaging.wire.heartbeat import Heartbeat, Role, heartbeat_name, read_heartbeat
from syft_flwr._messaging.wire.limits import HEARTBEAT_INTERVAL, MAX_HEARTBEAT
from syft_flwr._store.peers import Peers
from syft_flwr.clock import SKEW, Clock
from syft_flwr.errors import RemoteProtocolError, StoreError, TransportError
from syft_flwr.log import logger
from syft_flwr.transport.base import Transport

#: Seconds between two lines about the same finding.
REPEAT = 600.0
_ROLES: tuple[Role, ...] = ("aggregator", "data-owner")
#: The age of a heartbeat up to which its writer may still run.
_FRESH = timedelta(seconds=2 * HEARTBEAT_INTERVAL) + SKEW
#: Seconds between two looks, at least.
_INTERVAL = 5.0


@dataclass(slots=True)
class _Sessions:
    """The sessions of this process in one role, and the monotonic time of the first one."""

    began: float
    numbers: set[int] = field(default_factory=set)

    def lack(self, heartbeat: Heartbeat, clock: Clock) -> bool:
        """Return whether another machine wrote this heartbeat, with the same keys."""
        if heartbeat.session in self.numbers:
            return False
        # By the present wall clock, because the clock of the first session may have been wrong.
        now = clock.now()
        began = now - timedelta(seconds=clock.monotonic() - self.began)
        # A later session of this home has a higher number, and no earlier process can write now.
        return heartbeat.session > max(self.numbers) or began + SKEW < heartbeat.written < now + SKEW


class OwnHeartbeats:
    """The heartbeats of this participant in both roles. Thread-safe; no lock is held while a file is read.

    Args:
        transport: the transport of this participant.
        email: its email.
        identity: the keys of this machine.
        home: the folder of this participant; None without one.
        clock: the clock.
        peers: the database with the sessions of this participant.
    """

    def __init__(
        self, transport: Transport, email: str, identity: Identity, home: Path | None, clock: Clock, peers: Peers
    ) -> None:
        self._transport = transport
        self._email = email
        self._keys = identity.public
        self._home = str(home) if home else "this one"
        self._clock = clock
        self._peers = peers
        self._lock = threading.Lock()
        self._app: names.AppNames | None = None
        #: The sessions that this process began, by app and role.
        self._sessions: dict[tuple[str, str], _Sessions] = {}
        #: The monotonic times of the next look, and of the next line.
        self._next_look = 0.0
        self._next_line = 0.0

    def claim(self, app: names.AppNames, other: PublicIdentity | None) -> None:
        """Look before the first message of this process; ``other`` are the keys in the own card if they are not the own ones.

        Raises:
            StoreError: another machine takes part in the app with this email now, or the database cannot be read.
        """
        with self._lock:
            self._app = app
        for role in _ROLES:
            heartbeat = self._read(app, role, other or self._keys)
            if heartbeat is None or abs(self._clock.now() - heartbeat.written) >= _FRESH:
                continue
            if other:
                keys = f"other keys, with the fingerprint {other.fingerprint}"
            elif self._is_of_a_copy(heartbeat):
                keys = f"the same keys, so one of the two homes is a copy ({self._home})"
            else:
                continue
            raise StoreError(
                f"another machine takes part as {self._email} now: its heartbeat of {heartbeat.written:%Y-%m-%d %H:%M:%S} UTC has "
                f"{keys}",
                hint="Stop syft-flwr there, or use another email here. If it was killed, or its home was moved to this machine, "
                f"start again after {heartbeat.written + _FRESH:%H:%M} UTC.",
            )

    def note_session(self, app: str, role: str, session: int) -> None:
        """Record that this process writes heartbeats with the number ``session`` from now on."""
        with self._lock:
            self._sessions.setdefault((app, role), _Sessions(self._clock.monotonic())).numbers.add(session)

    def look_for_a_copy(self) -> None:
        """Tell at intervals that another machine writes heartbeats with the keys of this one."""
        now = self._clock.monotonic()
        with self._lock:
            app = self._app
            if app is None or now < self._next_look:
                return
            self._next_look = now + max(_INTERVAL, self._transport.properties.update_interval)
            roles = [role for role in _ROLES if (app.app, role) in self._sessions]
        for role in roles:
            heartbeat = self._read(app, role, self._keys)
            if heartbeat is None:
                continue
            with self._lock:
                if now < self._next_line or not self._sessions[app.app, role].lack(heartbeat, self._clock):
                    continue
                self._next_line = now + REPEAT
            text = (
                "another machine takes part as {} with the same keys: its home is a copy of {}. Each of the two takes the "
                "messages of the other away. Stop one of them, then start the other one again"
            )
            logger.error(text, self._email, self._home)

    def _is_of_a_copy(self, heartbeat: Heartbeat) -> bool:
        last = self._peers.last_session(heartbeat.app, heartbeat.role)
        # Without a session, the home or its database is new. If another machine runs, that is told later.
        return last is not None and (heartbeat.session > last.session or not last.is_of_this_file)

    def _read(self, app: names.AppNames, role: Role, keys: PublicIdentity) -> Heartbeat | None:
        name = heartbeat_name(app, role, self._email)
        try:
            # In a listing, because over Google Drive a missed file is asked for often.
            if not any(entry.name == name for entry in self._transport.list(app.status(self._email))):
                return None
            data = self._transport.get(name, max_size=MAX_HEARTBEAT)
            return read_heartbeat(data, role=role, email=self._email, app=app.app, identity=keys)
        except (TransportError, RemoteProtocolError):
            return None
