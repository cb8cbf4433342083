"""The streams that this process writes: one folder for each set of readers, shared with them once.

Record, then release: a stream's folder has its id, and a file its place, on this disk before Drive hears of it, and Drive makes
one file of an id however often it is asked to. So every step can be repeated after a crash.
"""

import threading
from collections.abc import Collection, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from typing import BinaryIO

from loguru import logger

from syft_flwr.errors import NotFoundError, RefusedError, TransportError
from syft_flwr.transport._gdrive.api.drive_client import DriveClient
from syft_flwr.transport._gdrive.api.drive_file import DriveFile, TakenError
from syft_flwr.transport._gdrive.api.upload import MULTIPART_LIMIT
from syft_flwr.transport._gdrive.api.upload_sessions import UploadSessions
from syft_flwr.transport._gdrive.streams.announcement import (
    ANNOUNCED,
    FILE,
    MARK,
    Announcement,
    audience_digest,
    read_positions,
)
from syft_flwr.transport._gdrive.streams.catalogue import Catalogue
from syft_flwr.transport._gdrive.streams.outgoing import OutgoingStream, Place
from syft_flwr.transport._gdrive.streams.rules import may_write
from syft_flwr.transport._gdrive.streams.saved_state import SavedState, StreamState, UploadState

_AT_ONCE = 4
#: Ids under which no file can be made, tried one after the other: after a crash, and with the state on this disk lost.
_MOST_TAKEN = 2 * ANNOUNCED


