"""Polls the peers' streams, one poll for all peers, and records their files in the catalogue.

* A poll asks only for files that callers need: a missing file, new files below a listed prefix, changes of a file that was
  read. A poll is one HTTP request, or a few if peers wrote many files. For a data owner that waits for its next request, it asks for one id.
* A file counts only if Drive reports the stream's owner as its owner, and if this owner may write its name.
"""

import threading
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import islice

from syft_flwr.clock import Clock
from syft_flwr.errors import TransportError
from syft_flwr.log_once import LogOnce
from syft_flwr.names import is_valid_name, may_write, only_writer, writer_of
from syft_flwr.transport._gdrive.api.drive_client import DriveClient
from syft_flwr.transport._gdrive.api.drive_file import DriveFile
from syft_flwr.transport._gdrive.streams.announcement import Announcement
from syft_flwr.transport._gdrive.streams.catalogue import Catalogue
from syft_flwr.transport._gdrive.streams.finder import Finder, Found
from syft_flwr.transport._gdrive.streams.incoming import IncomingStream
from syft_flwr.transport._gdrive.streams.poll_targets import PollTargets

_AT_ONCE = 50
#: While a file is due, one poll in ``_WIDE`` asks for more than the next file. That file may take long to upload, and must
#: not hide later ones. Or it was deleted before a poll saw it, which only the folder shows. While no file is due, one poll
#: in ``_WIDE`` asks for the files that callers read, in place of the next file.
_WIDE = 4
#: While no file is due, one poll in ``_LOOK_EVERY`` looks around in place of asking for the next file.
_LOOK_EVERY = 8
#: Ids of each stream that a poll asks for in the case of ``_WIDE``.
_AHEAD = 4
#: Ids of each stream that a look asks for.
_FAR_AHEAD = 12
_MAX_WANTED = 64
#: The most known files of each peer that a call before the polls looks at.
_MOST_LOOKED_AT = 500
#: The most ids of one peer in one poll, so that a peer with many streams and skipped positions delays no other.
_MOST_OF_PEER = 256
#: Characters of a peer's name in the log.
_SHOWN = 100
#: The most batches in one poll. If a peer writes faster, the next poll continues.
_MAX_BATCHES = 16


