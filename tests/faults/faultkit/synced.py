"""A machine with SyftBox folders for each participant. The emulator synchronises them as SyftBox does.

A test writes, reads and deletes a file on the machine of its writer, and the other machines get the change later.
"""

import contextlib
from collections.abc import Collection
from pathlib import Path
from types import TracebackType
from typing import Self

from faultkit.storage import POLL_INTERVAL, carries_message, files_below
from waiting import PATIENCE

from syft_flwr.emulators.syftbox import SyftBoxNetwork, SyncSettings
from syft_flwr.emulators.syftbox.sync_names import Marker, marked
from syft_flwr.names import is_conflict_copy, writer_of
from syft_flwr.transport.syftbox import SyftBoxTransport

#: Seconds between two scans of a sync client, in place of the 5 s of SyftBox.
CYCLE = 0.2


class SyncedStorage:
    """A storage of synchronised folders; see :class:`faultkit.storage.Storage`. It runs from its entry to its exit.

    Args:
        root: folder for the machines.
        emails: the participants.
        workers: whether apps run in processes of their own.
    """

    absence_withdraws = False

    def __init__(self, root: Path, emails: Collection[str], *, workers: bool = False) -> None:
        self.workers = workers
        self.network = SyftBoxNetwork(
            root, emails, settings=SyncSettings(faithful=True, debounce=0, scan_interval=CYCLE)
        )
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
        return SyftBoxTransport(self.network[email].data_dir, email, poll_interval=POLL_INTERVAL)

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

    def left_over(self) -> list[str]:
        self.settle()
        found = {name for email in self.network.participants for name in self._at(email) if carries_message(name)}
        # A client can rename a file after its participant has ended. The next start, or gc, deletes such copies.
        return sorted(name for name in found if not is_conflict_copy(name.rpartition("/")[2]))

    def _at(self, email: str) -> list[str]:
        return files_below(self.network[email].datasites)
