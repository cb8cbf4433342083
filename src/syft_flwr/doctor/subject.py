"""The subject of an examination: a participant on this machine, with all that several checks need.

A part that is missing raises :class:`BlockedError`. Its check is then skipped, because another check tells the cause. So
one cause is one problem.
"""

import shutil
import tempfile
import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

from syft_flwr._crypto.keys import Identity
from syft_flwr._messaging.trust import Trust
from syft_flwr._store.peers import Peers
from syft_flwr.clock import Clock, SystemClock
from syft_flwr.config import TRANSPORTS, Settings, load_settings
from syft_flwr.doctor.blocked import KEYS, PROJECT, ROLE, SETTINGS, SYFTBOX_FOLDER, BlockedError, not_started
from syft_flwr.doctor.drive_login import DriveFacts, look_at_drive
from syft_flwr.errors import SyftFlwrError
from syft_flwr.files import read_bounded
from syft_flwr.locks import is_held
from syft_flwr.names import AppNames
from syft_flwr.runs.listing import SIDES
from syft_flwr.transport.base import Transport
from syft_flwr.transport.opening import open_transport

if TYPE_CHECKING:
    from syft_flwr.fl_orchestrator.project import FlowerProject

T = TypeVar("T")

PEERS_FILE = "peers.db"
_STORAGE_CHECKS = {"syftbox": SYFTBOX_FOLDER, "p2p": "drive-login"}
_NO_PROJECT = "no project was named, and the current folder has none"
_NO_EMAIL = "the email of this participant is not known"


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
        #: Set when the examination is over, so that child processes of its checks end.
        self.ended = threading.Event()
        #: Whether nothing may be asked of another machine.
        self.offline = False
        #: Whether a process that reads the environment gets the same settings.
        self.is_of_environment = False
        self._guard = threading.Lock()
        self._made: dict[Callable[[Subject], Any], Future[Any]] = {}
        self._scratch = ""

    @classmethod
    def load(cls, project: Path | None, role: str | None = None) -> "Subject":
        """Return the participant of this machine, with the settings of a project if they can be read."""
        try:
            found = cls(load_settings(project, role=role), project)
            found.is_of_environment = role is None
        except SyftFlwrError as error:
            try:
                return cls(load_settings(role=role), project, error)
            except SyftFlwrError:
                return cls(None, project, error)
        return found

    @property
    def known(self) -> Settings:
        """Return the settings; BlockedError if they cannot be read."""
        if self.settings is None:
            raise BlockedError("the settings cannot be read", SETTINGS)
        return self.settings

    @property
    def email(self) -> str:
        if not self.known.email:
            raise BlockedError(_NO_EMAIL, SETTINGS)
        return self.known.email

    @property
    def home(self) -> Path:
        """Return the home of the participant, which need not exist."""
        if self.known.home is None:
            raise BlockedError(_NO_EMAIL, SETTINGS)
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
    def needed_app(self) -> AppNames:
        """Return the names of the app of the project; BlockedError if they or the participants are not known."""
        if not self.peers or self.app is None:
            if self.error:
                raise BlockedError("the settings of the project cannot be read", SETTINGS)
            raise BlockedError("the peers are not known", ROLE if self.project else PROJECT)
        return self.app

    @property
    def is_aggregator(self) -> bool:
        return self.known.aggregator == self.email and self.known.role != "client"

    def is_served(self, side: str) -> bool:
        """Return whether a ``server`` or a ``client`` of the app of the project runs on this machine."""
        return self.app is not None and is_held(self.lock_of(side))

    def lock_of(self, side: str) -> Path:
        """Return the lock file of a ``server`` or a ``client`` of the app of the project."""
        locks = {Path(each.lock).stem: each.lock for each in SIDES}
        return self.home / "apps" / (self.app or self.needed_app).app / locks[side]

    @cached_property
    def identity(self) -> Identity:
        """Return the keys of this participant; BlockedError if they cannot be read now. No key is created."""
        path = self.home / "identity.key"
        if not path.exists():
            raise not_started(self.home)
        try:
            return Identity.decode(read_bounded(path, 4096))
        except SyftFlwrError as error:
            raise BlockedError(f"{path} cannot be read", KEYS) from error

    def peers_database(self) -> Peers:
        """Open the pinned keys to read them only; the caller closes it.

        Raises:
            BlockedError: there is none yet.
            StoreError: it cannot be read.
        """
        path = self.home / PEERS_FILE
        if not path.exists():
            raise not_started(self.home)
        return Peers(path, read_only=True)

    def trust(self) -> Trust:
        """Open the pinned keys with the storage, to read both; the caller closes it."""
        identity, storage = self.identity, self.storage()
        return Trust(storage, self.email, identity, self.peers_database(), self.clock)

    def shared(self, make: "Callable[[Subject], T]") -> T:
        """Return the result of a function that several checks need. The first call makes it, the others wait for it."""
        with self._guard:
            is_first = make not in self._made
            result = self._made.setdefault(make, Future())
        if is_first:
            try:
                result.set_result(make(self))
            except BaseException as error:  # noqa: BLE001 - raised by each call
                result.set_exception(error)
        return cast("T", result.result())

    def storage(self) -> Transport:
        """Return the transport, which the first call opens; BlockedError if it cannot be opened."""
        return self.shared(_open_storage)

    def drive(self) -> DriveFacts:
        """Return the facts about the account of Google Drive, or raise why they are not known."""
        return self.shared(_look_at_drive)

    def apart(self) -> Settings:
        """Return settings in which a transport keeps its state in a temporary home: the real one may be in use."""
        token_path = self.token_path
        self._scratch = self._scratch or tempfile.mkdtemp(prefix="syft-flwr-doctor-")
        return replace(self.known, home=Path(self._scratch), gdrive_token_path=token_path)

    @property
    def token_path(self) -> Path | None:
        """Return the file with the login to Google Drive; None if another source has the login."""
        stored = self.home / "gdrive_token.json"
        return self.known.gdrive_token_path or (stored if stored.exists() else None)

    def project_files(self) -> "FlowerProject":
        """Return the project.

        Raises:
            BlockedError: no project was named, or the check of the settings tells why it cannot be read.
            ConfigError: it cannot be read.
        """
        return self.shared(_load_project)

    def close(self) -> None:
        with self._guard:
            opened = self._made.get(_open_storage)
        # A storage that is still being opened ends with this process.
        if opened is not None and opened.done() and opened.exception() is None:
            opened.result().close()
        if self._scratch:
            shutil.rmtree(self._scratch, ignore_errors=True)


