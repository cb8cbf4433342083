"""The pushes of one client: files with a real-time name are sent as soon as writes pause, and received ones are stored.

Rules, as in ``file_watcher.go``, ``sync_engine_priority_upload.go``, ``sync_engine_priority_download.go`` and
``sync_engine_priority_error.go``:

* A push enters the sender's journal 1 s after it was queued, sent or not. Until then no cycle touches the file.
* A file that is gone or too large keeps its status (``canPrioritize``).
* A full queue, and no connection, is a strike. A push that goes through clears the strikes.
* A received push is written to ``.syft-tmp`` and renamed. Then it enters the journal.
* A refused push is renamed to ``.rejected``. Its entry in the journal remains.
"""

import hashlib
import threading
from collections.abc import Callable
from functools import partial

from syft_flwr.emulators.syftbox.faithful.client_files import ClientFiles
from syft_flwr.emulators.syftbox.faithful.frames import Frame
from syft_flwr.emulators.syftbox.faithful.lives import Life, LifeEndedError
from syft_flwr.emulators.syftbox.faithful.machinery import Machinery
from syft_flwr.emulators.syftbox.faithful.websocket import QueueFullError
from syft_flwr.emulators.syftbox.faithful.windows import Window
from syft_flwr.emulators.syftbox.schedule import Schedule
from syft_flwr.emulators.syftbox.sync_names import Marker, is_realtime
from syft_flwr.emulators.syftbox.traffic import How, SyncOutcome
from syft_flwr.errors import TransportError


class Realtime:
    """Sends and receives the pushes of one client, from its start to its end.

    Args:
        files: the files, journal and status of the client.
        life: the life of the client.
        schedule: runs the work of the watcher.
        push: queues a frame at the present connection.
    """

    def __init__(
        self,
        files: ClientFiles,
        life: Life,
        machinery: Machinery,
        *,
        schedule: Schedule,
        push: Callable[[Frame], None],
    ) -> None:
        self._files = files
        self._life = life
        self._machinery = machinery
        self._schedule = schedule
        self._push = push
        self._lock = threading.Lock()
        self._due: dict[str, float] = {}

    def on_write(self, name: str) -> None:
        """Plan the push of a written file; the thread of the write watcher calls this."""
        settings = self._files.settings
        if not is_realtime(name, settings.realtime):
            return
        due = self._machinery.now() + settings.debounce
        with self._lock:
            self._due[name] = due
        self._schedule.at(due, partial(self._flush, name, due))

    def _flush(self, name: str, due: float) -> None:
        with self._lock:
            # A later write has postponed the push, or an event of the same moment has done it.
            if self._due.get(name) != due:
                return
            del self._due[name]
        if not self._files.takes_own_event(name):
            self._send(name)

    def _send(self, name: str) -> None:
        files = self._files
        if not files.syncs(name) or not self._may_push(name):
            return
        files.status.begin(name)
        try:
            content = (files.root / name).read_bytes()
        except FileNotFoundError:
            files.status.complete(name)
            return
        except OSError:
            files.status.strike(name)
            return
        etag = hashlib.sha256(content).hexdigest()
        if files.journal.get(name) == etag:
            files.status.complete(name)
            return
        try:
            self._push(Frame(name, etag, content, files.email))
        except (LifeEndedError, QueueFullError):
            files.status.strike(name)
            return
        due = self._machinery.now() + self._machinery.durations.journaled
        self._schedule.at(due, partial(self._enter, name, etag))

    def _may_push(self, name: str) -> bool:
        try:
            return (self._files.root / name).stat().st_size <= self._files.settings.realtime_limit
        except OSError:
            return False

    def _enter(self, name: str, etag: str) -> None:
        self._files.journal.put(name, etag)
        self._files.status.complete(name)

    def receive(self, frame: Frame) -> None:
        """Store a pushed file, or mark a refused one."""
        self._life.check()
        if frame.refused:
            self._mark_refused(frame.name)
        elif self._files.syncs(frame.name):
            self._store(frame)

    def _store(self, frame: Frame) -> None:
        files = self._files
        files.status.begin(frame.name)
        files.expect_own_event(frame.name)
        try:
            with files.tree.stage(frame.name) as staged:
                staged.write_all((frame.content,))
                staged.commit()
        except (TransportError, OSError):
            files.status.strike(frame.name)
            return
        files.record(frame.name, len(frame.content), How.REALTIME, SyncOutcome.DELIVERED, sender=frame.sender)
        self._machinery.windows.stand(files.email, Window.PLACED, frame.name, self._life)
        files.journal.put(frame.name, frame.etag)
        files.status.complete(frame.name)

    def _mark_refused(self, name: str) -> None:
        self._files.set_aside(name, Marker.REJECTED, How.REALTIME, SyncOutcome.REFUSED)