class Outbox:
    """Thread-safe.

    Args:
        drive: the account.
        me: its email.
        peers: who will be written to, so that their streams are made in time.
        saved: the state on this disk.
        catalogue: where it is noted what was written.
        sessions: of unfinished uploads.
    """

    def __init__(
        self,
        drive: DriveClient,
        me: str,
        peers: Collection[str],
        saved: SavedState,
        catalogue: Catalogue,
        sessions: UploadSessions,
    ) -> None:
        self._drive = drive
        self._me = me
        self._expected = [frozenset({peer} - {me}) for peer in peers]
        self._saved = saved
        self._catalogue = catalogue
        self._sessions = sessions
        self._lock = threading.Lock()
        self._saving = threading.Lock()
        self._opening: dict[str, threading.Lock] = {}
        self._streams: dict[str, OutgoingStream] = {}
        self._prepared = False

    def folders(self) -> set[str]:
        """Return the folders of this process's streams."""
        with self._saving:
            return {state.folder for state in self._saved.streams.values()}

    def readers_of(self, folder: str) -> str | None:
        """Return the digest of who may read a folder of this process's streams; None if it is none."""
        with self._saving:
            return next((digest for digest, state in self._saved.streams.items() if state.folder == folder), None)

    def put(self, name: str, audience: frozenset[str], content: BinaryIO, size: int, md5: str) -> DriveFile:
        """Write a new file for these readers."""
        self._prepare(audience)
        for _ in range(_MOST_TAKEN):
            stream = self._stream(audience)
            place = self._place(name, audience, stream, size, md5)
            content.seek(0)
            try:
                file = self._create(name, stream, place, content, size, md5)
            except TakenError as error:
                # What an earlier process wrote there arrived after all, or the id is used up.
                stream.settle(place)
                self._end_upload(name, audience)
                if self._is_there(stream):
                    self._adopt(error.file)
                else:
                    # What is made in a folder in the trash lies there, too.
                    self._lose(audience, stream)
                continue
            except NotFoundError:
                stream.settle(place)
                self._lose(audience, stream)
                continue
            except BaseException:
                stream.give_back(place)
                raise
            stream.settle(place)
            self._end_upload(name, audience)
            self._catalogue.add(file, place.position, ours=True)
            return file
        raise TransportError(f"{name} cannot be written: Drive takes none of the ids that it gave out")

    def _place(self, name: str, audience: frozenset[str], stream: OutgoingStream, size: int, md5: str) -> Place:
        """Give the file its place, and record that before anything is sent."""
        with self._saving:
            state = self._saved.streams[audience_digest(audience)]
            begun = state.uploads.get(name)
            if begun and begun.md5 == md5:
                # A large one that an earlier process did not finish goes on where it was.
                return stream.resume(Place(begun.position, begun.id, begun.low))
        place = stream.take(self._drive.new_ids, partial(self._publish, stream.folder))
        with self._saving:
            state = self._saved.streams[audience_digest(audience)]
            state.next = max(state.next, stream.next)
            if size > MULTIPART_LIMIT:
                state.uploads[name] = UploadState(md5=md5, position=place.position, id=place.id, low=place.low)
            self._saved.save()
        return place

    def _is_there(self, stream: OutgoingStream) -> bool:
        try:
            self._drive.get(stream.folder)
        except NotFoundError:
            return False
        return True

    def _end_upload(self, name: str, audience: frozenset[str]) -> None:
        with self._saving:
            state = self._saved.streams.get(audience_digest(audience))
            if state and state.uploads.pop(name, None):
                self._saved.save()

    def _create(
        self, name: str, stream: OutgoingStream, place: Place, content: BinaryIO, size: int, md5: str
    ) -> DriveFile:
        properties = {MARK: FILE, "n": str(place.position), "low": str(place.low)}
        return self._drive.create(
            place.id, name, stream.folder, properties, content, size, md5, sessions=self._sessions
        )

    def _adopt(self, found: DriveFile | None) -> None:
        if found is None or found.owner != self._me or not may_write(self._me, found.name):
            return
        with suppress(TransportError):
            (position,) = read_positions(found.properties, "n")
            self._catalogue.add(found, position, ours=True)

    def replace(self, file: DriveFile, content: BinaryIO, size: int, md5: str) -> DriveFile | None:
        """Give a file of ours another content; None if somebody deleted it, and it is to be written anew."""
        try:
            new = self._drive.update(file.id, content, size, md5)
        except NotFoundError:
            logger.warning("a file of ours in Drive is gone, and is written anew")
            self._catalogue.drop_copy(file)
            return None
        self._catalogue.renew(new)
        return new

    def delete(self, files: Iterable[DriveFile]) -> None:
        """Have files of ours deleted by the next :meth:`flush`, if not by this process then by the next one."""
        with self._saving:
            self._saved.deletions.update({file.id: next(iter(file.parents), "") for file in files})
            self._saved.save()

    def flush(self) -> None:
        """Delete what is to be deleted, in one batch, and say in the folders that it is gone and not still to come."""
        with self._saving:
            deleted = dict(self._saved.deletions)
        if not deleted:
            return
        emptied = set(deleted.values())
        said = {s.folder: {"next": str(s.settled())} for s in self._open_streams() if s.folder in emptied}
        try:
            self._drive.delete_many(list(deleted), said)
        except RefusedError as error:
            # The others are deleted; asking for this one again would change nothing.
            logger.warning("a file of ours stays in Drive: {}", error.diagnose())
        with self._saving:
            for file_id in deleted:
                self._saved.deletions.pop(file_id, None)
            self._saved.save()

    def is_doomed(self, file_id: str) -> bool:
        """Say whether a file of ours is to be deleted, and counts as gone."""
        return file_id in self._saved.deletions

    def upkeep(self) -> None:
        """Announce further ids where there are few left, so that no write has to wait for that."""
        for stream in self._open_streams():
            stream.announce_early(self._drive.new_ids, partial(self._publish, stream.folder))

    def _open_streams(self) -> list[OutgoingStream]:
        with self._lock:
            return list(self._streams.values())

    def _prepare(self, audience: frozenset[str]) -> None:
        """Make the streams of all peers with the first one, so that a peer's first search finds its own.

        The first one is that of the key card: who finds its own stream finds that one, too.
        """
        with self._lock:
            if self._prepared:
                return
            self._prepared = True
        self._stream(audience)
        with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="drive-streams") as threads:
            for _ in threads.map(self._try_stream, self._expected):
                pass

    def _try_stream(self, audience: frozenset[str]) -> None:
        try:
            self._stream(audience)
        except TransportError as error:
            # It is tried again when it is written to.
            logger.warning("the folder for {} cannot be made yet: {}", ", ".join(sorted(audience)), error)

    def _stream(self, audience: frozenset[str]) -> OutgoingStream:
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
        with self._saving:
            self._saved.streams[digest] = state
            self._saved.save()

    def _lose(self, audience: frozenset[str], stream: OutgoingStream) -> None:
        """Forget a stream whose folder somebody deleted; another is made at the next try."""
        digest = audience_digest(audience)
        logger.warning("the folder for {} in Drive is gone, and is made anew", ", ".join(sorted(audience)) or "nobody")
        with self._lock:
            if self._streams.get(digest) is stream:
                del self._streams[digest]
        with self._saving:
            state = self._saved.streams.get(digest)
            if state and state.folder == stream.folder:
                del self._saved.streams[digest]
                self._saved.save()

    def _publish(self, folder: str, announcement: Announcement) -> None:
        self._drive.set_properties(folder, announcement.encode())


def _title(audience: Collection[str]) -> str:
    """Name a folder for people, who see it in Drive; of several readers, none is told who the others are."""
    if len(audience) == 1:
        return f"syft-flwr to {next(iter(audience))}"
    return "syft-flwr to all" if audience else "syft-flwr"
