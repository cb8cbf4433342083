"""Looks at the peers' streams: one poll for all peers, for the files that were asked for since the last one.

* Whoever looks for a file that is not there, lists a folder, or looks at a file that is there, shows an interest; a poll asks
  for no more than that. It is one HTTP request, and for a data owner that waits for its next request, one id.
* A file counts only if Drive says that the stream's owner owns it, and if its name is one that this owner may write.
"""

import threading
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress

from loguru import logger

from syft_flwr.clock import Clock
from syft_flwr.errors import TransportError
from syft_flwr.names import is_valid_name, may_write, only_writer, writer_of
from syft_flwr.transport._gdrive.api.drive_client import DriveClient
from syft_flwr.transport._gdrive.api.drive_file import DriveFile
from syft_flwr.transport._gdrive.streams.announcement import Announcement
from syft_flwr.transport._gdrive.streams.catalogue import Catalogue
from syft_flwr.transport._gdrive.streams.finder import Finder, Found
from syft_flwr.transport._gdrive.streams.incoming import IncomingStream
from syft_flwr.transport._gdrive.streams.poll_targets import PollTargets

_AT_ONCE = 50
#: Where an answer is due, one poll in so many asks for more than the next file: that one may be on its way for long, and
#: must not hide what comes behind it; or it was deleted before anybody saw it, which its folder says. Where none is, it asks
#: for the files that somebody looks after, in place of the next one.
_WIDE = 4
#: Where none is, one poll in so many looks at something else than the next file.
_LOOK_EVERY = 8
_AHEAD = 4
#: Ids that a look asks for.
_FAR_AHEAD = 12
_MAX_WANTED = 64
#: Characters of a peer's name in the log.
_SHOWN = 100
#: Batches in one poll; a peer that writes faster is read on at the next one.
_MAX_BATCHES = 16


