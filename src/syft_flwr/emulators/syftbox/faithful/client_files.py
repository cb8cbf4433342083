"""The files of one client with its journal, its status and its records, for its cycle and its pushes."""

import threading
from pathlib import Path

from syft_flwr.emulators.syftbox.faithful.machinery import Machinery
from syft_flwr.emulators.syftbox.faithful.subscriptions import Subscriptions
from syft_flwr.emulators.syftbox.faithful.sync_status import SyncStatus
from syft_flwr.emulators.syftbox.participant_home import ParticipantHome
from syft_flwr.emulators.syftbox.sync_names import Marker, marked
from syft_flwr.emulators.syftbox.traffic import How, Record, SyncOutcome
from syft_flwr.emulators.syftbox.tree import Tree
from syft_flwr.errors import TransportError


class MarkFailedError(Exception):
    """A file could not be renamed to its marker, because it is gone or the disk refused it."""


class SyncJournal:
    """The etag of each file at its last synchronisation. It survives the client. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._etags: dict[str, str] = {}

    def get(self, name: str) -> str | None:
        with self._lock:
            return self._etags.get(name)

    def put(self, name: str, etag: str) -> None:
        with self._lock:
            self._etags[name] = etag

    def remove(self, name: str) -> None:
        with self._lock:
            self._etags.pop(name, None)

    def snapshot(self) -> dict[str, str]:
        with self._lock:
            return dict(self._etags)

    def load(self, etags: dict[str, str]) -> None:
        with self._lock:
            self._etags = dict(etags)


class ClientFiles:
    """The state of one start of a client, shared by its cycle and its pushes.

    Args:
        participant: the folders of the client.
        journal: survives this start.
        machinery: the parts that all share.
    """

    def __init__(
        self,
        participant: ParticipantHome,
        journal: SyncJournal,
        machinery: Machinery,
    ) -> None:
        self.email = participant.email
        self.settings = machinery.settings
        self.tree = Tree(participant.datasites, participant.staging)
        self.journal = journal
        self.status = SyncStatus()
        self._subscriptions = Subscriptions(participant) if machinery.settings.subscriptions else None
        self._machinery = machinery
        self._own_events: dict[str, float] = {}

    @property
    def root(self) -> Path:
        return self.tree.root

    def syncs(self, name: str) -> bool:
        """Return whether the subscriptions allow this file; main has no subscriptions."""
        return self._subscriptions is None or self._subscriptions.allow(name)

    def blocked(self, name: str) -> bool:
        """Return whether the subscriptions want this file deleted from the disk."""
        return self._subscriptions is not None and self._subscriptions.block(name)

    def expect_own_event(self, name: str) -> None:
        """Make the watcher ignore one event of a file that the client is about to write (``IgnoreOnce``)."""
        self._own_events[name] = self._machinery.now() + self._machinery.durations.ignored

    def takes_own_event(self, name: str) -> bool:
        """Return whether the watcher must ignore this event."""
        due = self._own_events.pop(name, None)
        return due is not None and self._machinery.now() <= due

    def mark(self, name: str, marker: Marker) -> None:
        """Rename a file to its marker. An earlier marker gets the time into its name (``SetMarker``).

        Raises:
            MarkFailedError: the file is gone, or the disk refused it.
        """
        target = marked(name, marker)
        try:
            if self.tree.stat(name) is None:
                raise MarkFailedError
            if self.tree.stat(target) is not None:
                self.tree.rename(target, marked(name, marker, self._machinery.waits.clock.now()))
            self.tree.rename(name, target)
        except (OSError, TransportError) as error:
            raise MarkFailedError from error
        self.status.mark(name, marker)

    def set_aside(self, name: str, marker: Marker, how: How, outcome: SyncOutcome) -> None:
        """Rename a file to its marker and record the outcome. If that fails, it counts as a strike."""
        self.status.begin(name)
        try:
            self.mark(name, marker)
        except MarkFailedError:
            self.status.strike(name)
            return
        self.record(name, 0, how, outcome)

    def has_marker(self, name: str, marker: Marker) -> bool:
        """Return whether a marker of this file exists, also one with a time in its name."""
        folder, _, leaf = name.rpartition("/")
        stem, dot, suffix = leaf.rpartition(".")
        start, end = f"{stem if dot else leaf}.{marker}", f".{suffix}" if dot else ""
        try:
            found = [path.name for path in (self.root / folder).iterdir()]
        except OSError:
            return False
        return any(each.startswith(start) and each.endswith(end) for each in found)

    def record(self, name: str, size: int, how: How, outcome: SyncOutcome, *, sender: str | None = None) -> None:
        """Add a change to the traffic: one by this client, or one that it received from ``sender``."""
        mine = sender is None
        self._machinery.traffic.add(
            Record(name, size, sender or (self.email if mine else ""), "" if mine else self.email, how, outcome)
        )