class Mirror:
    """Keeps the catalogue up to date with the peers' streams. Thread-safe.

    Args:
        drive: the account of this participant.
        me: the email of the account.
        peers: the owners that the first search includes; others are added when a caller asks for them.
        catalogue: receives the files that are found.
        own_folders: returns the folders that this process writes; they are not polled.
        is_doomed: returns whether a file of this participant only waits for its deletion.
        targets: the owners that a poll asks for.
        watches: returns the watched prefixes; a look at times is enough for them.
        on_change: receives the names that appeared, changed or were deleted.
        look: seconds between two looks.
        search: seconds until the next search for missing streams; the time doubles with each search.
    """

    def __init__(
        self,
        drive: DriveClient,
        me: str,
        peers: Collection[str],
        catalogue: Catalogue,
        own_folders: Callable[[], Collection[str]],
        is_doomed: Callable[[str], bool],
        targets: PollTargets,
        watches: Callable[[], Iterable[str]],
        on_change: Callable[[Collection[str]], None],
        clock: Clock,
        *,
        look: float,
        search: float,
    ) -> None:
        self._drive = drive
        self._me = me
        self._catalogue = catalogue
        self._own_folders = own_folders
        self._is_doomed = is_doomed
        self._clock = clock
        self._look_interval = look
        self._on_change = on_change
        self._finder = Finder(drive, me, peers, self._accept, clock, search)
        self._targets = targets
        self._watches = watches
        self._polling = threading.RLock()
        self._news = False
        self._next_look = 0.0
        self._looks = 0
        self._polls = 0
        self._logged = LogOnce()

    def note_listing(self, prefix: str) -> None:
        """Let the next polls ask for new files below ``prefix``."""
        writer = only_writer(prefix, self._me)
        self._targets.listing(self._finder.owners - {self._me} if writer is None else {writer})

    def readers_of(self, folder: str) -> str | None:
        """Return the digest of the readers of a stream's folder; None if the folder is not known."""
        return self._finder.readers_of(folder)

    def load(self) -> None:
        """Search for the streams and their files, if no search has succeeded yet.

        Raises:
            TransportError: the search failed.
        """
        if self._finder.searched:
            # Without the lock, because a poll holds it during its calls to Drive.
            return
        with self._polling:
            if not self._finder.searched:
                self._finder.search()

    def poll(self) -> bool:
        """Ask Drive for the files that callers need; return whether a file appeared, changed or was deleted.

        Raises:
            TransportError: a call failed.
        """
        with self._polling:
            self._news = False
            self._poll(self._targets.missed, self._targets.listed)
            return self._news

    def look(self, owners: Collection[str]) -> None:
        """Ask Drive for all files of these owners, independently of the polls."""
        with self._polling:
            self._finder.owners.update(owners)
            self._finder.search()
            streams = [stream for stream in self._finder.streams() if stream.owner in owners]
            for stream in streams:
                stream.behind = True
            self._ask(streams, _FAR_AHEAD, folders=True, wanted=self._catalogue.of_others(owners, _MOST_LOOKED_AT))

    def _poll(self, missed: set[str], listed: set[str]) -> None:
        self._finder.search_if_due(missed, missed | listed)
        streams = [
            stream
            for stream in self._foreign()
            if stream.owner in missed or (stream.owner in listed and stream.personal)
        ]
        self._polls += 1
        if missed:
            wide = self._polls % _WIDE == 0
            wanted = self._catalogue.take_wanted(_MAX_WANTED)
            self._ask(streams, _AHEAD if wide else 1, folders=wide, wanted=wanted)
        elif self._clock.monotonic() >= self._next_look or (streams and self._polls % _LOOK_EVERY == 0):
            self._look_around(streams, listed)
        elif self._polls % _WIDE == 0 and (wanted := self._catalogue.take_wanted(_MAX_WANTED)):
            self._ask([], 0, folders=False, wanted=wanted)
        else:
            self._ask(streams, 1, folders=False, wanted=[])

    def _look_around(self, streams: Sequence[IncomingStream], listed: set[str]) -> None:
        """Check, in turn, the folders, an id further ahead, the next file in a shared stream, and a known file.

        A folder shows the positions that a poll cannot: a file that was deleted before a poll saw it, and an unused id.
        """
        self._next_look = self._clock.monotonic() + self._look_interval
        self._looks += 1
        owners = listed | self._watched()
        self._finder.search_if_due(set(), owners)
        others = [stream for stream in self._foreign() if stream.owner in owners - listed]
        if self._looks % 4 == 1:
            self._ask([*streams, *others], _FAR_AHEAD if others else 0, folders=True, wanted=[])
        elif self._looks % 4 == 2:
            self._ask_ahead(streams, 1 + self._looks // 4 % _FAR_AHEAD)
        elif self._looks % 4 == 3:
            # The other polls ask listed peers for the files of their personal streams only. A heartbeat is in a shared one.
            shared = [stream for stream in self._foreign() if stream.owner in listed and not stream.personal]
            self._ask(shared, 1, folders=False, wanted=[])
        elif known := self._catalogue.one_of_others(owners, self._looks // 4):
            self._ask([], 0, folders=False, wanted=[known])

    def _ask_ahead(self, streams: Sequence[IncomingStream], distance: int) -> None:
        """Ask for one file further on, because the next one may take long to upload."""
        wanted = [file_id for stream in streams if (file_id := stream.ahead(distance))]
        answers = self._drive.get_many(wanted) if wanted else {}
        self._accept((stream, *hit) for stream in streams for hit in stream.take(answers))

    def _foreign(self) -> list[IncomingStream]:
        """Return the streams that this process does not write."""
        own = self._own_folders()
        return [stream for stream in self._finder.streams() if stream.folder not in own]

    def _watched(self) -> set[str]:
        writers = {only_writer(prefix, self._me) for prefix in self._watches()}
        return set(self._finder.owners) if None in writers else {writer for writer in writers if writer}

    def _ask(
        self, streams: Collection[IncomingStream], ahead: int, *, folders: bool, wanted: Sequence[DriveFile]
    ) -> None:
        self._finder.catch_up(streams)
        asked: Counter[str] = Counter()
        for _ in range(_MAX_BATCHES):
            ids = dict.fromkeys(self._due(streams, ahead, folders=folders, asked=asked))
            ids.update(dict.fromkeys(file.id for file in wanted))
            if not ids:
                return
            answers = self._drive.get_many(list(ids))
            self._renew(wanted, answers)
            # Files first: Drive executes the calls of a batch in any order. So a folder can announce a file as written that
            # did not exist when the same batch asked for it. The next batch asks for it again.
            found = [(stream, *hit) for stream in streams for hit in stream.take(answers)]
            more = [stream for stream in streams if self._learn(stream, answers)]
            self._accept(found)
            # More files may follow in these streams. The waiting callers know about the files found so far.
            moved = {stream.folder for stream in more} | {stream.folder for stream, _, _ in found}
            known = self._finder.readers_of
            streams = [stream for stream in streams if stream.folder in moved and known(stream.folder) is not None]
            if not streams:
                return
            ahead, folders, wanted = max(1, min(2 * len(found), _AT_ONCE)), False, []

    def _due(
        self, streams: Collection[IncomingStream], ahead: int, *, folders: bool, asked: Counter[str]
    ) -> Iterator[str]:
        """Iterate over the ids to ask for, and count them in ``asked`` by owner."""
        # Each poll begins with another stream, because an owner can have more ids than a poll asks for.
        first = self._polls % max(1, len(streams))
        for stream in [*islice(streams, first, None), *islice(streams, first)]:
            own = [stream.folder] if folders or stream.runs_out else []
            for file_id in islice([*own, *stream.due(ahead)], max(0, _MOST_OF_PEER - asked[stream.owner])):
                asked[stream.owner] += 1
                yield file_id

    def _renew(self, wanted: Iterable[DriveFile], answers: Mapping[str, DriveFile | None]) -> None:
        changed = []
        for file in wanted:
            now = answers[file.id]
            owned = now is not None and now.owner == file.owner
            changed.append(self._catalogue.renew(now) if now and owned else self._catalogue.drop(file.id))
        self._tell(name for name in changed if name)

    def _learn(self, stream: IncomingStream, answers: Mapping[str, DriveFile | None]) -> bool:
        """Record the announcement of a stream's folder; return whether it changed the ids to ask for."""
        if stream.folder not in answers:
            return False
        folder = answers[stream.folder]
        if folder is None or folder.owner != stream.owner:
            text = "a shared Drive folder of {} is gone; searching for it again, no action is needed"
            self._logged.warning(stream.owner, stream.folder, text, stream.owner)
            self._finder.lose(stream)
            return False
        before = stream.due(1)
        with suppress(TransportError):
            stream.learn(Announcement.decode(folder.properties))
        return stream.due(1) != before

    def _accept(self, found: Iterable[Found]) -> None:
        """Record the found files in the catalogue. A file counts only if its owner may write its name."""
        own = self._own_folders()
        new = []
        for stream, position, file in found:
            if file.is_folder or file.owner != stream.owner or self._is_doomed(file.id):
                continue
            if not is_valid_name(file.name) or not may_write(file.owner, file.name):
                self._say_ignored(file)
            elif self._catalogue.add(file, position, ours=stream.folder in own):
                new.append(file.name)
                self._finder.heard_of(file.owner)
        self._tell(new)

    def _say_ignored(self, file: DriveFile) -> None:
        text = "a file of {} is ignored: its owner may not write the name {!r}; no action is needed"
        self._logged.warning(file.owner, file.name, text, file.owner, file.name[:_SHOWN])

    def _tell(self, names: Iterable[str]) -> None:
        changed = set(names)
        if changed:
            self._news = True
            # Before the callers are woken: a caller that still misses a file adds its target again.
            self._targets.met(map(writer_of, changed))
            self._on_change(changed)
