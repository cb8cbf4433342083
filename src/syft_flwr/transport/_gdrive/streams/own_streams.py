"""Creates the streams that this process writes: one folder for each set of readers, shared with them once.

The id of a folder is recorded on this disk before it is sent to Drive. So each step can be repeated after a crash.
"""

import threading
from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from syft_flwr.errors import NotFoundError, TransportError
from syft_flwr.log import logger
from syft_flwr.transport._gdrive.api.drive_client import DriveClient
from syft_flwr.transport._gdrive.api.drive_file import TakenError
from syft_flwr.transport._gdrive.streams.announcement import ANNOUNCED, Announcement, audience_digest
from syft_flwr.transport._gdrive.streams.outgoing import OutgoingStream, Place
from syft_flwr.transport._gdrive.streams.saved_state import SavedState, StreamState

_AT_ONCE = 4


class OwnStreams:
    """The streams of this process. Thread-safe.

    Args:
        drive: the account of this participant.
        me: the email of the account.
        peers: the peers that this process will write to; their streams are created in advance.
        saved: the recorded state on this disk.
    """

    def __init__(self, drive: DriveClient, me: str, peers: Collection[str], saved: SavedState) -> None:
        self._drive = drive
        self._expected = [frozenset({peer} - {me}) for peer in peers]
        self._saved = saved
        self._lock = threading.Lock()
        self._opening: dict[str, threading.Lock] = {}
        self._streams: dict[str, OutgoingStream] = {}
        self._prepared = False

    def folders(self) -> set[str]:
        """Return the folder ids of this process's streams."""
        with self._saved.lock:
            return {state.folder for state in self._saved.streams.values()}

    def readers_of(self, folder: str) -> str | None:
        """Return the digest of the readers of a folder; None if it is not a folder of this process's streams."""
        with self._saved.lock:
            return next((digest for digest, state in self._saved.streams.items() if state.folder == folder), None)

    def opened(self) -> list[OutgoingStream]:
        """Return the streams that this process has used so far."""
        with self._lock:
            return list(self._streams.values())

    def prepare(self, audience: frozenset[str]) -> None:
        """Create the streams of all peers together with the first stream. Later calls do nothing.

        So the first search of a peer finds its own stream. The stream of the key card comes first: a peer that finds its
        own stream also finds the key card.
        """
        with self._lock:
            if self._prepared:
                return
            self._prepared = True
        self.get(audience)
        with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="drive-streams") as threads:
            for _ in threads.map(self._try, self._expected):
                pass

    def get(self, audience: frozenset[str]) -> OutgoingStream:
        """Return the stream for these readers; create it if it does not exist."""
        digest = audience_digest(audience)
        with self._lock:
            if stream := self._streams.get(digest):
                return stream
            opening = self._opening.setdefault(digest, threading.Lock())
        with opening:
            with self._lock:
                if stream := self._streams.get(digest):
                    return stream
            stream = self._open(digest) or self._make(digest, audience)
            with self._lock:
                self._streams[digest] = stream
            return stream

    def take(self, stream: OutgoingStream) -> Place:
        """Reserve and return the next place of a stream; announce more ids first if none is left."""
        return stream.take(self._drive.new_ids, partial(self._publish, stream.folder))

    def exists(self, stream: OutgoingStream) -> bool:
        """Return whether the stream's folder is still in Drive."""
        try:
            self._drive.get(stream.folder)
        except NotFoundError:
            return False
        return True

    def lose(self, audience: frozenset[str], stream: OutgoingStream) -> None:
        """Remove a stream that has lost its folder. The next :meth:`get` creates another folder."""
        digest = audience_digest(audience)
        shown = ", ".join(sorted(audience)) or "this participant alone"
        logger.warning("the Drive folder for {} is gone and is created again; no action is needed", shown)
        with self._lock:
            if self._streams.get(digest) is stream:
                del self._streams[digest]
        with self._saved.lock:
            state = self._saved.streams.get(digest)
            if state and state.folder == stream.folder:
                del self._saved.streams[digest]
                self._saved.save()

    def upkeep(self) -> None:
        """Announce more ids for streams with few left, so that writes do not have to wait for that."""
        for stream in self.opened():
            stream.announce_early(self._drive.new_ids, partial(self._publish, stream.folder))

    def _try(self, audience: frozenset[str]) -> None:
        try:
            self.get(audience)
        except TransportError as error:
            text = "the Drive folder for {} cannot be created yet; retrying at the next write to it: {}"
            logger.warning(text, ", ".join(sorted(audience)), error.diagnose())

    def _open(self, digest: str) -> OutgoingStream | None:
        state = self._saved.streams.get(digest)
        if state is None or not state.ready:
            return None
        try:
            folder = self._drive.get(state.folder)
        except NotFoundError:
            logger.warning("a Drive folder of this participant is gone and is created again; no action is needed")
            return None
        announcement = Announcement.decode(folder.properties)
        stream = OutgoingStream(folder.id, announcement, state.next)
        if stream.next > announcement.next:
            # Places that an earlier process reserved and did not use stay empty. This tells readers not to wait for them.
            self._drive.set_properties(folder.id, {"next": str(stream.next)})
        return stream

    def _make(self, digest: str, audience: frozenset[str]) -> OutgoingStream:
        state = self._saved.streams.get(digest)
        folder, *ids = self._drive.new_ids(1 + ANNOUNCED)
        if state is None or state.ready:
            # If a recorded folder is not ready, an earlier process may have created it already; then continue with its id.
            state = StreamState(folder=folder)
            self._record(digest, state)
        announcement = Announcement(digest, 0, 0, tuple(ids)).fitting()
        properties = {key: value for key, value in announcement.encode().items() if value is not None}
        try:
            made = self._drive.create_folder(state.folder, _title(audience), properties)
        except TakenError:
            if state.folder == folder:
                raise
            # The folder that an earlier process created was deleted, and its id cannot be used again.
            state = StreamState(folder=folder)
            self._record(digest, state)
            made = self._drive.create_folder(folder, _title(audience), properties)
        # The folder's own announcement counts, because an earlier process may have created the folder.
        announcement = Announcement.decode(made.properties)
        for reader in sorted(audience - set(state.shared)):
            self._drive.share(made.id, reader)
            # Record each reader: Drive's daily limit for sharing is low, and can end this loop early.
            state.shared.append(reader)
            self._record(digest, state)
        self._record(digest, StreamState(folder=made.id, ready=True))
        return OutgoingStream(made.id, announcement, 0)

    def _record(self, digest: str, state: StreamState) -> None:
        with self._saved.lock:
            self._saved.streams[digest] = state
            self._saved.save()

    def _publish(self, folder: str, announcement: Announcement) -> None:
        self._drive.set_properties(folder, announcement.encode())


def _title(audience: Collection[str]) -> str:
    """Return the title of a folder, which people see in Drive. It names a reader only if it is the only one."""
    if len(audience) == 1:
        return f"syft-flwr to {next(iter(audience))}"
    return "syft-flwr to all" if audience else "syft-flwr"
