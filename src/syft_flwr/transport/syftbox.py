"""The transport over SyftBox: files in the synced folders ``<data_dir>/datasites/<name>``.

Rules of the SyftBox daemon that this transport follows (docs/sync.md and docs/acl.md of SyftBox):

* The daemon pushes ``*.request`` and ``*.response`` files, in any folder: it sends them at once if they fit into one
  frame and get a write event. Other files wait for a scan, every 5 s. So each file gets a write event on its final name
  (see ``files.write_in_folder``), unless ``_pace`` finds that a push would be lost.
* ``syft.pub.yaml`` files of the datasite's owner define read and write permissions; the nearest one counts.
* The daemon renames a refused file to ``<stem>.rejected.<suffix>``, and a file that it met twice to
  ``<stem>.conflict.<suffix>``. It does not sync either.
* The daemon can delete a file that its writer did not delete, and bring it back.
"""

import contextlib
import os
import shutil
import stat as stat_module
import threading
from collections.abc import Collection, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

from loguru import logger

from syft_flwr.config import Settings
from syft_flwr.errors import ConflictError, NotFoundError, TransportError
from syft_flwr.names import (
    collection,
    in_inbox,
    is_conflict_copy,
    is_pushed,
    is_rejected,
    is_valid_name,
    may_write,
    unmarked,
    validate_name,
)
from syft_flwr.transport._disk import keep_file, open_folder, open_in_folder, translate, write_in_folder
from syft_flwr.transport._staging import Staging
from syft_flwr.transport._syftbox.daemon import RESERVE, STATE, runs_on
from syft_flwr.transport._syftbox.pace import PUSHED_SIZE, SMALL, Pace
from syft_flwr.transport._syftbox.permissions import PERMISSIONS, PermissionFiles
from syft_flwr.transport.base import Data, Entry, Properties, Reopening
from syft_flwr.transport.folder_events import FolderEvents, start_events
from syft_flwr.transport.watch import NameWatch

_MAX_DEPTH = 16
#: The longest poll interval in seconds if the file system gives no change events.
_POLL_WITHOUT_EVENTS = 1.0
#: The folder beside ``datasites/`` with the second names of files, see ``Properties.links``.
_LINKS = ".syft_flwr_links"
#: Plaintext bytes of one object that goes with the scan: the daemon uploads 8 complete files at a time and gives each of
#: them 30 s, which is enough at 5 Mbit/s.
_PART_SIZE = 2 << 20
#: Bytes of the buffers in one envelope, and of their places in its manifest. The rest of the push is for its header,
#: signature and seal.
_INLINE_SIZE = PUSHED_SIZE - 20_000
#: Bytes of the largest message of which all objects are pushed. Above it, the scan is as fast.
_PUSHED_MESSAGE = 16 << 20
_FOLDER_ATTEMPTS = 5
#: Seconds between two scans of the SyftBox daemon. A file that is not pushed, or was lost, goes with a scan.
_SCAN_INTERVAL = 5.0
_FOLDER_MODE = 0o755
_FILE_MODE = 0o644


def open_syftbox(settings: Settings, peers: Collection[str], live: bool) -> "SyftBoxTransport":  # noqa: ARG001
    """Return the SyftBox transport of a participant. It does not use ``peers`` and ``live``, which other transports need."""
    data_dir = Path(settings.require("data_dir"))
    if not data_dir.is_dir():
        logger.warning(
            "data_dir {} does not exist and is created; if a SyftBox client runs here, correct data_dir in its config",
            data_dir,
        )
    email, interval = str(settings.require("email")), settings.poll_interval
    return SyftBoxTransport(data_dir, email, poll_interval=interval, synced=runs_on(data_dir))


def reopen_syftbox(data_dir: str, email: str, poll_interval: float, synced: bool) -> "SyftBoxTransport":
    """Return the same SyftBox transport in a worker process."""
    return SyftBoxTransport(Path(data_dir), email, poll_interval=poll_interval, synced=synced)


