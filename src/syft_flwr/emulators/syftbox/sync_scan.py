"""The scan part of a sync client: compare all files with the server every few seconds, and synchronise them.

Rules, as in SyftBox's ``internal/client/sync``:

* For each file the scan compares three versions: local, on the server, and last synchronised (``reconcile`` in
  ``sync_engine.go``).
* Empty files are skipped: they are not uploaded and do not count as deleted.
* A file that the server refuses is renamed to ``.rejected`` (``sync_marker.go``).
* If a file changed both locally and on the server, the local one is renamed to ``.conflict``. The next scan downloads
  the server's version.
* Only scans carry deletions. After a refused deletion, the next scan downloads the file again
  (``handleDeleteResult``).
* Folders that become empty through a received deletion are removed (``cleanupEmptyParentDirs``).
"""

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import Enum, auto

from syft_flwr.clock import Clock
from syft_flwr.emulators.syftbox.cache_server import Version
from syft_flwr.emulators.syftbox.link import Link
from syft_flwr.emulators.syftbox.replica import LastSynced, Replica
from syft_flwr.emulators.syftbox.sync_names import Marker, marked, scan_order
from syft_flwr.emulators.syftbox.traffic import How, SyncOutcome
from syft_flwr.emulators.syftbox.tree import Signature, chunks
from syft_flwr.errors import RefusedError, TransportError


class SyncAction(Enum):
    KEEP = auto()
    ADOPT = auto()
    FORGET = auto()
    UPLOAD = auto()
    DOWNLOAD = auto()
    DELETE_REMOTE = auto()
    DELETE_LOCAL = auto()
    CONFLICT = auto()


def decide(local: str | None, remote: str | None, known: str | None) -> SyncAction:
    """Return the action for one file.

    Args:
        local: etag of the participant's file; None if it is missing.
        remote: etag of the server's version; None if the participant cannot see one.
        known: etag of the last synchronised version; None if there was none.
    """
    if local == remote:
        if local == known:
            return SyncAction.KEEP
        return SyncAction.FORGET if local is None else SyncAction.ADOPT
    changed_here = local not in (None, known)
    changed_there = remote not in (None, known)
    if changed_here:
        return SyncAction.CONFLICT if changed_there else SyncAction.UPLOAD
    if changed_there:
        return SyncAction.DOWNLOAD
    return SyncAction.DELETE_REMOTE if local is None else SyncAction.DELETE_LOCAL


@dataclass(frozen=True, slots=True)
class Step:
    """The action planned for one file, with the state that it was planned from.

    Most actions check first that this state is unchanged.
    """

    action: SyncAction
    name: str
    signature: Signature | None
    version: Version | None
    known: LastSynced | None


