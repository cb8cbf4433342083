"""Writes files into the streams of this process, and deletes them.

Each step can be repeated after a crash. The outbox records the id and position of a file on this disk before it sends them
to Drive. And Drive creates only one file for an id.
"""

from collections.abc import Iterable
from contextlib import suppress
from typing import BinaryIO

from syft_flwr.errors import NotFoundError, RefusedError, TransportError
from syft_flwr.log import logger
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

#: The most ids to try for one file. After a crash, or if the state on this disk was lost, several ids can be in use.
_MOST_TAKEN = 2 * ANNOUNCED


class Outbox:
    """The writer of this process's files. Thread-safe.

    Args:
        drive: the account of this participant.
        me: the email of the account.
        streams: the streams of this process.
        saved: the recorded state on this disk.
        catalogue: receives the written files.
        sessions: the records of unfinished uploads.
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
        """Write a new file into the stream for these readers.

        Raises:
            TransportError: the upload failed, or all tried ids are in use.
        """
        self._streams.prepare(audience)
        for _ in range(_MOST_TAKEN):
            stream = self._streams.get(audience)
            place = self._place(name, audience, stream, size, md5)
            content.seek(0)
            try:
                file = self._create(name, stream, place, content, size, md5)
            except TakenError as error:
                # An earlier process has used this id: its upload arrived after all.
                stream.settle(place)
                self._end_upload(name, audience)
                if self._streams.exists(stream):
                    self._adopt(error.file)
                else:
                    # The folder is in the trash, and so is each file that is created in it.
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
        raise TransportError(f"{name} cannot be written: Drive refuses all of its own ids", hint="Start again.")

    def _place(self, name: str, audience: frozenset[str], stream: OutgoingStream, size: int, md5: str) -> Place:
        """Reserve a place for the file, and record it before the first byte is sent."""
        with self._saved.lock:
            state = self._saved.streams[audience_digest(audience)]
            begun = state.uploads.get(name)
            if begun and begun.md5 == md5:
                # An earlier process began to upload this large file; continue in the same place.
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
        """Replace the content of a file of this participant; return None if the file no longer exists in Drive.

        The caller then writes a new file.
        """
        try:
            new = self._drive.update(file.id, content, size, md5)
        except NotFoundError:
            logger.warning("{} is gone from Drive and is written again; no action is needed", file.name)
            self._catalogue.drop_copy(file)
            return None
        self._catalogue.renew(new)
        return new

    def delete(self, files: Iterable[DriveFile]) -> None:
        """Record that the next :meth:`flush` must delete these files. After a crash, the next process does it."""
        with self._saved.lock:
            self._saved.deletions.update({file.id: next(iter(file.parents), "") for file in files})
            self._saved.save()

    def flush(self) -> None:
        """Delete the recorded files in one batch, and update ``next`` in their folders.

        From ``next``, a reader knows that the files were deleted, so it does not wait for them.
        """
        with self._saved.lock:
            deleted = dict(self._saved.deletions)
        if not deleted:
            return
        emptied = set(deleted.values())
        said = {s.folder: {"next": str(s.settled())} for s in self._streams.opened() if s.folder in emptied}
        try:
            self._drive.delete_many(list(deleted), said)
        except RefusedError as error:
            # The other files are deleted, and Drive would refuse this one again.
            text = (
                "at least one of {} old files of this participant cannot be deleted; delete old files in its folders "
                "`syft-flwr to …` at https://drive.google.com: {}"
            )
            logger.warning(text, len(deleted), error.diagnose())
        with self._saved.lock:
            for file_id in deleted:
                self._saved.deletions.pop(file_id, None)
            self._saved.save()

    def is_doomed(self, file_id: str) -> bool:
        """Return whether a file of this participant waits for its deletion. It counts as deleted."""
        return file_id in self._saved.deletions
