"""Looks at the card and the heartbeats of this participant: another machine, a copied home or a lost home shows there.

* At the start, a card with other keys is told. Beside a fresh heartbeat with these keys, another machine takes part now,
  and the start is refused: two machines would take each other's messages away.
* The start is also refused beside a fresh heartbeat with the own keys that this home did not write: then its home, or the
  other one, is a copy. A heartbeat that a killed process of this home left has a session that this home knows.
* Later, a card or a heartbeat that another machine wrote is told, too. An old file that a sync service brings back is none:
  its session is lower than that of this process, and it was written before this process began.
* After a lost home, the peers refuse the new keys until a person accepts them. The fingerprint of the former keys is kept
  in the home until a peer has accepted the new ones, so that each start can say so.
"""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

from loguru import logger

from syft_flwr import names
from syft_flwr._crypto.keys import Identity, PublicIdentity
from syft_flwr._messaging.wire.card import read_card
from syft_flwr._messaging.wire.heartbeat import Heartbeat, Role, heartbeat_name, read_heartbeat
from syft_flwr._messaging.wire.limits import HEARTBEAT_INTERVAL, MAX_CARD, MAX_HEARTBEAT
from syft_flwr._store.peers import Peers
from syft_flwr.clock import SKEW, Clock
from syft_flwr.errors import NotFoundError, RemoteProtocolError, StorageError, StoreError, TransportError
from syft_flwr.files import read_bounded, write_private
from syft_flwr.transport.base import Transport

_ROLES: tuple[Role, ...] = ("aggregator", "data-owner")
#: The age of a heartbeat up to which its writer may still run.
_FRESH = timedelta(seconds=2 * HEARTBEAT_INTERVAL) + SKEW
#: Seconds between two looks at the card while this process runs, and between two lines about the same finding.
_INTERVAL = 30.0
_REPEAT = 600.0
#: Seconds between two looks at the own heartbeats, at least.
_HEARTBEAT_INTERVAL = 5.0
#: Seconds without a message of a peer that runs, after which it seems to refuse the new keys.
_PATIENCE = 60.0
_NOT_ACCEPTED = (
    "no peer has accepted the new keys of {} yet; their fingerprint is {}. Each peer refuses this participant until it runs "
    "`syft-flwr peers accept {}`"
)
_FORMER = "former-fingerprint"
_MAX_FORMER = 200


@dataclass(slots=True)
class _Sessions:
    """The sessions of this process in one role, and the time of the first one."""

    began: datetime
    numbers: set[int] = field(default_factory=set)

    def lack(self, heartbeat: Heartbeat) -> bool:
        """Return whether another machine wrote this heartbeat, with the same keys."""
        if heartbeat.session in self.numbers:
            return False
        # A later session of this home has a higher number, and no earlier process can write now.
        return heartbeat.session > max(self.numbers) or heartbeat.written > self.began + SKEW