class SyftBoxTransport:
    """The transport of one participant over SyftBox; see :class:`syft_flwr.transport.base.Transport`.

    Args:
        data_dir: the data folder of the SyftBox client, which contains ``datasites/``; created if it does not exist.
        email: the email of this participant, normalised.
        poll_interval: seconds between two looks of a caller, in case it misses an event.
        synced: a daemon syncs the folder, and needs free disk space for it.

    Raises:
        TransportError: the folder cannot be used.
    """

    def __init__(self, data_dir: Path, email: str, *, poll_interval: float = 3.0, synced: bool = False) -> None:
        try:
            self._data_dir = data_dir.resolve()
            self._root = (data_dir / "datasites").resolve()
            self._root.mkdir(parents=True, exist_ok=True)
            device = self._root.stat().st_dev
        except OSError as error:
            hint = f"Give this user write access to {data_dir}, or correct data_dir in the SyftBox config."
            raise translate(error, "the datasites folder", hint=hint) from error
        self._staging = Staging(self._data_dir / ".syft_flwr_staging")
        self._staging_fits = self._staging.device == device
        self._pace = Pace(self._staging.path.with_name("pace"), self._data_dir / STATE)
        self._email = email
        self._poll_interval = poll_interval
        self._synced = synced
        self._lock = threading.Lock()
        self._events: FolderEvents | None = None
        self._events_tried = False
        self._refused: set[str] = set()
        self._permissions = PermissionFiles(
            lambda name, size: self.get(name, max_size=size), lambda name, data: self._put(name, data, replace=True)
        )

    @property
    def properties(self) -> Properties:
        silent = self._events_tried and self._events is None
        interval = min(self._poll_interval, _POLL_WITHOUT_EVENTS) if silent else self._poll_interval
        slow = self._pace.is_slow
        properties = Properties(
            1 << 40,
            _PART_SIZE,
            interval,
            pushes_events=not silent,
            links=self._data_dir / _LINKS / self._email,
            inline_size=SMALL if slow else _INLINE_SIZE,
            pushed_size=SMALL if slow else PUSHED_SIZE,
            pushed_message=0 if slow else _PUSHED_MESSAGE,
        )
        return replace(properties, reserve=RESERVE, delay=_SCAN_INTERVAL) if self._synced else properties

    def put(self, name: str, data: Data, *, readers: Collection[str], replace: bool = False) -> None:
        if validate_name(name).startswith(f"{self._email}/") and not in_inbox(name):
            self._permissions.grant_read(collection(name), readers)
        self._put(name, data, replace=replace)

    def _put(self, name: str, data: Data, *, replace: bool) -> None:
        *folders, leaf = name.split("/")
        # The daemon deletes empty folders, also between the two steps of a write. An iterator cannot be read twice.
        for attempt in range(_FOLDER_ATTEMPTS if isinstance(data, bytes) else 1, 0, -1):
            try:
                return self._put_in(folders, name, leaf, data, replace=replace)
            except NotFoundError:
                if attempt == 1:
                    raise
        return None

    def _put_in(self, folders: Sequence[str], name: str, leaf: str, data: Data, *, replace: bool) -> None:
        with self._made(folders) as folder:
            if not replace and self._is_there(folder, leaf):
                self._require_equal(folder, name, leaf, data)
                return
            if self._events:
                self._events.expect(name)
            self._write(folder, name, leaf, data)

    def get(self, name: str, *, max_size: int) -> bytes:
        with self.open(name, max_size=max_size) as file:
            try:
                # Read one byte more than allowed, to notice a file that grew after it was opened.
                data = file.read(max_size + 1)
            except OSError as error:
                raise translate(error, name) from error
        if len(data) > max_size:
            raise TransportError(f"{name} changes while it is read", hint="Read it again later.")
        return data

    def open(self, name: str, *, max_size: int) -> AbstractContextManager[BinaryIO]:
        *folders, leaf = validate_name(name).split("/")
        with open_folder(self._root, folders) as folder:
            fd, _ = open_in_folder(folder, leaf, max_size=max_size)
        return os.fdopen(fd, "rb")

    def keep(self, name: str, path: Path, *, max_size: int) -> None:
        *folders, leaf = validate_name(name).split("/")
        with open_folder(self._root, folders) as folder:
            fd, _ = open_in_folder(folder, leaf, max_size=max_size)
            with os.fdopen(fd, "rb") as file:
                keep_file(file, folder, leaf, path)

    def stat(self, name: str) -> Entry:
        *folders, leaf = validate_name(name).split("/")
        with open_folder(self._root, folders) as folder:
            try:
                status = os.stat(leaf, dir_fd=folder, follow_symlinks=False)
            except OSError as error:
                raise translate(error, name) from error
        if not stat_module.S_ISREG(status.st_mode) or status.st_size == 0:
            raise NotFoundError(f"{name} is not there")
        return Entry(name, status.st_size)

    def refused(self, name: str) -> bool:
        *folders, leaf = validate_name(name).split("/")
        try:
            with open_folder(self._root, folders) as folder:
                aside = bool(_rejected(folder, leaf))
        except NotFoundError:
            return False
        if aside:
            self._refused.add(name)
        return aside

    def delete_conflicts(self, prefix: str) -> None:
        self._delete_conflicts(_parts(prefix), _MAX_DEPTH)

    def _delete_conflicts(self, folders: Sequence[str], depth: int) -> None:
        try:
            with open_folder(self._root, folders) as folder:
                with os.scandir(folder) as found:
                    items = list(found)
                inner = [item.name for item in items if item.is_dir(follow_symlinks=False)]
                for item in items:
                    if is_conflict_copy(item.name):
                        with contextlib.suppress(FileNotFoundError, IsADirectoryError, PermissionError):
                            os.unlink(item.name, dir_fd=folder)
        except NotFoundError:
            return
        for folder_name in inner if depth else ():
            self._delete_conflicts((*folders, folder_name), depth - 1)

    def list(self, prefix: str) -> Iterator[Entry]:
        yield from self._list(_parts(prefix), _MAX_DEPTH)

    def _list(self, folders: Sequence[str], depth: int) -> Iterator[Entry]:
        inner = []
        try:
            with open_folder(self._root, folders) as folder, os.scandir(folder) as found:
                for item in found:
                    name = "/".join((*folders, item.name))
                    try:
                        status = item.stat(follow_symlinks=False)
                    except FileNotFoundError:
                        # Deleted since the folder was read; continue with the other files.
                        continue
                    if stat_module.S_ISDIR(status.st_mode):
                        inner.append(item.name)
                    elif item.name == PERMISSIONS:
                        continue
                    elif stat_module.S_ISREG(status.st_mode) and status.st_size and is_valid_name(name):
                        yield Entry(name, status.st_size)
        except NotFoundError:
            # The folder does not exist yet, or its owner deleted it during this call.
            return
        for folder_name in inner if depth else ():
            yield from self._list((*folders, folder_name), depth - 1)

    def watch(self, prefixes: Collection[str]) -> NameWatch:
        with self._lock:
            if not self._events_tried:
                self._events = start_events(self._root)
                self._events_tried = True
            events = self._events
        watch = NameWatch(prefixes, on_close=events.remove if events else lambda _: None)
        if events:
            events.add(watch)
        return watch

    def delete(self, name: str) -> None:
        *folders, leaf = validate_name(name).split("/")
        try:
            with open_folder(self._root, folders) as folder:
                # While the renamed file exists, the daemon does not sync this name again.
                refused = name in self._refused
                mine = may_write(self._email, name)
                if mine and is_pushed(name):
                    self._pace.forget(name, absent=not self._is_there(folder, leaf))
                for found in (*([leaf] if mine else ()), *(_rejected(folder, leaf) if refused else ())):
                    # Another program may have put a folder in its place; leave that alone.
                    with contextlib.suppress(FileNotFoundError, IsADirectoryError, PermissionError):
                        os.unlink(found, dir_fd=folder)
        except NotFoundError:
            return
        finally:
            self._refused.discard(name)
            if self._events:
                self._events.forget(name)

    def open_inbox(self, prefix: str) -> None:
        self._permissions.open_inbox(prefix)

    def expect_readers(self, prefix: str, readers: Collection[str]) -> None:
        # The permissions go with a scan, and the server pushes no file to a reader before it has them. In a new folder,
        # the daemon can miss a write event.
        *folders, _ = validate_name(f"{prefix}x").split("/")
        self._permissions.grant_read(collection(f"{prefix}x"), readers)
        with self._made(folders):
            pass

    def free_space(self) -> int:
        try:
            return shutil.disk_usage(self._root).free
        except OSError as error:
            raise translate(error, "the datasites folder") from error

    def reopen(self) -> Reopening:
        arguments = {
            "data_dir": str(self._data_dir),
            "email": self._email,
            "poll_interval": self._poll_interval,
            "synced": self._synced,
        }
        return Reopening(f"{__name__}:{reopen_syftbox.__name__}", arguments)

    def close(self) -> None:
        with self._lock:
            events, self._events = self._events, None
            self._events_tried = True
        if events:
            events.close()
        self._staging.close()
        self._pace.close()

    @contextlib.contextmanager
    def _made(self, folders: Sequence[str]) -> Iterator[int]:
        """Open a folder; create its missing parts. Try several times, because the daemon can delete empty folders.

        Raises:
            NotFoundError: another program deleted the folder during each attempt.
        """
        for attempt in range(_FOLDER_ATTEMPTS):
            with contextlib.ExitStack() as stack:
                try:
                    folder = stack.enter_context(open_folder(self._root, folders, create_mode=_FOLDER_MODE))
                    if os.fstat(folder).st_nlink == 0:
                        continue
                except NotFoundError:
                    if attempt == _FOLDER_ATTEMPTS - 1:
                        raise
                    continue
                yield folder
                return
        text = f"{'/'.join(folders)} was deleted during each of {_FOLDER_ATTEMPTS} attempts to create it"
        raise NotFoundError(text, hint="Stop the program that deletes it, or try again later.")

    def _write(self, folder: int, name: str, leaf: str, data: Data) -> None:
        staging = self._staging.fd if self._staging_fits else None

        def take_turn(size: int) -> bool:
            return self._pace.take_turn(name, size, absent=not self._is_there(folder, leaf))

        try:
            release = take_turn if is_pushed(name) else None
            write_in_folder(folder, leaf, data, mode=_FILE_MODE, staging=staging, release=release)
        except OSError as error:
            raise translate(error, name) from error

    @staticmethod
    def _is_there(folder: int, leaf: str) -> bool:
        try:
            os.stat(leaf, dir_fd=folder, follow_symlinks=False)
        except FileNotFoundError:
            return False
        return True

    def _require_equal(self, folder: int, name: str, leaf: str, data: Data) -> None:
        try:
            fd, size = open_in_folder(folder, leaf, max_size=self.properties.max_file_size)
        except NotFoundError as error:
            raise ConflictError(f"{name} exists and is not a file with content; files are written once") from error
        with os.fdopen(fd, "rb") as file:
            for buffer in (data,) if isinstance(data, bytes) else data:
                view = memoryview(buffer).cast("B")
                size -= len(view)
                if file.read(len(view)) != view:
                    raise ConflictError(f"{name} exists with other content; files are written once")
        if size:
            raise ConflictError(f"{name} exists with other content; files are written once")


def _rejected(folder: int, leaf: str) -> list[str]:
    """Return the names to which the daemon renamed the refused file ``leaf``."""
    return [found for found in os.listdir(folder) if is_rejected(found) and unmarked(found) == leaf]


def _parts(prefix: str) -> list[str]:
    return [part for part in prefix.split("/") if part]
