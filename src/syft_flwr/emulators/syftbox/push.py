"""The real-time part of a sync client: send a file with a real-time name as soon as it is written.

Rules, as in SyftBox's ``internal/client/sync``:

* Only a write event (inotify's MODIFY) starts a push; a rename or a deletion does not (``file_watcher.go``).
* The client sends the file once writes have paused, even if it is incomplete. The file must have at most 4 MB and new
  content (``handlePriorityUpload``). The client does not send it while a rejected marker is beside it.
* The server sends it to every other participant that may read it. It replaces their copy (``handlePriorityDownload``).
* A push is never repeated. The next scan carries a lost one.
"""

from collections.abc import Callable
from functools import partial
from hashlib import sha256

from syft_flwr.clock import Clock
from syft_flwr.emulators.syftbox.cache_server import Version
from syft_flwr.emulators.syftbox.replica import Replica
from syft_flwr.emulators.syftbox.schedule import Schedule
from syft_flwr.emulators.syftbox.sync_names import is_permissions, is_realtime
from syft_flwr.emulators.syftbox.traffic import How, SyncOutcome
from syft_flwr.emulators.syftbox.tree import chunks
from syft_flwr.errors import NotFoundError, RefusedError, TooLargeError, TransportError


class Push:
    """Sends and receives real-time files for one participant. All participants share the thread of one schedule.

    Args:
        replica: the participant's files.
        schedule: runs the uploads.
        clock: measures the debounce time.
        publish: sends an accepted version and its content to the other participants.
    """

    def __init__(
        self, replica: Replica, schedule: Schedule, clock: Clock, publish: Callable[[Version, bytes], None]
    ) -> None:
        self._replica = replica
        self._schedule = schedule
        self._clock = clock
        self._publish = publish
        self._due: dict[str, float] = {}

    def on_write(self, name: str) -> None:
        """Schedule the upload of a written file; the thread of the write watcher calls this."""
        replica = self._replica
        if not is_realtime(name, replica.settings.realtime) or not replica.is_online or replica.drops(name):
            return
        due = self._clock.monotonic() + replica.settings.debounce
        with replica.lock:
            self._due[name] = due
        self._schedule.at(due, partial(self._send, name, due))

    def _send(self, name: str, due: float) -> None:
        replica = self._replica
        with replica.lock:
            if self._due.get(name) != due:
                # A later write has postponed the upload, or an event of the same moment has already done it.
                return
            del self._due[name]
            known = replica.journal.get(name)
        try:
            data, signature = replica.tree.read(name, replica.settings.realtime_limit)
            # Permission files are sent even if unchanged: they may have changed twice within one debounce.
            is_new = known is None or known.etag != sha256(data).hexdigest() or is_permissions(name)
            if not is_new or replica.is_rejected(name):
                return
            etag, version = replica.server.upload(replica.email, name, (data,))
        except (NotFoundError, TooLargeError):
            return
        except RefusedError:
            replica.set_aside_refused(name, len(data), How.REALTIME)
            return
        except TransportError as error:
            replica.complain(name, error)
            return
        with replica.lock:
            replica.remember(name, etag, signature)
        if version:
            replica.record(name, len(data), How.REALTIME, SyncOutcome.ACCEPTED)
            self._publish(version, data)

    def receive(self, version: Version, data: bytes | None = None) -> None:
        """Store a pushed file in the participant's folder.

        Args:
            version: the version that the server accepted.
            data: its content; None to read it from the server, for a delayed push.
        """
        replica = self._replica
        if not replica.is_online:
            return
        try:
            with replica.lock:
                known = replica.journal.get(version.name)
                if known and known.etag == version.etag:
                    # A scan has already brought this version.
                    return
                if data is not None:
                    replica.place(version, (data,))
                else:
                    with replica.server.open(version) as content:
                        replica.place(version, chunks(content, version.size))
        except TransportError as error:
            replica.complain(version.name, error)
            return
        replica.record_received(version.name, version.size, How.REALTIME, SyncOutcome.DELIVERED, version.sender)