def _open_storage(subject: Subject) -> Transport:
    settings = subject.known
    for name in TRANSPORTS[settings.transport].required:
        folder = settings.get(name)
        if folder is None or (isinstance(folder, Path) and not folder.is_dir()):
            raise BlockedError(f"{name} is not set, or is no folder", SYFTBOX_FOLDER if folder else SETTINGS)
    if settings.transport == "syftbox" and settings.data_dir and not (settings.data_dir / "datasites").is_dir():
        # To open the transport would create it.
        raise BlockedError("the SyftBox data folder has no folder datasites", SYFTBOX_FOLDER)
    if subject.offline and settings.transport != "syftbox":
        raise BlockedError("--offline leaves out the storage")
    try:
        if settings.transport == "p2p":
            # Its errors and its time limit are those of a check of its own.
            subject.drive()
        return open_transport(subject.apart(), peers=subject.peers, live=False)
    except SyftFlwrError as error:
        raise BlockedError("the storage cannot be opened", _STORAGE_CHECKS.get(settings.transport, "")) from error


def _look_at_drive(subject: Subject) -> DriveFacts:
    if subject.offline:
        raise BlockedError("--offline leaves out Google Drive")
    return look_at_drive(subject.known, subject.token_path, subject.email, subject.clock)


def _load_project(subject: Subject) -> "FlowerProject":
    if subject.project is None:
        raise BlockedError(_NO_PROJECT)
    # Here, because it loads Flower.
    from syft_flwr.fl_orchestrator.project import FlowerProject

    try:
        return FlowerProject.load(subject.project)
    except SyftFlwrError as error:
        if str(error) == str(subject.error):
            raise BlockedError("the project cannot be read", SETTINGS) from error
        raise


def require_home(subject: Subject) -> Path:
    """Return the home of the participant; BlockedError if it does not exist yet."""
    if not subject.home.is_dir():
        raise not_started(subject.home)
    return subject.home
