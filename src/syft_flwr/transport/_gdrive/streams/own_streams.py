"""The streams that this process writes: one folder for each set of readers, shared with them once.

A folder's id is on this disk before Drive hears of it, so that every step can be repeated after a crash.
"""

import threading
from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from loguru import logger

from syft_flwr.errors import NotFoundError, TransportError
from syft_flwr.transport._gdrive.api.drive_client import DriveClient
from syft_flwr.transport._gdrive.api.drive_file import TakenError
from syft_flwr.transport._gdrive.streams.announcement import ANNOUNCED, Announcement, audience_digest
from syft_flwr.transport._gdrive.streams.outgoing import OutgoingStream, Place
from syft_flwr.transport._gdrive.streams.saved_state import SavedState, StreamState

_AT_ONCE = 4


class OwnStreams:
    """Thread-safe.

    Args:
        drive: the account.
        me: its email.
        peers: who will be written to, so that their streams are made in time.
        saved: the state on this disk.
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
        """Return the folders of this process's streams."""
        with self._saved.lock:
            return {state.folder for state in self._saved.streams.values()}

    def readers_of(self, folder: str) -> str | None:
        """Return the digest of who may read a folder of this process's streams; None if it is none."""
        with self._saved.lock:
            return next((digest for digest, state in self._saved.streams.items() if state.folder == folder), None)

    def opened(self) -> list[OutgoingStream]:
        """Return the streams that this process has used so far."""
        with self._lock:
            return list(self._streams.values())

    def prepare(self, audience: frozenset[str]) -> None:
        """Make the streams of all peers with the first one, so that a peer's first search finds its own.

        The first one is that of the key card: who finds its own stream finds that one, too.
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
        """Return the stream for these readers; it is made if there is none."""
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
        """Give out a place of a stream; further ids are announced when there are none left."""
        return stream.take(self._drive.new_ids, partial(self._publish, stream.folder))

    def exists(self, stream: OutgoingStream) -> bool:
        """Return whether the stream's folder is still in Drive."""
        try:
            self._drive.get(stream.folder)
        except NotFoundError:
            return False
        return True

    def lose(self, audience: frozenset[str], stream: OutgoingStream) -> None:
        """Forget a stream whose folder somebody deleted; another is made at the next try."""
        digest = audience_digest(audience)
        logger.warning("the folder for {} in Drive is gone, and is made anew", ", ".join(sorted(audience)) or "nobody")
        with self._lock:
            if self._streams.get(digest) is stream:
                del self._streams[digest]
        with self._saved.lock:
            state = self._saved.streams.get(digest)
            if state and state.folder == stream.folder:
                del self._saved.streams[digest]
                self._saved.save()

    def upkeep(self) -> None:
        """Announce further ids where there are few left, so that no write has to wait for that."""
        for stream in self.opened():
            stream.announce_early(self._drive.new_ids, partial(self._publish, stream.folder))

    def _try(self, audience: frozenset[str]) -> None:
        try:
            self.get(audience)
        except TransportError as error:
            # It is tried again when it is written to.
            logger.warning("the folder for {} cannot be made yet: {}", ", ".join(sorted(audience)), error)

    def _open(self, digest: str) -> OutgoingStream | None:
        state = self._saved.streams.get(digest)
        if state is None or not state.ready:
            return None
        try:
            folder = self._drive.get(state.folder)
        except NotFoundError:
            logger.warning("a folder of ours in Drive is gone, and is made anew")
            return None
        announcement = Announcement.decode(folder.properties)
        stream = OutgoingStream(folder.id, announcement, state.next)
        if stream.next > announcement.next:
            # What an earlier process gave out and did not use stays unused; without this, a reader would wait for it.
            self._drive.set_properties(folder.id, {"next": str(stream.next)})
        return stream

    def _make(self, digest: str, audience: frozenset[str]) -> OutgoingStream:
        state = self._saved.streams.get(digest)
        folder, *ids = self._drive.new_ids(1 + ANNOUNCED)
        if state is None or state.ready:
            # Not ready: an earlier process began, and may have made the folder.
            state = StreamState(folder=folder)
            self._record(digest, state)
        announcement = Announcement(digest, 0, 0, tuple(ids)).fitting()
        properties = {key: value for key, value in announcement.encode().items() if value is not None}
        try:
            made = self._drive.create_folder(state.folder, _title(audience), properties)
        except TakenError:
            if state.folder == folder:
                raise
            # Somebody deleted the one that an earlier process had begun; there is no other under its id.
            state = StreamState(folder=folder)
            self._record(digest, state)
            made = self._drive.create_folder(folder, _title(audience), properties)
        # What it says counts: it may be an earlier process's.
        announcement = Announcement.decode(made.properties)
        for reader in sorted(audience - set(state.shared)):
            self._drive.share(made.id, reader)
            # One by one: sharing is what Drive limits most, and a day's limit may end it in the middle.
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
    """Name a folder for people, who see it in Drive; of several readers, none is told who the others are."""
    if len(audience) == 1:
        return f"syft-flwr to {next(iter(audience))}"
    return "syft-flwr to all" if audience else "syft-flwr"
