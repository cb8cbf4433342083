"""The cache of downloaded or written files: small ones in memory, large ones on disk.

The key of a file is its id and its MD5, both from Drive. So each state of a replaced file has its own entry.
A full cache, and one on a full disk, drops the files of the owner with the most bytes.
"""

import io
import os
import secrets
import shutil
import threading
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO
from weakref import WeakValueDictionary

from syft_flwr.disk_errors import no_room
from syft_flwr.errors import TransportError
from syft_flwr.private_files import open_private
from syft_flwr.transport._disk import translate
from syft_flwr.transport._gdrive.api.drive_file import DriveFile
from syft_flwr.transport._gdrive.streams.shelf import Key, Shelf

#: Bytes up to which a file is small and is cached in memory.
SMALL = 5 << 20
#: Bytes of all small files together.
_MAX_MEMORY = 64 << 20
#: Bytes of all large files together. This is enough for a round; other files can be downloaded again.
_MAX_DISK = 20 << 30
#: Bytes of the disk that stay free.
_RESERVE = 64 << 20


class DownloadCache:
    """The cached content of files. Thread-safe.

    Args:
        folder: the folder for large files; only this object writes to it.
        download: writes the verified bytes of a file to a seekable target.
    """

    def __init__(self, folder: Path, download: Callable[[DriveFile, BinaryIO], None]) -> None:
        self._folder = folder
        self._download = download
        self._lock = threading.Lock()
        self._small = Shelf[bytes](_MAX_MEMORY)
        self._large = Shelf[Path](_MAX_DISK)
        #: The lock of each download; it exists as long as a thread holds a reference to it.
        self._busy: WeakValueDictionary[Key, threading.Lock] = WeakValueDictionary()

    def remember(self, file: DriveFile, content: bytes) -> None:
        """Cache the bytes of a small file that was just written."""
        with self._lock:
            self._small.put((file.id, file.md5), file.owner, content, len(content))

    def read(self, file: DriveFile) -> bytes:
        """Return the bytes of a small file; download it if necessary. Raises the errors of the download."""
        key = (file.id, file.md5)
        with self._alone(key):
            if (content := self._recall(key)) is None:
                target = io.BytesIO()
                self._download(file, target)
                content = target.getvalue()
                self.remember(file, content)
            return content

    def open(self, file: DriveFile) -> BinaryIO:
        """Open a file of any size; download it if necessary. Raises the errors of the download."""
        if file.size <= SMALL:
            return io.BytesIO(self.read(file))
        key = (file.id, file.md5)
        with self._alone(key):
            with self._lock:
                kept = self._large.get(key)
            try:
                path = kept or self._fetch(file, key)
                # The open file stays readable when the cache deletes its name.
                return path.open("rb")
            except FileNotFoundError as error:
                # Another program deleted the copy. The next call downloads the file again.
                self.forget(file.id)
                text = f"the downloaded copy of {file.name} was deleted from this disk"
                raise TransportError(
                    text, hint="No action is needed: the next read downloads the file again."
                ) from error
            except OSError as error:
                raise translate(error, file.name) from error

    def forget(self, file_id: str) -> None:
        """Remove a deleted file from the cache."""
        with self._lock:
            self._small.forget(file_id)
            _delete(self._large.forget(file_id))

    def _recall(self, key: Key) -> bytes | None:
        with self._lock:
            return self._small.get(key)

    def _fetch(self, file: DriveFile, key: Key) -> Path:
        self._make_room(file)
        # No part of the name comes from Drive: with a slash in it, the file would be in another folder.
        path = self._folder / secrets.token_hex(16)
        fd = open_private(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW)
        try:
            with os.fdopen(fd, "r+b") as target:
                self._download(file, target)
        except BaseException:
            path.unlink(missing_ok=True)
            raise
        with self._lock:
            _delete(self._large.put(key, file.owner, path, file.size))
        return path

    def _make_room(self, file: DriveFile) -> None:
        """Drop files until the disk has room for one more: those of the owner with the most bytes first.

        Raises:
            StorageFullError: the disk has too little room also without all of them, and none is dropped.
        """
        while (short := file.size + _RESERVE - shutil.disk_usage(self._folder).free) > 0:
            with self._lock:
                # A file that never fits must not cost the others their copies.
                gone = self._large.make_room() if short <= self._large.size else []
            if not gone:
                raise no_room(file.name)
            _delete(gone)

    def _alone(self, key: Key) -> threading.Lock:
        """Return the lock for the download of a file, so that threads that need it together download it once."""
        with self._lock:
            return self._busy.setdefault(key, threading.Lock())


def _delete(paths: Iterable[Path]) -> None:
    for path in paths:
        with suppress(OSError):
            path.unlink()