class SyncScan:
    """Synchronises one participant with the server. Thread-safe: only one run is active at a time."""

    def __init__(self, replica: Replica, link: Link, clock: Clock) -> None:
        self._replica = replica
        self._link = link
        self._clock = clock
        self._running = threading.Lock()
        self._actions: dict[SyncAction, Callable[[Step], None]] = {
            SyncAction.ADOPT: self._adopt,
            SyncAction.FORGET: self._forget,
            SyncAction.UPLOAD: self._upload,
            SyncAction.DOWNLOAD: self._download,
            SyncAction.DELETE_REMOTE: self._delete_remote,
            SyncAction.DELETE_LOCAL: self._delete_local,
            SyncAction.CONFLICT: self._conflict,
        }

    def run(self, *, own_datasite_only: bool = False) -> int:
        """Compare all files with the server and synchronise them; return the number of actions."""
        prefix = f"{self._replica.email}/" if own_datasite_only else ""
        with self._running:
            if not self._replica.is_online:
                return 0
            try:
                steps = [step for step in self._plan() if step.name.startswith(prefix)]
            except TransportError as error:
                self._replica.complain("", error)
                return 0
            return sum(map(self._perform, self._ordered(steps)))

    def _plan(self) -> Iterator[Step]:
        replica = self._replica
        view = replica.server.view(replica.email)
        local = dict(replica.tree.walk())
        with replica.lock:
            journal = dict(replica.journal)
        for name in dict.fromkeys((*local, *view.versions, *journal)):
            signature, version, known = local.get(name), view.versions.get(name), journal.get(name)
            if name in view.in_transit or (signature and not signature.size):
                continue
            if signature is None:
                etag = None
            elif known and known.signature == signature:
                etag = known.etag
            elif known or version:
                etag = replica.hash(name)
                if etag is None:
                    continue
            else:
                # A new file needs no etag: the upload computes it. A refused one waits until its marker is gone.
                if not replica.is_rejected(name):
                    yield Step(SyncAction.UPLOAD, name, signature, None, None)
                continue
            action = decide(etag, version.etag if version else None, known.etag if known else None)
            if action is not SyncAction.KEEP:
                yield Step(action, name, signature, version, known)
            elif signature and known and known.signature != signature:
                replica.refresh(name, known, signature)

    def _ordered(self, steps: list[Step]) -> list[Step]:
        def rank(step: Step) -> tuple[int, str]:
            return scan_order(step.name, step.version.size if step.version else 0, self._replica.email)

        return self._link.shuffled(sorted(steps, key=rank))

    def _perform(self, step: Step) -> int:
        try:
            self._actions[step.action](step)
        except TransportError as error:
            # The next scan tries again. A failure must not count as an action, or settle() would never end.
            self._replica.complain(step.name, error)
            return 0
        return 1

    def _is_still_so(self, step: Step) -> bool:
        """Return whether the state of a step is unchanged; if not, the next scan decides. The caller holds the lock."""
        replica = self._replica
        return (
            replica.journal.get(step.name) is step.known
            and replica.tree.stat(step.name) == step.signature
            and replica.server.visible(replica.email, step.name) is step.version
        )

    def _upload(self, step: Step) -> None:
        replica, name = self._replica, step.name
        with replica.tree.open(name) as file:
            signature = Signature.of_file(file)
            try:
                etag, version = replica.server.upload(replica.email, name, chunks(file, signature.size))
            except RefusedError:
                replica.set_aside_refused(name, signature.size, How.SCAN)
                return
        with replica.lock:
            replica.remember(name, etag, signature)
        if version:
            replica.record(name, version.size, How.SCAN, SyncOutcome.ACCEPTED)

    def _download(self, step: Step) -> None:
        replica, version = self._replica, step.version
        if version is None:
            return
        # Copying a large file takes long, so only the final rename holds the lock.
        with replica.server.open(version) as content, replica.tree.stage(step.name) as staged:
            staged.write_all(chunks(content, version.size))
            with replica.lock:
                if not self._is_still_so(step):
                    return
                replica.remember(step.name, version.etag, staged.commit())
        replica.record_received(step.name, version.size, How.SCAN, SyncOutcome.DELIVERED, version.sender)

    def _delete_remote(self, step: Step) -> None:
        replica = self._replica
        with replica.lock:
            if not self._is_still_so(step):
                return
            # The entry goes in both cases: after a refused deletion the next scan downloads the file again.
            del replica.journal[step.name]
            try:
                replica.server.delete(replica.email, step.name)
                outcome = SyncOutcome.DELETED
            except RefusedError:
                outcome = SyncOutcome.REFUSED
        replica.record(step.name, 0, How.SCAN, outcome)

    def _delete_local(self, step: Step) -> None:
        replica = self._replica
        with replica.lock:
            if not self._is_still_so(step):
                return
            replica.tree.remove(step.name, prune=replica.settings.prune)
            del replica.journal[step.name]
        replica.record_received(step.name, 0, How.SCAN, SyncOutcome.DELETED)

    def _conflict(self, step: Step) -> None:
        replica, name = self._replica, step.name
        with replica.lock:
            if not self._is_still_so(step):
                return
            marker = marked(name, Marker.CONFLICT)
            if replica.tree.stat(marker):
                replica.tree.rename(marker, marked(name, Marker.CONFLICT, self._clock.now()))
            replica.tree.rename(name, marker)
            replica.journal.pop(name, None)
        replica.record(name, step.signature.size if step.signature else 0, How.SCAN, SyncOutcome.CONFLICT)

    def _adopt(self, step: Step) -> None:
        with self._replica.lock:
            if self._is_still_so(step) and step.version and step.signature:
                self._replica.remember(step.name, step.version.etag, step.signature)

    def _forget(self, step: Step) -> None:
        with self._replica.lock:
            if self._is_still_so(step):
                del self._replica.journal[step.name]