class OwnCard:
    """The key card of this participant. Used under the lock of :class:`~syft_flwr._messaging.trust.Trust`.

    Args:
        transport: the transport of this participant.
        email: its email.
        identity: the keys of this machine.
        home: the folder for the former fingerprint; None if it is not kept.
        clock: the clock.
        peers: the database with the sessions of this participant.
    """

    def __init__(
        self, transport: Transport, email: str, identity: Identity, home: Path | None, clock: Clock, peers: Peers
    ) -> None:
        self._transport = transport
        self._email = email
        self._identity = identity
        self._file = home / _FORMER if home else None
        self._clock = clock
        self._peers = peers
        #: The fingerprint of the former keys, of which no peer is known to have accepted the successor.
        self._former = ""
        self._app: names.AppNames | None = None
        #: The sessions that this process began, by app and role.
        self._sessions: dict[tuple[str, str], _Sessions] = {}
        self._next_copy_look = 0.0
        self._published: float | None = None
        self._next_look = 0.0
        #: The monotonic time of the next line, by its kind.
        self._next_line: dict[str, float] = {}

    def claim(self, app: names.AppNames) -> None:
        """Look at the card before the first message of this process, and tell each problem of it.

        Raises:
            StoreError: another machine takes part in the app with this email now, or the database cannot be read.
        """
        self._app = app
        other = self._other_keys()
        self._refuse_beside(app, other)
        if other is None:
            self._former = self._kept()
            if self._former:
                logger.warning(_NOT_ACCEPTED, self._email, self._identity.public.fingerprint, self._email)
            return
        self._former = other.fingerprint
        self._keep()
        text = (
            "the key card of {} in its public folder has other keys ({}) than this machine ({}), and is replaced now. If the "
            "home of this participant was lost: restore it from a backup, or tell each peer the new fingerprint, so that "
            "it runs `syft-flwr peers accept {}`. Until then, it refuses this participant. If another machine uses this "
            "email: stop it"
        )
        logger.warning(text, self._email, self._former, self._identity.public.fingerprint, self._email)

    def other_fingerprint(self) -> str:
        """Return the fingerprint of the keys in the card if they are not those of this machine; otherwise an empty text."""
        other = self._other_keys()
        return other.fingerprint if other else ""

    def note_published(self) -> None:
        """Record that the card of this machine is in the public folder from now on."""
        self._published = self._clock.monotonic()
        self._next_look = self._published + _INTERVAL

    def note_accepted(self) -> None:
        """Record that a peer has accepted the keys of this machine."""
        if self._former:
            self._former = ""
            if self._file:
                self._file.unlink(missing_ok=True)

    def note_session(self, app: str, role: str, session: int) -> None:
        """Record that this process writes heartbeats with the number ``session`` from now on."""
        self._sessions.setdefault((app, role), _Sessions(self._clock.now())).numbers.add(session)

    def look_for_a_copy(self) -> None:
        """Tell at intervals that another machine writes heartbeats with the keys of this one."""
        now = self._clock.monotonic()
        if self._app is None or now < self._next_copy_look:
            return
        self._next_copy_look = now + max(_HEARTBEAT_INTERVAL, self._transport.properties.update_interval)
        for role in _ROLES:
            sessions = self._sessions.get((self._app.app, role))
            heartbeat = self._heartbeat(self._app, role, self._identity.public) if sessions else None
            if sessions and heartbeat and sessions.lack(heartbeat) and self._is_due("copy", now):
                text = (
                    "another machine takes part as {} with the same keys: its home is a copy of {}. Each of the two takes the "
                    "messages of the other away. Stop one of them, then start the other one again"
                )
                logger.error(text, self._email, self._home)

    def watch(self, peer: str) -> None:
        """Tell at intervals that another machine writes the card, or that ``peer``, which runs, seems to refuse the keys."""
        now = self._clock.monotonic()
        if self._published is None or now < self._next_look:
            return
        self._next_look = now + _INTERVAL
        other = self._other_keys()
        if other and self._is_due("other", now):
            text = (
                "another machine publishes keys as {}, with the fingerprint {}; this one has {}. Each of the two takes the "
                "messages of the other away. Stop one of them, then start the other one again"
            )
            logger.error(text, self._email, other.fingerprint, self._identity.public.fingerprint)
        elif self._former and now - self._published >= _PATIENCE and self._is_due("refused", now):
            text = (
                "{} runs, and has sent nothing here since this machine has new keys: it seems to refuse them. Tell {} the "
                "fingerprint {}, so that it runs `syft-flwr peers accept {}`"
            )
            logger.warning(text, peer, peer, self._identity.public.fingerprint, self._email)

    @property
    def _home(self) -> str:
        return str(self._file.parent) if self._file else "this one"

    def _is_due(self, kind: str, now: float) -> bool:
        if now < self._next_line.get(kind, 0.0):
            return False
        self._next_line[kind] = now + _REPEAT
        return True

    def _other_keys(self) -> PublicIdentity | None:
        """Return the keys in the own card if they are not those of this machine; None also if it cannot be read."""
        try:
            keys = read_card(self._transport.get(names.card(self._email), max_size=MAX_CARD), self._email).keys
        except (TransportError, RemoteProtocolError):
            # It is missing, or is written again by the next start.
            return None
        return keys if keys != self._identity.public else None

    def _refuse_beside(self, app: names.AppNames, other: PublicIdentity | None) -> None:
        """Raise StoreError if a fresh heartbeat has ``other`` keys, or the own ones though this home did not write it."""
        for role in _ROLES:
            heartbeat = self._heartbeat(app, role, other or self._identity.public)
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
                hint="Stop syft-flwr there, or use another email here. If it was killed, start again after "
                f"{heartbeat.written + _FRESH:%H:%M} UTC.",
            )

    def _is_of_a_copy(self, heartbeat: Heartbeat) -> bool:
        last = self._peers.last_session(heartbeat.app, heartbeat.role)
        # Without a session, the home or its database is new. If another machine runs, that is told later.
        return last is not None and (heartbeat.session > last.session or not last.is_of_this_file)

    def _heartbeat(self, app: names.AppNames, role: Role, keys: PublicIdentity) -> Heartbeat | None:
        name = heartbeat_name(app, role, self._email)
        try:
            # In a listing, because over Google Drive a missed file is asked for often.
            if not any(entry.name == name for entry in self._transport.list(app.status(self._email))):
                return None
            data = self._transport.get(name, max_size=MAX_HEARTBEAT)
            return read_heartbeat(data, role=role, email=self._email, app=app.app, identity=keys)
        except (TransportError, RemoteProtocolError):
            return None

    def _kept(self) -> str:
        if self._file is None:
            return ""
        try:
            return read_bounded(self._file, _MAX_FORMER).decode(errors="replace").strip()
        except NotFoundError:
            return ""
        except StorageError as error:
            raise StoreError(f"{self._file} cannot be read: {error}", hint="Delete the file.") from error

    def _keep(self) -> None:
        if self._file is None:
            return
        try:
            write_private(self._file, f"{self._former}\n".encode())
        except StorageError as error:
            raise StoreError(f"{self._file} cannot be written: {error}", hint=error.hint) from error
