"""Looks at the key card in the public folder of this participant: another machine or a lost home shows there.

* At the start, a card with other keys is told. Beside a fresh heartbeat with these keys, the start is refused, see
  :mod:`~syft_flwr._messaging.own_heartbeats`. Later, a card that another machine wrote is told, too.
* After a lost home, the peers refuse the new keys until a person accepts them. The fingerprint of the former keys is kept
  in the home until a peer has accepted the new ones, so that each start can say so.
"""

from pathlib import Path

from syft_flwr import names
from syft_flwr._crypto.keys import Identity, PublicIdentity
from syft_flwr._messaging.own_heartbeats import REPEAT, OwnHeartbeats
from syft_flwr._messaging.wire.card import read_card
from syft_flwr._messaging.wire.limits import MAX_CARD
from syft_flwr.clock import Clock
from syft_flwr.errors import NotFoundError, RemoteProtocolError, StorageError, StoreError, TransportError
from syft_flwr.files import read_bounded, write_private
from syft_flwr.log import logger
from syft_flwr.transport.base import Transport

#: Seconds between two looks at the card while this process runs.
_INTERVAL = 30.0
#: Seconds without a message of a peer that runs, after which it seems to refuse the new keys.
_PATIENCE = 60.0
_NOT_ACCEPTED = (
    "no peer has accepted the new keys of {} yet; their fingerprint is {}. Each peer refuses this participant until it runs "
    "`syft-flwr peers accept {} FINGERPRINT`"
)
_FORMER = "former-fingerprint"
_MAX_FORMER = 200


class OwnCard:
    """The key card of this participant. Used under the lock of :class:`~syft_flwr._messaging.trust.Trust`.

    Args:
        transport: the transport of this participant.
        email: its email.
        identity: the keys of this machine.
        home: the folder for the former fingerprint; None if it is not kept.
        clock: the clock.
        heartbeats: its own heartbeats.
    """

    def __init__(
        self,
        transport: Transport,
        email: str,
        identity: Identity,
        home: Path | None,
        clock: Clock,
        heartbeats: OwnHeartbeats,
    ) -> None:
        self._transport = transport
        self._email = email
        self._identity = identity
        self._file = home / _FORMER if home else None
        self._clock = clock
        self._heartbeats = heartbeats
        #: The fingerprint of the former keys, of which no peer is known to have accepted the successor.
        self._former = ""
        self._published: float | None = None
        self._next_look = 0.0
        #: The monotonic time of the next line, by its kind.
        self._next_line: dict[str, float] = {}

    def claim(self, app: names.AppNames) -> None:
        """Look at the card before the first message of this process, and tell each problem of it.

        Raises:
            StoreError: another machine takes part in the app with this email now, or the database cannot be read.
        """
        other = self._other_keys()
        self._heartbeats.claim(app, other)
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
            "it runs `syft-flwr peers accept {} FINGERPRINT`. Until then, it refuses this participant. If another machine uses this "
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
                "fingerprint {}, so that it runs `syft-flwr peers accept {} FINGERPRINT`"
            )
            logger.warning(text, peer, peer, self._identity.public.fingerprint, self._email)

    def _is_due(self, kind: str, now: float) -> bool:
        if now < self._next_line.get(kind, 0.0):
            return False
        self._next_line[kind] = now + REPEAT
        return True

    def _other_keys(self) -> PublicIdentity | None:
        """Return the keys in the own card if they are not those of this machine; None also if it cannot be read."""
        try:
            keys = read_card(self._transport.get(names.card(self._email), max_size=MAX_CARD), self._email).keys
        except (TransportError, RemoteProtocolError):
            # It is missing, or is written again by the next start.
            return None
        return keys if keys != self._identity.public else None

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
