"""The actions of one cycle: uploads, downloads, deletions and conflicts, as in SyftBox's ``sync_engine_*.go``.

* Uploads and downloads run eight at a time, beside deletions and conflicts. All end before the cycle ends.
* Deletions at the server go in calls of up to 50 names, eight calls at a time. A call without a reply is a strike for
  all its names.
* A body has 30 s at the rate of the uplink, and a download 2 minutes. A failure is a strike.
* A refused upload is renamed to ``.rejected`` and leaves the journal. A conflict is renamed and stays in it.
* A refused deletion is a strike and leaves the journal, so that the file is downloaded again.
* A download is stored beside its place under ``<name>.tmp.<digits>``, and is renamed when it is complete.
"""

import contextlib
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from syft_flwr.emulators.syftbox.faithful.client_files import ClientFiles, MarkFailedError
from syft_flwr.emulators.syftbox.faithful.disk_walk import LocalFile
from syft_flwr.emulators.syftbox.faithful.emptied_folders import remove_emptied
from syft_flwr.emulators.syftbox.faithful.lives import Life, LifeEndedError
from syft_flwr.emulators.syftbox.faithful.machinery import Machinery
from syft_flwr.emulators.syftbox.faithful.object_store import StoredObject, StoreFailedError
from syft_flwr.emulators.syftbox.faithful.reconcile import Plan
from syft_flwr.emulators.syftbox.faithful.syft_server import SyftServer
from syft_flwr.emulators.syftbox.faithful.uplink import TooSlowError, Uplink
from syft_flwr.emulators.syftbox.faithful.windows import Window
from syft_flwr.emulators.syftbox.sync_names import Marker, is_realtime, scan_order
from syft_flwr.emulators.syftbox.traffic import How, SyncOutcome
from syft_flwr.emulators.syftbox.tree import Signature, chunks
from syft_flwr.errors import NotFoundError, RefusedError, TransportError

_AT_A_TIME = 8
_DELETIONS_OF_A_CALL = 50
# Bytes of a multipart form around the file.
_FORM = 300


