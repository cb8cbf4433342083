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
from collections.abc import Collection, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO

from syft_flwr.config import Settings
from syft_flwr.disk_errors import hint_of
from syft_flwr.errors import NotFoundError, TooLargeError, TransportError
from syft_flwr.log import logger
from syft_flwr.names import PUSHED_SUFFIX, collection, in_inbox, is_pushed, may_write, validate_name
from syft_flwr.transport._disk import keep_file, open_folder, open_in_folder, translate
from syft_flwr.transport._staging import Staging
from syft_flwr.transport._syftbox.daemon import RESERVE, STATE, real, require_datasites, runs_on
from syft_flwr.transport._syftbox.file_writer import MAX_FILE_SIZE, FileWriter, back_to, exists_in
from syft_flwr.transport._syftbox.folder_listing import list_files
from syft_flwr.transport._syftbox.pace import PUSHED_SIZE, SMALL, Pace
from syft_flwr.transport._syftbox.pace_state import LinkSpeed
from syft_flwr.transport._syftbox.permissions import MAX_SIZE, PermissionFiles
from syft_flwr.transport._syftbox.set_aside import SetAside
from syft_flwr.transport.base import Data, Entry, Properties, Reopening
from syft_flwr.transport.folder_events import FolderEvents, start_events
from syft_flwr.transport.watch import NameWatch

#: The longest poll interval in seconds if the file system gives no change events.
_POLL_WITHOUT_EVENTS = 1.0
#: The folder beside ``datasites/`` with the second names of files, see ``Properties.links``.
_LINKS = ".syft_flwr_links"
#: Plaintext bytes of one object. With a scan, the daemon uploads 8 complete files at a time and gives each of them 30 s,
#: which is enough at 5 Mbit/s.
_PART_SIZE = 2 << 20
#: The same on a link that may be slower: 0.6 Mbit/s are enough.
_SLOW_PART_SIZE = 256 << 10
#: The same in a folder that no daemon syncs: fewer files take less time.
_LOCAL_PART_SIZE = 16 << 20
#: Bytes of the buffers in one envelope, and of their places in its manifest. The rest of the push is for its header,
#: signature and seal.
_INLINE_SIZE = PUSHED_SIZE - 20_000
#: Bytes of the largest message of which all objects are pushed. Above it, the waits for scans count less than the bytes:
#: a push sends a third more.
_PUSHED_MESSAGE = 128 << 20
#: The same on a link that may be slow. Its many small objects take longer to push than to scan.
_PUSHED_AT_FIRST = 32 << 20
#: Seconds between two scans of the SyftBox daemon. A file that is not pushed, or was lost, goes with a scan.
_SCAN_INTERVAL = 5.0


#: The properties that differ where it is not known that the link is fast.
_BY_LINK: Mapping[LinkSpeed, Mapping[str, Any]] = {
    LinkSpeed.FAST: {},
    LinkSpeed.UNKNOWN: {"part_size": _SLOW_PART_SIZE, "pushed_message": _PUSHED_AT_FIRST, "probe_size": _PART_SIZE},
    LinkSpeed.PROBED: {"part_size": _SLOW_PART_SIZE, "pushed_message": _PUSHED_AT_FIRST},
    LinkSpeed.SLOW: {
        "part_size": _SLOW_PART_SIZE,
        "inline_size": SMALL,
        "pushed_size": SMALL,
        "pushed_message": 0,
    },
}


def open_syftbox(settings: Settings, peers: Collection[str], live: bool) -> "SyftBoxTransport":  # noqa: ARG001
    """Return the SyftBox transport of a participant. It does not use ``peers`` and ``live``, which other transports need."""
    data_dir = Path(settings.require("data_dir"))
    require_datasites(data_dir / "datasites")
    if not data_dir.is_dir():
        logger.warning(
            "data_dir {} does not exist and is created; if a SyftBox client runs here, correct data_dir in its config",
            data_dir,
        )
    email, interval = str(settings.require("email")), settings.poll_interval
    return SyftBoxTransport(data_dir, email, poll_interval=interval, synced=runs_on(data_dir), large_parts=True)


def reopen_syftbox(
    data_dir: str, email: str, poll_interval: float, synced: bool, large_parts: bool
) -> "SyftBoxTransport":
    """Return the same SyftBox transport in a worker process."""
    folder = Path(data_dir)
    return SyftBoxTransport(folder, email, poll_interval=poll_interval, synced=synced, large_parts=large_parts)


