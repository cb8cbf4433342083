"""Files in Google Drive: everybody writes into folders of its own, and lets its peers read them.

Nothing is ever written, moved or deleted in another's folder, so nobody needs to be trusted with more than reading. The names
of the transport are the names of the files; in which folder a file lies says only who may read it.

* Files are found by ids that are agreed on in advance (``_gdrive.announcement``); a search is for the start.
* While there is a watch, a thread polls for all peers at once (``_gdrive.mirror``), and what is asked of this class is answered
  from what it found. Without a watch, as in a command for people, each question is asked of Drive.
"""

import hashlib
import io
import shutil
import tempfile
import threading
from collections.abc import Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, suppress
from itertools import islice
from pathlib import Path
from typing import BinaryIO, cast
from weakref import WeakValueDictionary

from syft_flwr.clock import Clock, SystemClock
from syft_flwr.errors import ConflictError, NotFoundError, TooLargeError, TransportError
from syft_flwr.files import keep_file, open_folder, translate, write_in_folder
from syft_flwr.transport._folder_watch import FolderWatch
from syft_flwr.transport._gdrive.announcement import audience_digest
from syft_flwr.transport._gdrive.catalogue import Catalogue
from syft_flwr.transport._gdrive.client import Drive, DriveFile, ReplacedError, UploadJournal
from syft_flwr.transport._gdrive.contents import SMALL, Contents
from syft_flwr.transport._gdrive.interest import Interest
from syft_flwr.transport._gdrive.mirror import Mirror
from syft_flwr.transport._gdrive.outbox import Outbox
from syft_flwr.transport._gdrive.poller import Poller
from syft_flwr.transport._gdrive.rules import is_in_inbox, may_write, writer_of
from syft_flwr.transport._gdrive.slot import Slot
from syft_flwr.transport._staging import Staging
from syft_flwr.transport.base import INBOX_SUFFIXES, Data, Entry, Properties, validate_name
from syft_flwr.transport.gdrive_opener import DELAY

_MAX_FILE = 5_000_000_000_000
#: Plaintext bytes of one object, the most that the protocol allows: a call costs more than what it carries.
_PART_SIZE = 64 << 20
#: Seconds for which the free space of the drive is believed.
_SPACE_IS_NEWS = 60.0
#: A file that is replaced while it is read is read again, so often.
_ATTEMPTS = 20
_UPDATE_INTERVAL = 60.0
_CONCURRENCY = 8
#: Seconds for which :meth:`GDriveTransport.close` waits for calls that are under way.
_CLOSE_WITHIN = 5.0
#: Messages that are downloaded ahead when many come together.
_MOST_AHEAD = 32
#: Polls in a poll interval while an answer is due. Two are awaited in a round, one on each side.
_POLLS = 3.0


