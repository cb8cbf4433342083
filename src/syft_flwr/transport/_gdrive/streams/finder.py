"""Searches for streams, and for files in them that were not announced in time; there is no other search.

A search may lag behind by minutes. So there is one at the start, and others only while a stream is missing, or when a reader
was away for so long that its ids are not announced any more. A folder counts only if Drive says that the peer owns it.
"""

import math
from collections.abc import Callable, Collection, Iterable, Sequence

from loguru import logger

from syft_flwr.clock import Clock
from syft_flwr.errors import TransportError
from syft_flwr.transport._gdrive.api.drive_client import DriveClient
from syft_flwr.transport._gdrive.api.drive_file import DriveFile
from syft_flwr.transport._gdrive.streams.announcement import (
    Announcement,
    audience_digest,
    search_for_streams,
    search_in,
)
from syft_flwr.transport._gdrive.streams.incoming import IncomingStream

#: A file that was found: in which stream, at which position.
Found = tuple[IncomingStream, int, DriveFile]

#: Seconds between two searches for streams that are missing, at the longest.
_SEARCH_LATE = 30.0
_AT_ONCE = 50
#: More streams of one owner than there can be in earnest.
_MAX_STREAMS = 16


class Finder:
    """Not thread-safe, but for :meth:`readers_of` and ``searched``.

    Args:
        drive: the account.
        me: its email.
        peers: whose streams are looked for from the start; others are when they are asked for.
        on_found: takes the files that a search found.
        wait: seconds after which streams that are missing are searched for again; that grows.
    """

    def __init__(
        self,
        drive: DriveClient,
        me: str,
        peers: Collection[str],
        on_found: Callable[[Iterable[Found]], None],
        clock: Clock,
        wait: float,
    ) -> None:
        self._drive = drive
        self._me = me
        self._on_found = on_found
        self._clock = clock
        self._personal = audience_digest({me})
        self._streams: dict[str, IncomingStream] = {}
        self._first_wait = self._wait = wait
        self._last_search = -math.inf
        #: Who wrote something that was found; a stream that others read, too, may be missing until then.
        self._heard_of: set[str] = set()
        #: Of whom something is to be found yet.
        self._lacking: set[str] = set()
        #: Whose streams are followed.
        self.owners = {me, *peers}
        #: A whole search was made, with all that lies in what it found.
        self.searched = False

    def streams(self) -> list[IncomingStream]:
        """Return the streams that are known."""
        return list(self._streams.values())

    def readers_of(self, folder: str) -> str | None:
        """Return the digest of who may read a stream's folder; None if it is not known."""
        stream = self._streams.get(folder)
        return stream.readers if stream else None

    def heard_of(self, owner: str) -> None:
        """Say that a file of this owner's was accepted."""
        self._heard_of.add(owner)

    def lose(self, stream: IncomingStream) -> None:
        """Forget a stream whose folder is gone; it is searched for again."""
        self._streams.pop(stream.folder, None)

    def search_if_due(self, missed: Collection[str], interesting: Collection[str]) -> None:
        """Search if a stream of these owners is missing, or something is missed for long."""
        self.owners.update(interesting)
        found = {stream.owner for stream in self._streams.values() if stream.personal}
        lacking = set(interesting) - (found & self._heard_of) - {self._me}
        if lacking - self._lacking:
            self._wait = self._first_wait
        self._lacking = lacking
        # Where everybody was found, what is missed will come in a stream that is known, or else there is time.
        wait = self._wait if lacking else 2 * _SEARCH_LATE
        if (lacking or missed) and self._clock.monotonic() - self._last_search >= wait:
            self._wait = min(2 * self._wait, _SEARCH_LATE)
            self.search()

    def search(self) -> None:
        """Search for streams that are not known yet, and for what lies in them.

        Raises:
            TransportError: Drive cannot be asked; what was found is caught up with by the next search.
        """
        owners = ["me", *sorted(self.owners - {self._me})]
        for start in range(0, len(owners), _AT_ONCE):
            for folder in self._drive.search(search_for_streams(owners[start : start + _AT_ONCE])):
                self._open(folder)
        self._last_search = self._clock.monotonic()
        self.catch_up(self.streams())
        self.searched = True

    def _open(self, folder: DriveFile) -> None:
        count = sum(stream.owner == folder.owner for stream in self._streams.values())
        if folder.id in self._streams or folder.owner not in self.owners or count >= _MAX_STREAMS:
            return
        try:
            announcement = Announcement.decode(folder.properties)
        except TransportError as error:
            logger.warning("a folder of {} is ignored: {}", folder.owner, error)
            return
        personal = announcement.readers == self._personal
        self._streams[folder.id] = IncomingStream(folder, announcement, personal=personal)

    def catch_up(self, streams: Iterable[IncomingStream]) -> None:
        """Search for what lies in those of these streams of which not all ids are known."""
        behind = [stream for stream in streams if stream.behind]
        for start in range(0, len(behind), _AT_ONCE):
            group = behind[start : start + _AT_ONCE]
            found = self._search_in(group)
            if not found and len(group) > 1:
                # A search of several folders sometimes comes back empty though they are not
                # (https://issuetracker.google.com/issues/149522397).
                found = [hit for stream in group for hit in self._search_in([stream])]
            for stream in group:
                stream.behind = False
            placed = [(stream, stream.found(file), file) for stream, file in found]
            self._on_found((stream, position, file) for stream, position, file in placed if position is not None)

    def _search_in(self, streams: Sequence[IncomingStream]) -> list[tuple[IncomingStream, DriveFile]]:
        folders = {stream.folder: stream for stream in streams}
        files = self._drive.search(search_in(list(folders)))
        return [(folders[parent], file) for file in files for parent in file.parents if parent in folders]