class SyftBoxTransport:
    """The transport of one participant over SyftBox; see :class:`syft_flwr.transport.base.Transport`.

    Args:
        data_dir: the data folder of the SyftBox client, which contains ``datasites/``; created if it does not exist.
        email: the email of this participant, normalised.
        poll_interval: seconds between two looks of a caller, in case it misses an event.
        synced: a daemon syncs the folder, and needs free disk space for it.
        large_parts: write larger objects, without pushed names, while no daemon has worked on the folder.

    Raises:
        TransportError: the folder cannot be used.
    """

    def __init__(
        self,
        data_dir: Path,
        email: str,
        *,
        poll_interval: float = 3.0,
        synced: bool = False,
        large_parts: bool = False,
    ) -> None:
        try:
            self._data_dir = real(data_dir)
            self._root = real(data_dir / "datasites")
            self._root.mkdir(parents=True, exist_ok=True)
            device = self._root.stat().st_dev
        except OSError as error:
            hint = f"{hint_of(error)} The setting data_dir names the data folder of SyftBox."
            raise translate(error, f"the datasites folder {self._root}", hint=hint) from error
        self._staging = Staging(self._data_dir / ".syft_flwr_staging")
        fits = self._staging.device == device
        self._pace = Pace(self._staging.path.with_name("pace"), self._data_dir / STATE)
        self._email = email
        self._poll_interval = poll_interval
        self._synced = synced
        self._large_parts = large_parts
        self._lock = threading.Lock()
        self._events: FolderEvents | None = None
        self._events_tried = False
        self._set_aside = SetAside(self._root, email)
        self._writer = FileWriter(self._root, self._staging if fits else None, self._pace, self._expect)
        self._permissions = PermissionFiles(
            self._content_of_permissions,
            fill=self._writer.fill,
            replace=lambda name, data: self._writer.put(name, data, replace=True),
        )

    @property
    def properties(self) -> Properties:
        silent = self._events_tried and (self._events is None or self._events.falls_short)
        interval = min(self._poll_interval, _POLL_WITHOUT_EVENTS) if silent else self._poll_interval
        properties = Properties(
            MAX_FILE_SIZE,
            _PART_SIZE,
            interval,
            pushes_events=not silent,
            links=self._data_dir / _LINKS / self._email,
            inline_size=_INLINE_SIZE,
            pushed_size=PUSHED_SIZE,
            pushed_message=_PUSHED_MESSAGE,
        )
        if self._large_parts and not self._pace.has_daemon():
            properties = replace(properties, part_size=_LOCAL_PART_SIZE, pushed_message=0)
        else:
            properties = replace(properties, **_BY_LINK[self._pace.link])
        return replace(properties, reserve=RESERVE, delay=_SCAN_INTERVAL) if self._synced else properties

    def put(self, name: str, data: Data, *, readers: Collection[str], replace: bool = False) -> None:
        self._grant(validate_name(name), readers)
        self._writer.put(name, data, replace=replace)

    def _grant(self, name: str, readers: Collection[str]) -> None:
        if name.startswith(f"{self._email}/") and not in_inbox(name):
            self._permissions.grant_read(collection(name), readers)

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

    def _content_of_permissions(self, name: str) -> bytes | None:
        """Return the content of a permission file; empty if it is missing or empty, None if it cannot be one of ours."""
        try:
            return self.get(name, max_size=MAX_SIZE)
        except TooLargeError:
            return None
        except NotFoundError:
            *folders, leaf = name.split("/")
            try:
                with open_folder(self._root, folders) as folder:
                    status = os.stat(leaf, dir_fd=folder, follow_symlinks=False)
            except (NotFoundError, FileNotFoundError):
                return b""
            # SyftBox itself takes an empty file for a missing one.
            return b"" if stat_module.S_ISREG(status.st_mode) and not status.st_size else None

    def refused(self, name: str) -> bool:
        return self._set_aside.is_refused(validate_name(name))

    def delete_conflicts(self, prefix: str, *, most: int) -> None:
        self._set_aside.delete_conflicts(_parts(prefix), most)

    def list(self, prefix: str) -> Iterator[Entry]:
        yield from list_files(self._root, _parts(prefix))

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
                mine = may_write(self._email, name)
                if mine and is_pushed(name):
                    self._pace.forget(name, absent=not exists_in(folder, leaf))
                # While the renamed file exists, the daemon does not sync this name again.
                for found in (*([leaf] if mine else ()), *self._set_aside.of_refused(folder, name)):
                    # Another program may have put a folder in its place; leave that alone.
                    with contextlib.suppress(FileNotFoundError, IsADirectoryError, PermissionError):
                        os.unlink(found, dir_fd=folder)
        except NotFoundError:
            return
        finally:
            self._set_aside.forget(name)
            if self._events:
                self._events.forget(name)

    def _expect(self, name: str) -> None:
        if self._events:
            self._events.expect(name)

    def open_inbox(self, prefix: str) -> None:
        self._permissions.open_inbox(prefix)

    def prepare(self, prefix: str, readers: Collection[str]) -> None:
        # The permissions go with a scan, and the server pushes no file to a reader before it has them. In a new folder,
        # the daemon can miss a write event. It misses all in a folder that it made, emptied and removed before.
        name = validate_name(f"{prefix}x{PUSHED_SUFFIX}")
        self._grant(name, readers)
        with self._writer.made(name.split("/")[:-1]):
            pass

    def restore_permissions(self) -> None:
        self._permissions.restore()

    def free_space(self) -> int:
        try:
            if not self._root.is_dir():
                raise NotFoundError("the datasites folder is not there", hint=back_to(self._root))
            return shutil.disk_usage(self._root).free
        except OSError as error:
            raise translate(error, "the datasites folder") from error

    def reopen(self) -> Reopening:
        arguments = {
            "data_dir": str(self._data_dir),
            "email": self._email,
            "poll_interval": self._poll_interval,
            "synced": self._synced,
            "large_parts": self._large_parts,
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


def _parts(prefix: str) -> list[str]:
    return [part for part in prefix.split("/") if part]
