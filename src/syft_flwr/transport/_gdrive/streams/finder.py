"""Searches Drive for the peers' streams, and for files of them that are no longer announced.

A search can miss new files for minutes, so the finder searches rarely: at the start, while a stream is missing, and if
this process was away so long that the folders no longer announce its next ids. A folder counts only if Drive reports the
peer as its owner. The searches have a budget for each owner, see ``shared_search``.
"""

import math
from collections.abc import Callable, Collection, Iterable

from syft_flwr.clock import Clock
from syft_flwr.errors import TransportError
from syft_flwr.log import logger
from syft_flwr.transport._gdrive.api.drive_client import DriveClient
from syft_flwr.transport._gdrive.api.drive_file import DriveFile
from syft_flwr.transport._gdrive.streams.announcement import (
    Announcement,
    audience_digest,
    search_for_streams,
    search_in,
)
from syft_flwr.transport._gdrive.streams.incoming import IncomingStream
from syft_flwr.transport._gdrive.streams.shared_search import SharedSearch

#: A file that was found: its stream, its position, and its metadata.
Found = tuple[IncomingStream, int, DriveFile]

#: The longest time in seconds between two searches for missing streams.
_SEARCH_LATE = 30.0
#: The most streams of one peer that are read. An honest peer has fewer.
_MAX_STREAMS = 16
#: Streams in which one call searches for files.
_AT_ONCE = 50
#: Folders of one owner in a search for several, and in a search for one, which needs one call for one more.
_SHARE_OF_FOLDERS, _MOST_FOLDERS = 64, 999
#: Files of one owner in a search for several, and in a search for one.
_SHARE_OF_FILES, _MOST_FILES = 1_000, 10_000


