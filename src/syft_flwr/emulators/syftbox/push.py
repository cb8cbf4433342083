"""The real-time half of a sync client: what is written under a real-time name goes at once.

Rules, as in SyftBox's ``internal/client/sync``:

* Only a write event (inotify's MODIFY) counts; a rename or a deletion is none (``file_watcher.go``).
* What lies there once writes have paused is sent, finished or not, if it is at most 4 MB and its content is new
  (``handlePriorityUpload``). As long as a rejected marker lies beside it, it is not sent.
* The server hands it to all others who may read it, and it lands over whatever they have (``handlePriorityDownload``).
* Nothing is sent twice: what is lost here, the scan carries.
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
    """Sends and receives for one participant, in the thread of a schedule that all share.

    Args:
        publish: hands an accepted version and its content to the others.
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
        """Take a write event; called by the watcher's thread."""
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
                # A later write has put it off, or another event of the same moment was enough.
                return
            del self._due[name]
            known = replica.journal.get(name)
        try:
            data, signature = replica.tree.read(name, replica.settings.realtime_limit)
            # Permission files go even if unchanged: they may have changed and come back within one debounce.
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
        """Take a pushed file; without ``data`` the server still has the content, or it was replaced on its way."""
        replica = self._replica
        if not replica.is_online:
            return
        try:
            with replica.lock:
                known = replica.journal.get(version.name)
                if known and known.etag == version.etag:
                    # A scan was faster.
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
