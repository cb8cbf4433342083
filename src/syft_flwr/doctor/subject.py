"""The subject of an examination: a participant on this machine, with all that several checks need.

A part that is missing raises :class:`BlockedError`. Its check is then skipped, because another check tells the cause.
"""

import shutil
import tempfile
import threading
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

from syft_flwr._crypto.keys import Identity
from syft_flwr._messaging.trust import Trust
from syft_flwr._store.peers import Peers
from syft_flwr.clock import Clock, SystemClock
from syft_flwr.config import TRANSPORTS, Settings, load_settings
from syft_flwr.errors import SyftFlwrError
from syft_flwr.locks import is_held
from syft_flwr.names import AppNames
from syft_flwr.transport.base import Transport
from syft_flwr.transport.opening import open_transport

PEERS_FILE = "peers.db"
#: Seconds in which another check opens the storage.
_PATIENCE = 15.0
_SIDES = {"server": "server.lock", "client": "client.lock"}


class BlockedError(Exception):
    """A check cannot be made, because something that it needs is missing. The text tells which."""


@dataclass
class Subject:
    """The participant that is examined. Checks in several threads use it; :meth:`close` ends its storage.

    Args:
        settings: its settings; None if they cannot be read.
        project: the folder of the project; None for the checks of the participant alone.
        error: why the settings of the project or of the participant cannot be read.
        clock: the clock.
    """

    settings: Settings | None
    project: Path | None = None
    error: SyftFlwrError | None = None
    clock: Clock = field(default_factory=SystemClock)

    def __post_init__(self) -> None:
        self._opening = threading.Lock()
        self._storage: Transport | SyftFlwrError | None = None
        self._scratch = ""
        self._closed = False

    @classmethod
    def load(cls, project: Path | None, role: str | None = None) -> "Subject":
        """Return the participant of this machine, with the settings of a project if they can be read."""
        try:
            return cls(load_settings(project, role=role), project)
        except SyftFlwrError as error:
            try:
                return cls(load_settings(role=role), project, error)
            except SyftFlwrError:
                return cls(None, project, error)

    @property
    def known(self) -> Settings:
        """Return the settings; BlockedError if they cannot be read."""
        if self.settings is None:
            raise BlockedError("the settings cannot be read")
        return self.settings

    @property
    def email(self) -> str:
        if not self.known.email:
            raise BlockedError("the email of this participant is not known")
        return self.known.email

    @property
    def home(self) -> Path:
        """Return the home of the participant, which need not exist."""
        if self.known.home is None:
            raise BlockedError("the email of this participant is not known, so its home is not known")
        return self.known.home

    @property
    def app(self) -> AppNames | None:
        return AppNames(self.known.app_name) if self.known.app_name else None

    @property
    def peers(self) -> list[str]:
        """Return the other participants of the project that this one exchanges messages with, sorted."""
        named = {*self.known.datasites, *filter(None, [self.known.aggregator])}
        if self.email in self.known.datasites and self.email != self.known.aggregator:
            named = set(filter(None, [self.known.aggregator]))
        return sorted(named - {self.email})

    @property
    def is_aggregator(self) -> bool:
        return self.known.aggregator == self.email and self.known.role != "client"

    def is_served(self, side: str) -> bool:
        """Return whether a ``server`` or a ``client`` of the app of the project runs on this machine."""
        name = self.known.app_name
        return name is not None and is_held(self.home / "apps" / name / _SIDES[side])

    @cached_property
    def identity(self) -> Identity:
        """Return the keys of this participant; BlockedError if they cannot be read now. No key is created."""
        path = self.home / "identity.key"
        try:
            return Identity.decode(path.read_bytes()[:4096])
        except (OSError, SyftFlwrError) as error:
            raise BlockedError(f"{path} cannot be read") from error

    def peers_database(self) -> Peers:
        """Open the pinned keys to read them only; the caller closes it.

        Raises:
            BlockedError: there is none yet.
            StoreError: it cannot be read.
        """
        path = self.home / PEERS_FILE
        if not path.exists():
            raise BlockedError("this participant has not been started yet, so it knows no peer")
        return Peers(path, read_only=True)

    def trust(self) -> Trust:
        """Open the pinned keys with the storage, to read both; the caller closes it."""
        identity, storage = self.identity, self.storage()
        return Trust(storage, self.email, identity, self.peers_database(), self.clock)

    def storage(self) -> Transport:
        """Return the transport, which the first call opens; BlockedError if it cannot be opened."""
        settings = self.known
        for name in TRANSPORTS[settings.transport].required:
            folder = settings.get(name)
            if folder is None or (isinstance(folder, Path) and not folder.is_dir()):
                raise BlockedError(f"{name} is not set, or is no folder")
        if not self._opening.acquire(timeout=_PATIENCE):
            raise BlockedError("the storage does not respond")
        try:
            if self._closed:
                raise BlockedError("the examination has ended")
            if self._storage is None:
                try:
                    self._storage = open_transport(self._apart(settings), peers=self.peers, live=False)
                except SyftFlwrError as error:
                    self._storage = error
        finally:
            self._opening.release()
        if isinstance(self._storage, SyftFlwrError):
            raise BlockedError("the storage cannot be opened") from self._storage
        return self._storage

    def _apart(self, settings: Settings) -> Settings:
        """Return settings in which a transport keeps its state in a temporary home: the real one may be in use."""
        self.email, self.home  # noqa: B018 - raise BlockedError
        self._scratch = self._scratch or tempfile.mkdtemp(prefix="syft-flwr-doctor-")
        return replace(settings, home=Path(self._scratch), gdrive_token_path=self.token_path)

    @property
    def token_path(self) -> Path | None:
        """Return the file with the login to Google Drive; None if another source has the login."""
        stored = self.home / "gdrive_token.json"
        return self.known.gdrive_token_path or (stored if stored.exists() else None)

    def storage_error(self) -> SyftFlwrError | None:
        """Return why the storage cannot be opened; None if it can, or if something that it needs is missing."""
        try:
            self.storage()
        except BlockedError as error:
            return error.__cause__ if isinstance(error.__cause__, SyftFlwrError) else None
        return None

    def close(self) -> None:
        # A check that hangs in the storage must not hold up the end.
        if not self._opening.acquire(timeout=1.0):
            return
        try:
            self._closed = True
            if self._storage is not None and not isinstance(self._storage, SyftFlwrError):
                self._storage.close()
        finally:
            self._opening.release()
            if self._scratch:
                shutil.rmtree(self._scratch, ignore_errors=True)


def require_home(subject: Subject) -> Path:
    """Return the home of the participant; BlockedError if it does not exist yet."""
    if not subject.home.is_dir():
        raise BlockedError(f"{subject.home} does not exist yet; the first start creates it")
    return subject.home
