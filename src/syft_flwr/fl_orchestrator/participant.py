"""A participant on this machine: its settings, its transport, and its private home outside every synced folder."""

from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from syft_flwr._crypto.keys import Identity
from syft_flwr._messaging.endpoint import Endpoint
from syft_flwr._messaging.threads import limit_threads
from syft_flwr._messaging.trust import Trust
from syft_flwr._store import identity_file
from syft_flwr._store.peers import Peers
from syft_flwr.app_names import normalise_app_name
from syft_flwr.clock import Clock, SystemClock
from syft_flwr.config import Settings
from syft_flwr.disk_errors import told
from syft_flwr.emails import normalise_all
from syft_flwr.errors import HOME_HINT, MalformedError, StoreError
from syft_flwr.fl_orchestrator.private_home import warn_of_problems
from syft_flwr.names import AppNames
from syft_flwr.private_files import make_private_folder
from syft_flwr.transport.base import Transport
from syft_flwr.transport.opening import open_transport


@dataclass
class Participant:
    """The participant for which this process acts. :func:`open_participant` opens one.

    Args:
        settings: the resolved settings; ``email`` must be set.
        transport: the open transport of this participant.
        in_process: run the app of a data owner in this process instead of a worker, for tests.
        clock: the clock, which tests replace.

    Raises:
        ConfigError: ``email`` is not set.
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
        """Return the home, the private folder with keys and databases; never a synced folder."""
        return Path(self.settings.require("home"))

    def names(self, app_name: str) -> AppNames:
        """Return the names of the shared files of an app; ConfigError for an invalid name of the app."""
        return AppNames(normalise_app_name(app_name))

    def endpoint(self, app_name: str, trust: Trust) -> Endpoint:
        """Return the endpoint that exchanges messages of one app for this participant."""
        return Endpoint(self.transport, trust, self.names(app_name), self.settings.encryption, self.clock)

    def app_home(self, app_name: str) -> Path:
        """Return the folder with the databases of one app; create it if it is missing, StoreError if that fails."""
        folder = self.home / "apps" / normalise_app_name(app_name)
        try:
            make_private_folder(folder)
        except OSError as error:
            raise StoreError(
                f"{error.filename or folder} cannot be created: {error.strerror}", hint=HOME_HINT
            ) from error
        return folder

    @told()
    def open_trust(self, app_name: str = "") -> Trust:
        """Open the keys of this participant and its pinned peers. The first call creates the keys.

        With ``app_name``, for a process that takes part in a run: also look whether another machine does, too.

        Raises:
            StoreError: the key file or the database cannot be used, or another machine has the place of this one.
        """
        private = identity_file.load_or_create(self.home, lambda: Identity.generate().private_bytes)
        try:
            identity = Identity.decode(private)
        except MalformedError as error:
            raise identity_file.unusable_key_file(self.home, error) from error
        peers = Peers(self.home / "peers.db")
        trust = Trust(self.transport, self.email, identity, peers, self.clock, self.home)
        try:
            if app_name:
                trust.claim(self.names(app_name))
        except BaseException:
            trust.close()
            raise
        return trust


@told()
def open_participant(settings: Settings, *, peers: Iterable[str] = (), live: bool = True) -> Participant:
    """Open the participant that the settings describe.

    Args:
        settings: the resolved settings.
        peers: the emails of its peers; by default from the settings.
        live: watch the storage for new files. False is for short commands, which read the storage on each call.

    Raises:
        ConfigError: the email or a folder is not set.
        TransportError: the transport cannot be opened, for example because a login is missing.
    """
    limit_threads(settings.threads if settings.explicit("threads") else None)
    if live and settings.home:
        warn_of_problems(settings.home)
    transport = open_transport(settings, peers=normalise_all(peers) or _peers_of(settings), live=live)
    return Participant(settings, transport)


def require_participant(client: object, what: str) -> None:
    """Raise TypeError if the argument ``client`` is neither None nor a participant, for example a client of syft_core."""
    if client is not None and not isinstance(client, Participant):
        raise TypeError(
            f"{what}: client is a {type(client).__name__}, not a Participant; leave it out to use the settings, "
            "or pass open_participant(load_settings())"
        )


def _peers_of(settings: Settings) -> Collection[str]:
    """Return the peers of a participant: the datasites for an aggregator, the aggregator for a datasite."""
    if settings.email == settings.aggregator:
        return settings.datasites
    return [settings.aggregator] if settings.aggregator else []


@contextmanager
def open_trust(settings: Settings) -> Iterator[Trust]:
    """Open the keys and the pinned peers of a participant for a short command."""
    participant = open_participant(settings, live=False)
    try:
        with participant.open_trust() as trust:
            yield trust
    finally:
        participant.transport.close()
