"""The transport over Google Drive: each participant writes to its own folders, and lets its peers read them.

A participant never writes, moves or deletes files in a folder of a peer, so peers need only read access. The name of a file
in Drive is its full name in the transport. The folder of a file only decides who may read it.

* Files are found by ids that the writer announces in advance (``_gdrive.streams.announcement``). Searches are used mainly
  at the start.
* After the first watch, a thread polls for all peers at once (``_gdrive.streams.mirror``), and calls read from the catalogue
  that it fills. Before, as in a short command, each call asks Drive.
"""

import shutil
import threading
from collections.abc import Collection, Iterator
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from typing import BinaryIO

from syft_flwr.clock import Clock, SystemClock
from syft_flwr.errors import NotFoundError, TransportError
from syft_flwr.names import may_write, validate_name, writer_of
from syft_flwr.transport._disk import translate
from syft_flwr.transport._gdrive.api.drive_client import DriveClient
from syft_flwr.transport._gdrive.api.drive_file import MAX_FILE, DriveFile
from syft_flwr.transport._gdrive.api.upload_sessions import UploadSessions
from syft_flwr.transport._gdrive.streams.catalogue import Catalogue
from syft_flwr.transport._gdrive.streams.download_cache import DownloadCache
from syft_flwr.transport._gdrive.streams.mirror import Mirror
from syft_flwr.transport._gdrive.streams.notifier import Notifier
from syft_flwr.transport._gdrive.streams.outbox import Outbox
from syft_flwr.transport._gdrive.streams.own_streams import OwnStreams
from syft_flwr.transport._gdrive.streams.poll_targets import PollTargets
from syft_flwr.transport._gdrive.streams.poller import DELAY
from syft_flwr.transport._gdrive.streams.polling_threads import PollingThreads
from syft_flwr.transport._gdrive.streams.publisher import Publisher
from syft_flwr.transport._gdrive.streams.saved_state import SavedState
from syft_flwr.transport._gdrive.streams.visible_files import VisibleFiles, bounded
from syft_flwr.transport._staging import Staging
from syft_flwr.transport.base import Data, Entry, Properties
from syft_flwr.transport.watch import NameWatch

#: Plaintext bytes of one object. It is the limit of the protocol, because few large calls are cheaper than many small ones.
_PART_SIZE = 64 << 20
#: Seconds for which a reported free space of the drive is used.
_SPACE_IS_NEWS = 60.0
#: A quarter of the default of ``msg_timeout``.
_UPDATE_INTERVAL = 30.0
_CONCURRENCY = 8
#: Seconds for which :meth:`GDriveTransport.close` waits for running calls.
_CLOSE_WITHIN = 5.0