class GDriveTransport:
    """One participant's end of Google Drive; see :class:`syft_flwr.transport.base.Transport`.

    Args:
        drive: the account.
        email: its email, normalised.
        home: of this participant; what is remembered of the drive lies in ``gdrive/`` there.
        peers: who is written to and read from. ``*`` among the readers of a file means them.
        poll_interval: seconds between two looks at what is known; Drive is polled more often while an answer is due.
        live: poll from the first use on, not only while there is a watch.
        look: seconds between two looks at what nothing tells of, such as a file that is replaced.
    """

    def __init__(
        self,
        drive: Drive,
        email: str,
        home: Path,
        *,
        peers: Collection[str],
        poll_interval: float = 3.0,
        live: bool = False,
        look: float = 60.0,
        clock: Clock | None = None,
    ) -> None:
        self._drive = drive
        self._email = email
        self._peers = frozenset(peers) - {email}
        self._poll_interval = poll_interval
        self._live = live
        self._clock = clock or SystemClock()
        folder = home / "gdrive"
        self._slot = Slot(folder, email)
        self._staging = Staging(folder / "staging")
        self._catalogue = Catalogue(email)
        self._contents = Contents(self._staging.path, drive.download)
        self._outbox = Outbox(drive, email, peers, self._slot, self._catalogue, UploadJournal(folder / "uploads"))
        self._interest = Interest(self._clock, 2.5 * poll_interval)
        self._mirror = Mirror(
            drive,
            email,
            self._peers,
            self._catalogue,
            self._outbox.folders,
            self._outbox.is_doomed,
            self._interest,
            self._watched,
            self._tell,
            self._clock,
            look=look,
            search=poll_interval,
        )
        self._lock = threading.Lock()
        #: As long as somebody has it.
        self._writing: WeakValueDictionary[str, threading.Lock] = WeakValueDictionary()
        self._watches: list[FolderWatch] = []
        self._poller: Poller | None = None
        #: Deletes and announces, which nobody should have to wait for.
        self._tidier = Poller("drive-tidier", self._tidy, lambda: False, poll_interval / 2, self._clock)
        self._fetching = ThreadPoolExecutor(_CONCURRENCY, thread_name_prefix="drive-fetch")
        self._inboxes: frozenset[str] = frozenset()
        self._refused: set[str] = set()
        self._space: tuple[float, int] | None = None

    @property
    def properties(self) -> Properties:
        return Properties(
            _MAX_FILE,
            _PART_SIZE,
            self._poll_interval,
            pushes_events=True,
            delay=DELAY * self._poll_interval,
            update_interval=_UPDATE_INTERVAL,
            concurrency=_CONCURRENCY,
        )

    def put(self, name: str, data: Data, *, readers: Collection[str], replace: bool = False) -> None:
        validate_name(name)
        if not may_write(self._email, name):
            # Nobody would take it from us there.
            self._refused.add(name)
            return
        self._begin()
        with self._alone(name), tempfile.SpooledTemporaryFile(SMALL, dir=str(self._staging.path)) as spool:
            size, md5 = _spool(name, data, cast("BinaryIO", spool))
            audience = self._audience(name, readers)
            present = self._own(name, audience)
            if present and (present.size, present.md5) == (size, md5):
                return
            if present and not replace:
                raise ConflictError(f"{name} exists with other content; files are written once")
            content = cast("BinaryIO", spool)
            file = self._outbox.replace(present, content, size, md5) if present else None
            if file is None:
                file = self._outbox.put(name, audience, content, size, md5)
            if size <= SMALL:
                spool.seek(0)
                self._contents.remember(file, spool.read())
        if self._poller and not replace:
            self._poller.hurry()

    def _own(self, name: str, audience: frozenset[str]) -> DriveFile | None:
        """Return our file of a name that these readers can read. A key card may have several copies, each for other peers."""
        digest = audience_digest(audience)
        copies = self._catalogue.copies(name)
        return next((file for file in copies if self._readers_of(file) == digest), None)

    def _readers_of(self, file: DriveFile) -> str | None:
        folder = next(iter(file.parents), "")
        return self._outbox.readers_of(folder) or self._mirror.readers_of(folder)

    def _audience(self, name: str, readers: Collection[str]) -> frozenset[str]:
        wanted = set(readers) | {name.partition("/")[0]}
        if "*" in wanted:
            wanted = wanted - {"*"} | self._peers
        return frozenset(wanted - {self._email})

    def get(self, name: str, *, max_size: int) -> bytes:
        with self.open(name, max_size=max_size) as file:
            return file.read()

    def open(self, name: str, *, max_size: int) -> AbstractContextManager[BinaryIO]:
        return self._open(self._find(name, max_size), max_size)

    def keep(self, name: str, path: Path, *, max_size: int) -> None:
        found = self._find(name, max_size)
        with self._open(found, max_size) as file:
            try:
                # It may have been replaced, and be of another size now.
                if not isinstance(file, io.BytesIO):
                    held = Path(file.name)
                    with open_folder(held.parent, ()) as folder:
                        keep_file(file, folder, held.name, path)
                else:
                    with open_folder(path.parent, ()) as folder:
                        write_in_folder(folder, path.name, file.read(), mode=0o600)
            except OSError as error:
                raise translate(error, name) from error

    def stat(self, name: str) -> Entry:
        found = self._find(name, _MAX_FILE)
        return Entry(name, found.size)

    def refused(self, name: str) -> bool:
        return validate_name(name) in self._refused

    def list(self, prefix: str) -> Iterator[Entry]:
        prefix = prefix.rstrip("/") + "/"
        self._begin()
        self._mirror.note_listing(prefix)
        if self._poller is None:
            self._mirror.look(self._owners_below(prefix))
        for file in self._catalogue.below(prefix):
            if file.size and self._counts(file):
                yield Entry(file.name, file.size)

    def _owners_below(self, prefix: str) -> set[str]:
        owner = prefix.partition("/")[0]
        return {*self._peers, owner} if owner == self._email else {owner, self._email}

    def watch(self, prefixes: Collection[str]) -> FolderWatch:
        watch = FolderWatch(prefixes, on_close=self._end_watch)
        with self._lock:
            self._watches.append(watch)
        self._start_polling()
        return watch

    def _start_polling(self) -> None:
        with self._lock:
            if self._poller:
                return
            shortest = self._poll_interval / _POLLS
            self._poller = Poller("drive-poller", self._poll, self._is_due, shortest, self._clock)
        self._poller.start()
        self._tidier.start()

    def _begin(self) -> None:
        """Find out what there is, before the first question or write."""
        self._mirror.load()
        if self._live:
            self._start_polling()

    def _watched(self) -> Collection[str]:
        with self._lock:
            return [prefix for watch in self._watches for prefix in watch.prefixes]

    def _end_watch(self, watch: FolderWatch) -> None:
        with self._lock:
            self._watches.remove(watch)

    def _poll(self) -> bool:
        self._mirror.load()
        return self._mirror.poll()

    def _is_due(self) -> bool:
        return bool(self._interest.missed)

    def _tidy(self) -> bool:
        self._outbox.flush()
        self._outbox.upkeep()
        return False

    def _tell(self, changed: Collection[str]) -> None:
        with self._lock:
            watches = list(self._watches)
        if len(changed) > 1 and watches:
            self._fetch(changed)
        for name in changed:
            for watch in watches:
                watch.notify(name)

    def _fetch(self, names: Collection[str]) -> None:
        """Download messages that came together side by side; whoever reads them does it one after the other."""
        found = (self._catalogue.get(name) for name in names if name.endswith(INBOX_SUFFIXES))
        wanted = (file for file in found if file and file.owner != self._email and self._counts(file))
        for file in islice((file for file in wanted if 0 < file.size <= SMALL), _MOST_AHEAD):
            self._fetching.submit(self._fetch_one, file)

    def _fetch_one(self, file: DriveFile) -> None:
        # Whoever reads it meets the same error, and can act on it.
        with suppress(TransportError):
            self._contents.read(file)

    def delete(self, name: str) -> None:
        validate_name(name)
        self._refused.discard(name)
        self._begin()
        with self._alone(name):
            copies = self._catalogue.drop_copies(name)
            if not copies:
                return
            self._outbox.delete(copies)
            for file in copies:
                self._contents.forget(file.id)
            if self._poller is None:
                self._outbox.flush()
            else:
                self._tidier.hurry()
        self._tell([name])

    def open_inbox(self, prefix: str) -> None:
        self._inboxes |= {validate_name(f"{prefix.rstrip('/')}/x").removesuffix("x")}

    def free_space(self) -> int:
        """Return what fits into the drive, and what fits on this disk, where it lies on its way."""
        now = self._clock.monotonic()
        if self._space is None or now - self._space[0] > _SPACE_IS_NEWS:
            left = self._drive.free_space()
            self._space = now, _MAX_FILE if left is None else left
        try:
            return min(self._space[1], shutil.disk_usage(self._staging.path).free)
        except OSError as error:
            raise translate(error, "the disk") from error

    def reopen(self) -> None:
        """Return None: the login, the catalogue and the ids of the next files belong to one process."""

    def close(self) -> None:
        with self._lock:
            poller = self._poller
        # What Drive does not answer by then is left; deletions are recorded, and made by the next process.
        giving_up = threading.Timer(_CLOSE_WITHIN, self._drive.close)
        giving_up.daemon = True
        giving_up.start()
        try:
            if poller:
                poller.close()
                self._tidier.close()
            self._fetching.shutdown(cancel_futures=True)
            with suppress(TransportError):
                self._outbox.flush()
        finally:
            giving_up.cancel()
            self._drive.close()
            self._staging.close()
            self._slot.close()

    def _find(self, name: str, max_size: int) -> DriveFile:
        """Return a complete file that may be read; from what is known, or, without a watch, as it is now."""
        validate_name(name)
        self._begin()
        found = self._catalogue.get(name, want=True)
        if self._poller is None and (found is None or found.owner != self._email):
            self._mirror.look({writer_of(name), self._email})
            found = self._catalogue.get(name)
        if found is None or not self._counts(found) or not found.size:
            self._mirror.note_miss(name, went=self._catalogue.went(name))
            raise NotFoundError(f"{name} is not there")
        return _bounded(found, max_size)

    def _counts(self, file: DriveFile) -> bool:
        """Say whether a file may stand where its name says: in an inbox of ours, only if it was opened."""
        mine = file.name.startswith(f"{self._email}/")
        return file.owner == self._email or not mine or is_in_inbox(file.name, self._inboxes)

    def _open(self, file: DriveFile, max_size: int) -> BinaryIO:
        name, owner = file.name, file.owner
        for _ in range(_ATTEMPTS):
            try:
                return self._contents.open(file)
            except ReplacedError as error:
                file = error.file
                # A poll may have noted it already.
                self._catalogue.renew(file)
                if (file.name, file.owner) != (name, owner):
                    raise NotFoundError(f"{name} is not there") from error
                _bounded(file, max_size)
        raise NotFoundError(f"{name} is replaced again and again; it can be read later")

    def _alone(self, name: str) -> threading.Lock:
        """Return the lock under which a name of ours changes."""
        with self._lock:
            return self._writing.setdefault(name, threading.Lock())


def _bounded(file: DriveFile, max_size: int) -> DriveFile:
    if file.size > max_size:
        raise TooLargeError(f"{file.name} has {file.size} bytes; at most {max_size} are accepted")
    return file


def _spool(name: str, data: Data, target: BinaryIO) -> tuple[int, str]:
    """Write all of ``data``; return its size and MD5, by which Drive knows it."""
    digest = hashlib.md5(usedforsecurity=False)
    size = 0
    for buffer in (data,) if isinstance(data, bytes) else data:
        view = memoryview(buffer).cast("B")
        digest.update(view)
        try:
            target.write(view)
        except OSError as error:
            raise translate(error, name) from error
        size += len(view)
    return size, digest.hexdigest()
