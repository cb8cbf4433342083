"""One participant on this machine: its email, its end of the transport, and its own state outside every synced folder."""

from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from syft_flwr._crypto.keys import Identity
from syft_flwr._messaging.endpoint import Endpoint
from syft_flwr._messaging.trust import Trust
from syft_flwr._store import identity_file
from syft_flwr._store.peers import Peers
from syft_flwr.clock import Clock, SystemClock
from syft_flwr.config import Settings
from syft_flwr.emails import normalise_all
from syft_flwr.errors import HOME_HINT, MalformedError, StoreError
from syft_flwr.names import AppNames, normalise_app_name
from syft_flwr.transport.base import Transport
from syft_flwr.transport.opening import open_transport


@dataclass
class Participant:
    """A participant for which this process acts: its settings, and its end of the transport. See :func:`open_participant`.

    Args:
        settings: resolved; ``email`` and ``home`` are set.
        transport: its end of the shared storage.
        in_process: a data owner's app runs in this process, and not in a worker: for tests.
    """

    settings: Settings
    transport: Transport
    in_process: bool = False
    clock: Clock = field(default_factory=SystemClock)

    def __post_init__(self) -> None:
        self.settings.require("email")

    @property
    def email(self) -> str:
        """Return the participant's email, normalised."""
        return str(self.settings.email)

    @property
    def home(self) -> Path:
        """Return the folder of its own state (keys, databases); never a synced folder."""
        return Path(self.settings.require("home"))

    def names(self, app_name: str) -> AppNames:
        return AppNames(normalise_app_name(app_name))

    def endpoint(self, app_name: str, trust: Trust) -> Endpoint:
        """Where this participant exchanges messages of an app."""
        return Endpoint(self.transport, trust, self.names(app_name), self.settings.encryption, self.clock)

    def app_home(self, app_name: str) -> Path:
        """Return the folder of one app's databases, made where it is missing; StoreError if it cannot be made."""
        folder = self.home / "apps" / normalise_app_name(app_name)
        # One by one: with ``parents``, only the last would get the mode.
        for path in (self.home, folder.parent, folder):
            try:
                path.mkdir(mode=0o700, parents=True, exist_ok=True)
            except OSError as error:
                raise StoreError(
                    f"{path} cannot be made: {error.strerror}",
                    hint=HOME_HINT,
                ) from error
        return folder

    def open_trust(self) -> Trust:
        """Open this participant's keys, made at first use, and its pinned peers."""
        private = identity_file.load_or_create(self.home, lambda: Identity.generate().private_bytes)
        try:
            identity = Identity.decode(private)
        except MalformedError as error:
            raise StoreError(
                f"{self.home / 'identity.key'} is no key file: {error}",
                hint="Restore it from a backup, or move it away; the peers must then accept this participant's new key.",
            ) from error
        peers = Peers(self.home / "peers.db")
        return Trust(self.transport, self.email, identity, peers, self.clock)


def open_participant(settings: Settings, *, peers: Iterable[str] = (), live: bool = True) -> Participant:
    """Open the participant that the settings describe.

    Args:
        settings: resolved.
        peers: whom it exchanges messages with; by default those of the settings.
        live: it stays, and wants to know what comes. Otherwise each question is asked of the storage when it is put.

    Raises:
        ConfigError: who it is, or where its folders are, is not known.
        TransportError: the transport cannot be opened, for example for want of a login.
    """
    transport = open_transport(settings, peers=normalise_all(peers) or _peers_of(settings), live=live)
    return Participant(settings, transport)


def _peers_of(settings: Settings) -> Collection[str]:
    """Return whom a participant exchanges messages with: an aggregator its datasites, a datasite its aggregator."""
    if settings.email == settings.aggregator:
        return settings.datasites
    return [settings.aggregator] if settings.aggregator else []


@contextmanager
def open_trust(settings: Settings) -> Iterator[Trust]:
    """Open only the keys and the peers of a participant, for people to look at."""
    participant = open_participant(settings, live=False)
    try:
        with participant.open_trust() as trust:
            yield trust
    finally:
        participant.transport.close()