class Finder:
    """The known streams, and the searches for more. Only :meth:`readers_of` and ``searched`` are thread-safe.

    Args:
        drive: the account of this participant.
        me: the email of the account.
        peers: the emails of the owners that the first search includes; others are added when a caller asks for them.
        on_found: receives the files that a search found.
        wait: seconds until the next search for missing streams; the time doubles with each search.
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
        self._folders = SharedSearch(drive, me, share=_SHARE_OF_FOLDERS, most=_MOST_FOLDERS)
        self._files = SharedSearch(drive, me, share=_SHARE_OF_FILES, most=_MOST_FILES)
        #: The monotonic time of the last search for the files of an owner with very many.
        self._caught_up: dict[str, float] = {}
        #: Owners of folders that were told to be ignored.
        self._told: set[str] = set()
        self._streams: dict[str, IncomingStream] = {}
        self._first_wait = self._wait = wait
        self._last_search = -math.inf
        #: Owners of found files. As long as no file of an owner was found, one of its streams may be missing.
        self._heard_of: set[str] = set()
        #: Owners with a missing stream.
        self._lacking: set[str] = set()
        #: Owners to search for.
        self.owners = {me, *peers}
        #: A complete search was made, including the files in the streams that it found.
        self.searched = False

    def streams(self) -> list[IncomingStream]:
        """Return the known streams."""
        return list(self._streams.values())

    def readers_of(self, folder: str) -> str | None:
        """Return the digest of the readers of a stream's folder; None if the folder is not known."""
        stream = self._streams.get(folder)
        return stream.readers if stream else None

    def heard_of(self, owner: str) -> None:
        """Record that a file of this owner was accepted."""
        self._heard_of.add(owner)

    def lose(self, stream: IncomingStream) -> None:
        """Remove a stream that has lost its folder. The finder searches for it again."""
        self._streams.pop(stream.folder, None)

    def search_if_due(self, missed: Collection[str], interesting: Collection[str]) -> None:
        """Search if a stream is missing or files are overdue, and enough time has passed since the last search.

        Args:
            missed: owners of files that callers wait for.
            interesting: owners of the needed streams, including ``missed``.

        Raises:
            TransportError: the search failed.
        """
        self.owners.update(interesting)
        found = {stream.owner for stream in self._streams.values() if stream.personal}
        lacking = set(interesting) - (found & self._heard_of) - {self._me}
        if lacking - self._lacking:
            self._wait = self._first_wait
        self._lacking = lacking
        # If the streams of all owners are known, a missed file will most likely appear in one of them, so a search can wait.
        wait = self._wait if lacking else 2 * _SEARCH_LATE
        if (lacking or missed) and self._clock.monotonic() - self._last_search >= wait:
            self._wait = min(2 * self._wait, _SEARCH_LATE)
            self.search()

    def search(self) -> None:
        """Search for unknown streams, and for the files in them.

        Raises:
            TransportError: a call failed. Streams found before it stay known, and the next search reads their files.
        """
        owners = [self._me, *sorted(self.owners - {self._me})]
        for folder in self._folders.run(owners, self._query, lambda folder: folder.owner):
            self._open(folder)
        self._last_search = self._clock.monotonic()
        self.catch_up(self.streams())
        self.searched = True

    def _query(self, owners: Iterable[str]) -> str:
        return search_for_streams("me" if owner == self._me else owner for owner in owners)

    def _open(self, folder: DriveFile) -> None:
        if folder.id in self._streams or folder.owner not in self.owners or self._has_enough(folder.owner):
            return
        try:
            announcement = Announcement.decode(folder.properties)
        except TransportError as error:
            if folder.owner not in self._told:
                self._told.add(folder.owner)
                text = (
                    "a shared Drive folder of {} is ignored: {}; if its files are missing, ask {} to update syft-flwr"
                )
                logger.warning(text, folder.owner, error, folder.owner)
            return
        personal = announcement.readers == self._personal
        self._streams[folder.id] = IncomingStream(folder, announcement, personal=personal)

    def _has_enough(self, owner: str) -> bool:
        # This participant has a stream for each of its peers.
        return owner != self._me and sum(stream.owner == owner for stream in self._streams.values()) >= _MAX_STREAMS

    def catch_up(self, streams: Iterable[IncomingStream]) -> None:
        """Search for the files in the streams that are ``behind``."""
        behind = [stream for stream in streams if stream.behind and self._may_search_for_files(stream.owner)]
        behind.sort(key=lambda stream: stream.owner)
        for start in range(0, len(behind), _AT_ONCE):
            group = behind[start : start + _AT_ONCE]
            found = self._search_in(group)
            if not found and len(group) > 1:
                # A search of several folders sometimes finds no files although the folders have some
                # (https://issuetracker.google.com/issues/149522397).
                found = [hit for stream in group for hit in self._search_in([stream])]
            for stream in group:
                stream.behind = False
                self._caught_up[stream.owner] = self._clock.monotonic()
            placed = [(stream, stream.found(file), file) for stream, file in found]
            self._on_found((stream, position, file) for stream, position, file in placed if position is not None)

    def _may_search_for_files(self, owner: str) -> bool:
        """Return False for an owner with very many files that was searched lately: each search needs several calls."""
        last = self._caught_up.get(owner, -math.inf)
        return owner not in self._files.crowded or self._clock.monotonic() - last >= _SEARCH_LATE

    def _search_in(self, streams: Collection[IncomingStream]) -> list[tuple[IncomingStream, DriveFile]]:
        folders = {stream.folder: stream for stream in streams}

        def stream_of(file: DriveFile) -> IncomingStream | None:
            return next((folders[parent] for parent in file.parents if parent in folders), None)

        def owner_of(file: DriveFile) -> str | None:
            stream = stream_of(file)
            return stream.owner if stream else None

        def query(owners: Collection[str]) -> str:
            return search_in([stream.folder for stream in streams if stream.owner in owners])

        hits = self._files.run(list(dict.fromkeys(stream.owner for stream in streams)), query, owner_of)
        return [(stream, file) for file in hits if (stream := stream_of(file))]
