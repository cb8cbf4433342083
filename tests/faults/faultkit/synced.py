"""A machine with SyftBox folders for each participant. The emulator synchronises them as SyftBox does.

A test writes, reads and deletes a file on the machine of its writer, and the other machines get the change later.
"""

import contextlib
from collections.abc import Collection, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from faithful_settings import faithful_settings
from faultkit.storage import POLL_INTERVAL
from leftovers import assert_nothing_left, files_below
from waiting import PATIENCE

from syft_flwr.emulators.syftbox import SyftBoxNetwork, SyncSettings
from syft_flwr.emulators.syftbox.sync_names import Marker, marked
from syft_flwr.fl_orchestrator.participant import Participant
from syft_flwr.names import writer_of
from syft_flwr.transport._syftbox.daemon import runs_on
from syft_flwr.transport.syftbox import SyftBoxTransport


class SyncedStorage:
    """A storage of synchronised folders; see :class:`faultkit.storage.Storage`. It runs from its entry to its exit.

    Args:
        root: folder for the machines.
        emails: the participants.
        workers: whether apps run in processes of their own.
        settings: the behaviour of the sync clients; by default that of :func:`faithful_settings`.
    """

    absence_withdraws = False

    def __init__(
        self, root: Path, emails: Collection[str], *, workers: bool = False, settings: SyncSettings | None = None
    ) -> None:
        self.workers = workers
        self.network = SyftBoxNetwork(root, emails, settings=settings or faithful_settings(root.parent))
        #: Transports for the actions of the test, so that permission files are written too.
        self._hands: dict[str, SyftBoxTransport] = {}

    def __enter__(self) -> Self:
        self.network.start()
        self.settle()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.network.stop()
        for hand in self._hands.values():
            hand.close()

    def open(self, email: str) -> SyftBoxTransport:
        data_dir = self.network[email].data_dir
        return SyftBoxTransport(data_dir, email, poll_interval=POLL_INTERVAL, synced=runs_on(data_dir))

    def path(self, name: str, email: str = "") -> Path:
        """Return the path of a file on the machine of a participant, by default of its writer."""
        return self.network[email or writer_of(name)].datasites / name

    def plant(self, name: str, data: bytes) -> None:
        writer = writer_of(name)
        if writer not in self._hands:
            self._hands[writer] = self.open(writer)
        self._hands[writer].put(name, data, readers=["*"], replace=True)

    def take(self, name: str) -> bytes:
        data = self.path(name).read_bytes()
        self.path(name).unlink()
        return data

    def read(self, name: str, email: str = "") -> bytes:
        """Return the content on the machine of a participant, by default of the writer; empty if the file is missing."""
        with contextlib.suppress(FileNotFoundError):
            return self.path(name, email).read_bytes()
        return b""

    def names(self) -> list[str]:
        return sorted(
            name for email in self.network.participants for name in self._at(email) if writer_of(name) == email
        )

    def refuse(self, name: str) -> None:
        self.path(name).rename(self.path(marked(name, Marker.REJECTED)))
        self.settle()

    def settle(self) -> None:
        self.network.settle(PATIENCE)

    def assert_nothing_left(self, participants: Sequence[Participant]) -> None:
        assert_nothing_left(self.network, participants)

    def _at(self, email: str) -> list[str]:
        return files_below(self.network[email].datasites)
