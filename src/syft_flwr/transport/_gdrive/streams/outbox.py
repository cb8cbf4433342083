"""Writes files into the streams of this process, and deletes them.

Record, then release: a file's place is on this disk before Drive hears of it, and Drive makes one file of an id however often it
is asked to. So every step can be repeated after a crash.
"""

from collections.abc import Iterable
from contextlib import suppress
from typing import BinaryIO

from loguru import logger

from syft_flwr.errors import NotFoundError, RefusedError, TransportError
from syft_flwr.names import may_write
from syft_flwr.transport._gdrive.api.drive_client import DriveClient
from syft_flwr.transport._gdrive.api.drive_file import DriveFile, TakenError
from syft_flwr.transport._gdrive.api.upload import MULTIPART_LIMIT
from syft_flwr.transport._gdrive.api.upload_sessions import UploadSessions
from syft_flwr.transport._gdrive.streams.announcement import ANNOUNCED, FILE, MARK, audience_digest, read_positions
from syft_flwr.transport._gdrive.streams.catalogue import Catalogue
from syft_flwr.transport._gdrive.streams.outgoing import OutgoingStream, Place
from syft_flwr.transport._gdrive.streams.own_streams import OwnStreams
from syft_flwr.transport._gdrive.streams.saved_state import SavedState, UploadState

#: Ids under which no file can be made, tried one after the other: after a crash, and with the state on this disk lost.
_MOST_TAKEN = 2 * ANNOUNCED


class Outbox:
    """Thread-safe.

    Args:
        drive: the account.
        me: its email.
        streams: of this process.
        saved: the state on this disk.
        catalogue: where it is noted what was written.
        sessions: of unfinished uploads.
    """

    def __init__(
        self,
        drive: DriveClient,
        me: str,
        streams: OwnStreams,
        saved: SavedState,
        catalogue: Catalogue,
        sessions: UploadSessions,
    ) -> None:
        self._drive = drive
        self._me = me
        self._streams = streams
        self._saved = saved
        self._catalogue = catalogue
        self._sessions = sessions

    def put(self, name: str, audience: frozenset[str], content: BinaryIO, size: int, md5: str) -> DriveFile:
        """Write a new file for these readers."""
        self._streams.prepare(audience)
        for _ in range(_MOST_TAKEN):
            stream = self._streams.get(audience)
            place = self._place(name, audience, stream, size, md5)
            content.seek(0)
            try:
                file = self._create(name, stream, place, content, size, md5)
            except TakenError as error:
                # What an earlier process wrote there arrived after all, or the id is used up.
                stream.settle(place)
                self._end_upload(name, audience)
                if self._streams.exists(stream):
                    self._adopt(error.file)
                else:
                    # What is made in a folder in the trash lies there, too.
                    self._streams.lose(audience, stream)
                continue
            except NotFoundError:
                stream.settle(place)
                self._streams.lose(audience, stream)
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
        with self._saved.lock:
            state = self._saved.streams[audience_digest(audience)]
            begun = state.uploads.get(name)
            if begun and begun.md5 == md5:
                # A large one that an earlier process did not finish goes on where it was.
                return stream.resume(Place(begun.position, begun.id, begun.low))
        place = self._streams.take(stream)
        with self._saved.lock:
            state = self._saved.streams[audience_digest(audience)]
            state.next = max(state.next, stream.next)
            if size > MULTIPART_LIMIT:
                state.uploads[name] = UploadState(md5=md5, position=place.position, id=place.id, low=place.low)
            self._saved.save()
        return place

    def _end_upload(self, name: str, audience: frozenset[str]) -> None:
        with self._saved.lock:
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
        with self._saved.lock:
            self._saved.deletions.update({file.id: next(iter(file.parents), "") for file in files})
            self._saved.save()

    def flush(self) -> None:
        """Delete what is to be deleted, in one batch, and say in the folders that it is gone and not still to come."""
        with self._saved.lock:
            deleted = dict(self._saved.deletions)
        if not deleted:
            return
        emptied = set(deleted.values())
        said = {s.folder: {"next": str(s.settled())} for s in self._streams.opened() if s.folder in emptied}
        try:
            self._drive.delete_many(list(deleted), said)
        except RefusedError as error:
            # The others are deleted; asking for this one again would change nothing.
            logger.warning("a file of ours stays in Drive: {}", error.diagnose())
        with self._saved.lock:
            for file_id in deleted:
                self._saved.deletions.pop(file_id, None)
            self._saved.save()

    def is_doomed(self, file_id: str) -> bool:
        """Say whether a file of ours is to be deleted, and counts as gone."""
        return file_id in self._saved.deletions