class Transfers:
    """Performs the plans of one client.

    Args:
        files: the files, journal and status of the client.
        life: the life of the client.
        server: the server that the client talks to.
        uplink: the client's link to the server.
    """

    def __init__(
        self,
        files: ClientFiles,
        life: Life,
        machinery: Machinery,
        *,
        server: SyftServer,
        uplink: Uplink,
    ) -> None:
        self._files = files
        self._life = life
        self._server = server
        self._uplink = uplink
        self._windows = machinery.windows
        self._limit = machinery.durations.upload

    def perform(self, plan: Plan, local: Mapping[str, LocalFile], remote: Mapping[str, StoredObject]) -> None:
        """Perform all actions of a plan; return when the last one has ended."""
        for names in (plan.uploads, plan.downloads, plan.remote_deletions):
            for name in names:
                self._files.status.begin(name)
        downloads = sorted(plan.downloads, key=lambda name: scan_order(name, remote[name].size, self._files.email))
        uploads = [partial(self._upload, name, local[name].etag) for name in plan.uploads]
        copies = [partial(self._download, name, remote[name]) for name in downloads]
        calls = [partial(self._delete_remote, names) for names in _parts(plan.remote_deletions, _DELETIONS_OF_A_CALL)]
        with (
            self._beside(uploads, "syftbox upload"),
            self._beside(copies, "syftbox download"),
            self._beside(calls, "syftbox delete"),
        ):
            for act, names in (
                (self._delete_local, plan.local_deletions),
                (self._remove_emptied, _folders_of(plan.local_deletions)),
                (self._conflict, plan.conflicts),
                (self._files.journal.remove, plan.forgotten),
            ):
                for name in names:
                    self._life.check()
                    act(name)

    @contextlib.contextmanager
    def _beside(self, works: list[partial[None]], name: str) -> Iterator[None]:
        """Run works beside a ``with`` block, eight at a time, and wait for all at its end."""
        if not works:
            yield
            return
        with ThreadPoolExecutor(_AT_A_TIME, name) as pool:
            done = [pool.submit(self._if_alive, work) for work in works]
            yield
        for one in done:
            one.result()

    def _if_alive(self, work: Callable[[], None]) -> None:
        if not self._life.ended:
            work()

    def _upload(self, name: str, etag: str) -> None:
        files = self._files
        if files.journal.get(name) == etag or files.tree.stat(name) is None:
            files.status.complete(name)
            return
        try:
            stored = self._send(name)
        except RefusedError:
            self._set_aside(name)
        except (TooSlowError, StoreFailedError, LifeEndedError, TransportError, OSError):
            files.status.strike(name)
        else:
            files.journal.put(name, stored.etag)
            files.status.complete(name)
            files.record(name, stored.size, How.SCAN, SyncOutcome.ACCEPTED)

    def _send(self, name: str) -> StoredObject:
        files, server = self._files, self._server
        server.may_upload(files.email, name)
        with files.tree.open(name) as file:
            size = Signature.of_file(file).size
            self._windows.stand(files.email, Window.UPLOAD, name, self._life, server.life)
            self._uplink.send(size + _FORM, self._limit, self._life, server.life)
            return server.upload(files.email, name, chunks(file, size), self._life)

    def _set_aside(self, name: str) -> None:
        files = self._files
        try:
            files.mark(name, Marker.REJECTED)
        except MarkFailedError:
            files.status.strike(name)
        files.journal.remove(name)
        files.record(name, 0, How.SCAN, SyncOutcome.REFUSED)

    def _download(self, name: str, seen: StoredObject) -> None:
        files = self._files
        try:
            self._copy(name)
        except NotFoundError:
            files.status.forget(name)
        except (StoreFailedError, LifeEndedError, TransportError, OSError):
            files.status.strike(name)
        else:
            # The entry has the etag of the view, also if the store had newer bytes by then.
            files.journal.put(name, seen.etag)
            files.status.complete(name)
            files.record(name, seen.size, How.SCAN, SyncOutcome.DELIVERED, sender=seen.sender)

    def _copy(self, name: str) -> None:
        files = self._files
        with self._server.open(files.email, name, self._life) as content:
            if is_realtime(name, files.settings.realtime):
                files.expect_own_event(name)
            with files.tree.stage_beside(name) as staged:
                staged.write_all(chunks(content, Signature.of_file(content).size))
                self._windows.stand(files.email, Window.COPY, name, self._life)
                staged.commit()

    def _delete_remote(self, names: list[str]) -> None:
        files = self._files
        try:
            refused = self._server.delete(files.email, names, self._life)
        except (StoreFailedError, LifeEndedError):
            for name in names:
                files.status.strike(name)
            return
        for name in names:
            files.journal.remove(name)
            if name in refused:
                files.status.strike(name)
            else:
                files.status.forget(name)
            outcome = SyncOutcome.REFUSED if name in refused else SyncOutcome.DELETED
            files.record(name, 0, How.SCAN, outcome)

    def _delete_local(self, name: str) -> None:
        files = self._files
        try:
            files.tree.remove(name, prune=False)
        except (TransportError, OSError):
            files.status.strike(name)
        else:
            files.status.forget(name)
            files.record(name, 0, How.SCAN, SyncOutcome.DELETED, sender="")
        files.journal.remove(name)

    def _remove_emptied(self, folder: str) -> None:
        remove_emptied(self._files.root, folder)

    def _conflict(self, name: str) -> None:
        self._files.set_aside(name, Marker.CONFLICT, How.SCAN, SyncOutcome.CONFLICT)


def _folders_of(names: list[str]) -> list[str]:
    return list(dict.fromkeys(name.rpartition("/")[0] for name in names))


def _parts(names: list[str], size: int) -> list[list[str]]:
    return [names[start : start + size] for start in range(0, len(names), size)]