class Mirror:
    """Thread-safe.

    Args:
        drive: the account.
        me: its email.
        peers: whose streams are looked for from the start; others are when they are asked for.
        catalogue: where it is noted what there is.
        own_folders: the streams that this process writes, which need no looking after.
        is_doomed: says of a file of ours that it only waits to be deleted.
        targets: what a poll asks for.
        watches: prefixes that somebody watches, of which a look now and then is enough.
        look: seconds between two such looks.
        search: seconds after which streams that are missing are searched for again; that grows.
        on_change: told of names that appeared, changed or went.
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

    def note_listing(self, prefix: str) -> None:
        """Say that somebody wants to know of what appears below ``prefix``."""
        writer = only_writer(prefix, self._me)
        self._targets.listing(self._finder.owners - {self._me} if writer is None else {writer})

    def readers_of(self, folder: str) -> str | None:
        """Return the digest of who may read a stream's folder; None if it is not known."""
        return self._finder.readers_of(folder)

    def load(self) -> None:
        """Find the streams and what they hold, if that was not done yet.

        Raises:
            TransportError: Drive cannot be asked.
        """
        if self._finder.searched:
            # Without the lock, which a poll holds while Drive answers.
            return
        with self._polling:
            if not self._finder.searched:
                self._finder.search()

    def poll(self) -> bool:
        """Ask for what is of interest; return whether anything appeared, changed or went."""
        with self._polling:
            self._news = False
            self._poll(self._targets.missed, self._targets.listed)
            return self._news

    def look(self, owners: Collection[str]) -> None:
        """Look at everything of these owners, whatever was polled."""
        with self._polling:
            self._finder.owners.update(owners)
            self._finder.search()
            streams = [stream for stream in self._finder.streams() if stream.owner in owners]
            for stream in streams:
                stream.behind = True
            self._ask(streams, _FAR_AHEAD, folders=True, wanted=self._catalogue.of_others(owners))

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
        """Look, in place of the next file, in turn at the folders, further ahead, and at what is known.

        The folders say what was missed: a file that was deleted before it was seen, and a place that was never used.
        """
        self._next_look = self._clock.monotonic() + self._look_interval
        self._looks += 1
        owners = listed | self._watched()
        self._finder.search_if_due(set(), owners)
        others = [stream for stream in self._foreign() if stream.owner in owners - listed]
        if self._looks % 3 == 1:
            self._ask([*streams, *others], _FAR_AHEAD if others else 0, folders=True, wanted=[])
        elif self._looks % 3 == 2:
            self._ask_ahead(streams, 1 + self._looks // 3 % _FAR_AHEAD)
        elif known := self._catalogue.of_others(owners):
            self._ask([], 0, folders=False, wanted=[known[self._looks // 3 % len(known)]])

    def _ask_ahead(self, streams: Sequence[IncomingStream], distance: int) -> None:
        """Ask for one file further on, in case the next one is on its way for long."""
        wanted = [file_id for stream in streams if (file_id := stream.ahead(distance))]
        answers = self._drive.get_many(wanted) if wanted else {}
        self._accept((stream, *hit) for stream in streams for hit in stream.take(answers))

    def _foreign(self) -> list[IncomingStream]:
        """Return the streams that other processes write."""
        own = self._own_folders()
        return [stream for stream in self._finder.streams() if stream.folder not in own]

    def _watched(self) -> set[str]:
        writers = {only_writer(prefix, self._me) for prefix in self._watches()}
        return set(self._finder.owners) if None in writers else {writer for writer in writers if writer}

    def _ask(
        self, streams: Collection[IncomingStream], ahead: int, *, folders: bool, wanted: Sequence[DriveFile]
    ) -> None:
        self._finder.catch_up(streams)
        for _ in range(_MAX_BATCHES):
            ids = dict.fromkeys(file_id for stream in streams for file_id in stream.due(ahead))
            ids.update(dict.fromkeys(stream.folder for stream in streams if folders or stream.runs_out))
            ids.update(dict.fromkeys(file.id for file in wanted))
            if not ids:
                return
            answers = self._drive.get_many(list(ids))
            self._renew(wanted, answers)
            # Files first: the calls of a batch are made in any order, so a folder may speak of a file that was not there yet
            # when it was asked for. That one is asked for again.
            found = [(stream, *hit) for stream in streams for hit in stream.take(answers)]
            more = [self._learn(stream, answers) for stream in streams]
            self._accept(found)
            streams = [stream for stream in streams if self._finder.readers_of(stream.folder) is not None]
            if not found and not any(more):
                return
            # There may be more of what there was, and those who wait for this were told.
            ahead, folders, wanted = max(1, min(2 * len(found), _AT_ONCE)), False, []

    def _renew(self, wanted: Iterable[DriveFile], answers: Mapping[str, DriveFile | None]) -> None:
        changed = []
        for file in wanted:
            now = answers[file.id]
            owned = now is not None and now.owner == file.owner
            changed.append(self._catalogue.renew(now) if now and owned else self._catalogue.drop(file.id))
        self._tell(name for name in changed if name)

    def _learn(self, stream: IncomingStream, answers: Mapping[str, DriveFile | None]) -> bool:
        """Take in what a folder says; return whether that tells of files that were not known of."""
        if stream.folder not in answers:
            return False
        folder = answers[stream.folder]
        if folder is None or folder.owner != stream.owner:
            logger.warning("a shared folder of {} is gone; it is looked for again", stream.owner)
            self._finder.lose(stream)
            return False
        before = stream.due(1)
        with suppress(TransportError):
            stream.learn(Announcement.decode(folder.properties))
        return stream.due(1) != before

    def _accept(self, found: Iterable[Found]) -> None:
        """Note what was found, as far as it counts: only its owner's, under a name that it may write."""
        own = self._own_folders()
        new = []
        for stream, position, file in found:
            if file.is_folder or file.owner != stream.owner or self._is_doomed(file.id):
                continue
            if not is_valid_name(file.name) or not may_write(file.owner, file.name):
                text = "a file of {} is ignored: {!r} is no name that it may write"
                logger.warning(text, file.owner, file.name[:_SHOWN])
            elif self._catalogue.add(file, position, ours=stream.folder in own):
                new.append(file.name)
                self._finder.heard_of(file.owner)
        self._tell(new)

    def _tell(self, names: Iterable[str]) -> None:
        changed = set(names)
        if changed:
            self._news = True
            # Before anybody is told: who still misses something says so again.
            self._targets.met(map(writer_of, changed))
            self._on_change(changed)
