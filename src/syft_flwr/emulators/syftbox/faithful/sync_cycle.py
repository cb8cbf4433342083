"""One cycle of a client: the server's view, then the disk, then the journal, then the actions (``runFullSync``).

The three snapshots are taken one after the other and are not checked again. So a push between them looks like a
deletion or a conflict.
"""

import contextlib
import threading
from collections.abc import Callable

from syft_flwr.emulators.syftbox.faithful.client_files import ClientFiles
from syft_flwr.emulators.syftbox.faithful.disk_walk import DiskWalk, LocalFile
from syft_flwr.emulators.syftbox.faithful.lives import Life, ServerDownError
from syft_flwr.emulators.syftbox.faithful.machinery import Machinery
from syft_flwr.emulators.syftbox.faithful.object_store import StoredObject
from syft_flwr.emulators.syftbox.faithful.reconcile import reconcile
from syft_flwr.emulators.syftbox.faithful.syft_server import SyftServer
from syft_flwr.emulators.syftbox.faithful.transfers import Transfers
from syft_flwr.emulators.syftbox.faithful.windows import Window
from syft_flwr.emulators.syftbox.sync_names import unmarked

#: Bytes that must be free on the disk of a client; below it nothing is synchronised.
MIN_FREE = 5 << 30
_ATTEMPTS = 4


class DiskFullError(Exception):
    """Less than 5 GiB are free on the client's disk."""


class SyncCycle:
    """The cycles of one start of a client. Only one runs at a time.

    Attributes:
        count: the cycles that ended, also without result.
    """

    def __init__(
        self,
        files: ClientFiles,
        life: Life,
        machinery: Machinery,
        *,
        server: SyftServer,
        transfers: Transfers,
        free: Callable[[], int],
    ) -> None:
        self.count = 0
        self._files = files
        self._life = life
        self._server = server
        self._transfers = transfers
        self._machinery = machinery
        self._free = free
        self._walk = DiskWalk(files.root)
        self._running = threading.Lock()
        self._is_first = True

    def run(self, wanted: Callable[[], bool] = lambda: True) -> int:
        """Run one cycle, after the end of a running one; return the number of its actions.

        Args:
            wanted: asked when the running one has ended; if it returns False, there is no cycle.

        Raises:
            DiskFullError: too little space is free.
            ServerDownError: the server cannot be reached.
            WalkAbandonedError: a file vanished while the disk was walked.
            LifeEndedError: the client was stopped.
        """
        with self._running:
            if not wanted():
                return 0
            try:
                return self._run()
            finally:
                self.count += 1
                self._machinery.waits.notify()

    def _run(self) -> int:
        files = self._files
        self._stand(Window.BEFORE_CYCLE)
        if self._free() <= MIN_FREE:
            raise DiskFullError
        remote = self._view()
        self._stand(Window.AFTER_VIEW)
        local = self._walk.run(lambda name: self._stand(Window.IN_WALK, name))
        self._stand(Window.AFTER_WALK)
        self._refresh_markers(local)
        self._rebuild_journal(local, remote)
        journal = files.journal.snapshot()
        self._stand(Window.AFTER_JOURNAL)
        self._prune_blocked(local, journal)
        remote = {name: seen for name, seen in remote.items() if files.syncs(name)}
        plan = reconcile(local, remote, journal, lambda name: files.status.is_left_out(name) or not files.syncs(name))
        self._transfers.perform(plan, local, remote)
        self._life.check()
        self._is_first = False
        return len(plan)

    def _view(self) -> dict[str, StoredObject]:
        for _ in range(_ATTEMPTS - 1):
            try:
                return self._server.view(self._files.email)
            except ServerDownError:
                self._machinery.waits.pause(self._machinery.durations.retry, self._life)
        return self._server.view(self._files.email)

    def _refresh_markers(self, local: dict[str, LocalFile]) -> None:
        """Read the markers on disk in the first cycle; later forget those that are gone."""
        status = self._files.status
        if self._is_first:
            for name in local:
                original, marker = unmarked(name)
                if marker:
                    status.mark(original, marker)
            return
        for name, marker in status.marked_files().items():
            if not self._files.has_marker(name, marker):
                status.forget(name)

    def _rebuild_journal(self, local: dict[str, LocalFile], remote: dict[str, StoredObject]) -> None:
        """Fill an empty journal with all files that are equal here and there."""
        journal = self._files.journal
        if journal.snapshot() or not local or not remote:
            return
        for name in local.keys() & remote.keys():
            if local[name].etag == remote[name].etag:
                journal.put(name, local[name].etag)

    def _prune_blocked(self, local: dict[str, LocalFile], journal: dict[str, str]) -> None:
        """Delete the files of others that the subscriptions block."""
        files = self._files
        for name in [name for name in local if files.blocked(name)]:
            with contextlib.suppress(OSError):
                (files.root / name).unlink()
            del local[name]
            journal.pop(name, None)
            files.journal.remove(name)
            files.status.forget(name)

    def _stand(self, window: Window, name: str = "") -> None:
        self._machinery.windows.stand(self._files.email, window, name, self._life)