class GDriveTransport:
    """The transport of one participant over Google Drive; see :class:`syft_flwr.transport.base.Transport`.

    Args:
        drive: the client of the participant's account.
        email: the email of the account, normalised.
        home: the private folder of this participant; the transport keeps its state in ``gdrive/`` there.
        peers: the emails of the peers. ``*`` among the readers of a file means all of them.
        poll_interval: seconds between two looks of a caller. Drive is polled more often while a file is due.
        live: poll from the first use on, and not only after the first watch.
        look: seconds between two looks for changes that a poll does not find, such as a replaced file.
        concurrency: files that are written, and files that are read in advance, at the same time.

    Raises:
        TransportError: the state in ``home`` cannot be used.
    """

    def __init__(
        self,
        drive: DriveClient,
        email: str,
        home: Path,
        *,
        peers: Collection[str],
        poll_interval: float = 3.0,
        live: bool = False,
        look: float = 60.0,
        concurrency: int = _CONCURRENCY,
        clock: Clock | None = None,
    ) -> None:
        self._drive = drive
        self._email = email
        self._peers = frozenset(peers) - {email}
        self._poll_interval = poll_interval
        self._live = live
        self._clock = clock or SystemClock()
        folder = home / "gdrive"
        self._saved = SavedState(folder, email)
        self._staging = Staging(folder / "staging")
        self._catalogue = Catalogue(email)
        cache = DownloadCache(self._staging.path, drive.download)
        self._files = VisibleFiles(email, self._catalogue, cache)
        self._notifier = Notifier(email, self._catalogue, self._files, cache, concurrency)
        self._streams = OwnStreams(drive, email, peers, self._saved)
        sessions = UploadSessions(folder / "uploads")
        self._outbox = Outbox(drive, email, self._streams, self._saved, self._catalogue, sessions)
        self._targets = PollTargets(self._clock, 2.5 * poll_interval)
        self._mirror = Mirror(
            drive,
            email,
            self._peers,
            self._catalogue,
            self._streams.folders,
            self._outbox.is_doomed,
            self._targets,
            self._notifier.watched,
            self._notifier.tell,
            self._clock,
            look=look,
            search=poll_interval,
        )
        self._publisher = Publisher(
            email, self._peers, self._catalogue, self._outbox, cache, self._staging.path, self._readers_of
        )
        self._threads = PollingThreads(
            self._mirror, self._targets, self._outbox, self._streams, poll_interval, self._clock
        )
        self._concurrency = concurrency
        self._refused: set[str] = set()
        self._space: tuple[float, int] | None = None

    @property
    def properties(self) -> Properties:
        return Properties(
            MAX_FILE,
            _PART_SIZE,
            self._poll_interval,
            pushes_events=True,
            delay=DELAY * self._poll_interval,
            update_interval=_UPDATE_INTERVAL,
            concurrency=self._concurrency,
        )

    def put(self, name: str, data: Data, *, readers: Collection[str], replace: bool = False) -> None:
        validate_name(name)
        if not may_write(self._email, name):
            # The peers would ignore this file, because this participant may not write its name.
            self._refused.add(name)
            return
        self._begin()
        written = self._publisher.put(name, data, readers, replace=replace)
        if written and not replace and self._threads.started:
            self._threads.expect_answer()

    def get(self, name: str, *, max_size: int) -> bytes:
        with self.open(name, max_size=max_size) as file:
            return file.read()

    def open(self, name: str, *, max_size: int) -> AbstractContextManager[BinaryIO]:
        return self._files.open(self._find(name, max_size), max_size)

    def keep(self, name: str, path: Path, *, max_size: int) -> None:
        self._files.keep(self._find(name, max_size), path, max_size)

    def stat(self, name: str) -> Entry:
        found = self._find(name, MAX_FILE)
        return Entry(name, found.size)

    def refused(self, name: str) -> bool:
        return validate_name(name) in self._refused

    def delete_conflicts(self, prefix: str, *, most: int) -> None:
        pass

    def list(self, prefix: str) -> Iterator[Entry]:
        prefix = prefix.rstrip("/") + "/"
        self._begin()
        self._mirror.note_listing(prefix)
        if not self._threads.started:
            self._mirror.look(self._owners_below(prefix))
        for file in self._files.below(prefix):
            yield Entry(file.name, file.size)

    def _owners_below(self, prefix: str) -> set[str]:
        owner = prefix.partition("/")[0]
        return {*self._peers, owner} if owner == self._email else {owner, self._email}

    def watch(self, prefixes: Collection[str]) -> NameWatch:
        watch = self._notifier.watch(prefixes)
        self._threads.start()
        return watch

    def _begin(self) -> None:
        """Load the catalogue before the first read or write; start the threads if the transport is live."""
        self._mirror.load()
        if self._live:
            self._threads.start()

    def _readers_of(self, folder: str) -> str | None:
        return self._streams.readers_of(folder) or self._mirror.readers_of(folder)

    def delete(self, name: str) -> None:
        validate_name(name)
        self._refused.discard(name)
        self._begin()
        at_once = not self._threads.started
        if self._publisher.delete(name, at_once=at_once):
            if not at_once:
                self._threads.tidy_soon()
            self._notifier.tell([name])

    def open_inbox(self, prefix: str) -> None:
        self._files.open_inbox(validate_name(f"{prefix.rstrip('/')}/x").removesuffix("x"))

    def prepare(self, prefix: str, readers: Collection[str]) -> None:
        pass

    def restore_permissions(self) -> None:
        pass

    def free_space(self) -> int:
        """Return the smaller of two values: the free space of the drive, and of this disk, which holds files in transfer."""
        now = self._clock.monotonic()
        if self._space is None or now - self._space[0] > _SPACE_IS_NEWS:
            left = self._drive.free_space()
            self._space = now, MAX_FILE if left is None else left
        try:
            return min(self._space[1], shutil.disk_usage(self._staging.path).free)
        except OSError as error:
            raise translate(error, "the disk") from error

    def reopen(self) -> None:
        """Return None: only one process can use the login, the catalogue and the next ids."""

    def close(self) -> None:
        # After this time, running calls are ended. Deletions are recorded, so the next process makes them.
        giving_up = threading.Timer(_CLOSE_WITHIN, self._drive.close)
        giving_up.daemon = True
        giving_up.start()
        try:
            self._threads.close()
            self._notifier.close()
            with suppress(TransportError):
                self._outbox.flush()
        finally:
            giving_up.cancel()
            self._drive.close()
            self._staging.close()
            self._saved.close()

    def _find(self, name: str, max_size: int) -> DriveFile:
        """Return a complete, readable file: from the catalogue if the threads run, from Drive otherwise.

        Raises:
            NotFoundError: the file does not exist, or is not readable.
            TooLargeError: the file has more than ``max_size`` bytes.
        """
        validate_name(name)
        self._begin()
        found = self._catalogue.get(name, want=True)
        if not self._threads.started and (found is None or found.owner != self._email):
            self._mirror.look({writer_of(name), self._email})
            found = self._catalogue.get(name)
        if found is None or not self._files.counts(found):
            self._targets.miss(name, went=self._catalogue.went(name))
            raise NotFoundError(f"{name} is not there")
        return bounded(found, max_size)
