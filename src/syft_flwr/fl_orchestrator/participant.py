"""One participant on this machine: its email, its end of the transport, and its own state outside every synced folder."""

from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from loguru import logger

from syft_flwr._crypto.keys import Identity
from syft_flwr._messaging.endpoint import Endpoint
from syft_flwr._messaging.trust import Trust
from syft_flwr._store import identity_file
from syft_flwr._store.peers import Peers
from syft_flwr.clock import Clock, SystemClock
from syft_flwr.config import Settings
from syft_flwr.emails import normalise, normalise_all
from syft_flwr.errors import ConfigError, MalformedError, StoreError
from syft_flwr.names import AppNames, normalise_app_name
from syft_flwr.transport.base import Transport
from syft_flwr.transport.opening import TransportConfig, open_gdrive


@dataclass
class Participant:
    """Who this process acts for. Built by :func:`open_participant`, or by hand for tests.

    Args:
        email: the participant, normalised.
        transport: its end of the shared storage.
        home: its own state (keys, databases); never a synced folder.
        transport_config: how a worker process opens the same transport; None keeps the app in this process.
        single_process: no other process can open the transport; a worker gets a folder of this machine instead.
        encryption: seal every body. Off on one side only is an error, never a fallback.
        msg_timeout: seconds to wait for an answer when the caller names no time.
        msg_timeout_overrides: the user set ``msg_timeout``, so it also stands in for the caller's time.
        share_tracebacks: send the traceback of a failed app to the aggregator.
        min_replies: the share of a round's messages that must be answered before the round may be closed.
        grace: seconds that the others have then.
        nodes: which data owners the grid shows, ``all`` or those ``online``.
        journal_limit: bytes of answers that an aggregator keeps, to take up its run after a crash.
    """

    email: str
    transport: Transport
    home: Path
    transport_config: TransportConfig | None = None
    single_process: bool = False
    encryption: bool = True
    msg_timeout: float = 120.0
    msg_timeout_overrides: bool = False
    share_tracebacks: bool = False
    min_replies: float = 1.0
    grace: float = 60.0
    nodes: str = "all"
    journal_limit: int = 10_000_000_000
    clock: Clock = field(default_factory=SystemClock)

    def __post_init__(self) -> None:
        self.email = normalise(self.email)
        synced = self.transport_config.data_dir.resolve() if self.transport_config else None
        if synced and self.home.resolve().is_relative_to(synced / "datasites"):
            raise ConfigError(
                f"home: {self.home} lies in a synced folder, and private keys would leave this machine",
                hint="Set SYFT_FLWR_HOME to a folder outside the SyftBox data folder.",
            )

    def names(self, app_name: str) -> AppNames:
        return AppNames(normalise_app_name(app_name))

    def endpoint(self, app_name: str, trust: Trust) -> Endpoint:
        """Where this participant exchanges messages of an app."""
        return Endpoint(self.transport, trust, self.names(app_name), self.encryption, self.clock)

    def app_home(self, app_name: str) -> Path:
        """The folder of one app's databases."""
        folder = self.home / "apps" / normalise_app_name(app_name)
        # One by one: with ``parents``, only the last would get the mode.
        for path in (self.home, folder.parent, folder):
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
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
        TransportError: the account in the drive cannot be used.
    """
    email, home = str(settings.require("email")), Path(settings.require("home"))
    config = None
    if settings.transport == "syftbox":
        config = _syftbox(settings, email)
        transport = config.open()
    else:
        transport = open_gdrive(
            email,
            home,
            peers=normalise_all(peers) or _peers_of(settings),
            token_path=settings.gdrive_token_path,
            api=settings.gdrive_api,
            poll_interval=settings.poll_interval,
            live=live,
        )
    return Participant(
        email=email,
        transport=transport,
        home=home,
        transport_config=config,
        single_process=config is None,
        encryption=settings.encryption,
        msg_timeout=settings.msg_timeout,
        msg_timeout_overrides=settings.explicit("msg_timeout"),
        share_tracebacks=settings.share_tracebacks,
        min_replies=settings.min_replies,
        grace=settings.grace,
        nodes=settings.nodes,
        journal_limit=settings.journal_limit,
    )


def _syftbox(settings: Settings, email: str) -> TransportConfig:
    data_dir = Path(settings.require("data_dir"))
    if not data_dir.is_dir():
        logger.warning(
            "data_dir {} is not there and is made; if a SyftBox client runs here, correct data_dir in its config",
            data_dir,
        )
    return TransportConfig(kind="syftbox", email=email, data_dir=data_dir, poll_interval=settings.poll_interval)


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
