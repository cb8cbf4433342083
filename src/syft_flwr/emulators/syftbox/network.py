"""The network of the emulator: it synchronises the folders of all participants with threads of this process."""

import threading
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Self

from syft_flwr.clock import Clock, SystemClock
from syft_flwr.emails import normalise, normalise_all
from syft_flwr.emulators.syftbox.faithful.faithful_network import FaithfulNetwork
from syft_flwr.emulators.syftbox.guarded_network import GuardedNetwork
from syft_flwr.emulators.syftbox.link import Link
from syft_flwr.emulators.syftbox.participant_home import ParticipantHome
from syft_flwr.emulators.syftbox.sync_settings import SyncSettings
from syft_flwr.emulators.syftbox.traffic import Traffic
from syft_flwr.errors import ConfigError

_SERVER_FOLDER = ".server"


class SyftBoxNetwork:
    """An emulated SyftBox network of several participants on one machine.

    Every participant gets the folder ``<root>/<email>/`` with a client configuration and a data folder. Only this
    network copies files between those folders. Programs may also write files before :meth:`start` and after
    :meth:`stop`. A later network on the same ``root``, also in another process, continues from the stored state.

    Args:
        root: folder for the files of all participants; made if missing.
        emails: the email of each participant.
        settings: the behaviour of the sync clients.
        link: the network conditions between the participants.
        clock: sets the pace of scans, debounce and delays. Timeouts of the methods are always real seconds.

    Raises:
        ConfigError: ``emails`` is empty, lists a participant twice, or has an invalid email.
    """

    def __init__(
        self,
        root: Path,
        emails: Iterable[str],
        *,
        settings: SyncSettings | None = None,
        link: Link | None = None,
        clock: Clock | None = None,
    ) -> None:
        self.root = root.resolve()
        self.link = link or Link()
        self.traffic = Traffic()
        self.settings = settings or SyncSettings()
        self._clock = clock or SystemClock()
        self._lock = threading.Lock()
        self._running = False
        self.participants = {email: ParticipantHome(email, self.root / email) for email in normalise_all(emails)}
        if not self.participants:
            raise ConfigError(
                "a SyftBox network needs at least one participant", hint="Pass the email of each participant."
            )
        for participant in self.participants.values():
            participant.set_up(faithful=self.settings.faithful)
        mode = FaithfulNetwork if self.settings.faithful else GuardedNetwork
        self._mode: FaithfulNetwork | GuardedNetwork = mode(
            self.root / _SERVER_FOLDER,
            self.participants,
            settings=self.settings,
            link=self.link,
            traffic=self.traffic,
            clock=self._clock,
        )

    def __getitem__(self, email: str) -> ParticipantHome:
        return self.participants[normalise(email)]

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def faithful(self) -> FaithfulNetwork:
        """Return the server, the store and the clients of faithful mode, with their hooks.

        Raises:
            ConfigError: the network is not in faithful mode.
        """
        if isinstance(self._mode, FaithfulNetwork):
            return self._mode
        raise ConfigError(
            "this SyftBox network is not in faithful mode", hint="Pass settings=SyncSettings(faithful=True)."
        )

    def start(self) -> None:
        """Synchronise all participants once, then watch and scan until :meth:`stop`.

        Raises:
            StoreError: the stored state of an earlier network is damaged.
            TransportError: the system has no file watches left.
        """
        with self._lock:
            if not self._running:
                self._mode.start()
                self._running = True

    def stop(self) -> None:
        """Stop all threads after their current task, and write the state for a later start."""
        with self._lock:
            if self._running:
                self._running = False
                self._mode.stop()

    def scan(self, *emails: str) -> int:
        """Scan for the named participants now, or for all if none is named; return the number of actions."""
        return self._mode.scan(map(normalise, emails or self.participants))

    def settle(self, timeout: float = 10.0) -> None:
        """Deliver all earlier writes to every online participant now, without waiting for the next regular scan.

        Raises:
            TransportError: changes were still under way after ``timeout`` seconds.
        """
        self._mode.settle(timeout)
