"""The bytes of files that were downloaded or written lately: small ones in memory, large ones on disk.

A file is known by its id and its MD5 as Drive tells them, so that another state of a file that is replaced is another entry.
"""

import io
import os
import threading
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO
from weakref import WeakValueDictionary

from syft_flwr.errors import TransportError
from syft_flwr.transport._disk import translate
from syft_flwr.transport._gdrive.api.drive_file import DriveFile

#: Files up to this size are held in memory…
SMALL = 5 << 20
#: …this many bytes of them together.
_MAX_MEMORY = 64 << 20
#: Bytes of large files that are kept; a folder holds what a round needs, and Drive holds the rest.
_MAX_DISK = 20 << 30

_Key = tuple[str, str]


class DownloadCache:
    """Thread-safe.

    Args:
        folder: where large files go; nobody else writes there.
        download: writes a file's bytes, verified, to a seekable target.
    """

    def __init__(self, folder: Path, download: Callable[[DriveFile, BinaryIO], None]) -> None:
        self._folder = folder
        self._download = download
        self._lock = threading.Lock()
        self._small: OrderedDict[_Key, bytes] = OrderedDict()
        self._large: OrderedDict[_Key, tuple[Path, int]] = OrderedDict()
        #: As long as somebody has it.
        self._busy: WeakValueDictionary[_Key, threading.Lock] = WeakValueDictionary()

    def remember(self, file: DriveFile, content: bytes) -> None:
        """Hold the bytes of a small file that was just written."""
        with self._lock:
            self._small[file.id, file.md5] = content
            while sum(map(len, self._small.values())) > _MAX_MEMORY:
                self._small.popitem(last=False)

    def read(self, file: DriveFile) -> bytes:
        """Return the bytes of a small file; raises as the download does."""
        key = (file.id, file.md5)
        with self._alone(key):
            if (content := self._recall(key)) is None:
                target = io.BytesIO()
                self._download(file, target)
                content = target.getvalue()
                self.remember(file, content)
            return content

    def open(self, file: DriveFile) -> BinaryIO:
        """Open a file of any size; raises as the download does."""
        if file.size <= SMALL:
            return io.BytesIO(self.read(file))
        key = (file.id, file.md5)
        with self._alone(key):
            with self._lock:
                kept = self._large.get(key)
                if kept:
                    self._large.move_to_end(key)
            try:
                path = kept[0] if kept else self._fetch(file, key)
                # It stays readable when its name goes.
                return path.open("rb")
            except FileNotFoundError as error:
                # Somebody tidied this disk; it is fetched again by whoever looks again.
                self.forget(file.id)
                raise TransportError("the folder for files on their way lost one") from error
            except OSError as error:
                raise translate(error, file.name) from error

    def forget(self, file_id: str) -> None:
        """Give back what is held of a file that is gone."""
        with self._lock:
            for key in [key for key in self._small if key[0] == file_id]:
                del self._small[key]
            for key in [key for key in self._large if key[0] == file_id]:
                self._remove(key)

    def _recall(self, key: _Key) -> bytes | None:
        with self._lock:
            content = self._small.get(key)
            if content is not None:
                self._small.move_to_end(key)
            return content

    def _fetch(self, file: DriveFile, key: _Key) -> Path:
        path = self._folder / f"{file.id}-{file.md5}"
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            with os.fdopen(fd, "r+b") as target:
                self._download(file, target)
        except BaseException:
            path.unlink(missing_ok=True)
            raise
        with self._lock:
            self._large[key] = path, file.size
            while len(self._large) > 1 and sum(size for _, size in self._large.values()) > _MAX_DISK:
                self._remove(next(iter(self._large)))
        return path

    def _remove(self, key: _Key) -> None:
        path, _ = self._large.pop(key)
        with suppress(OSError):
            path.unlink()

    def _alone(self, key: _Key) -> threading.Lock:
        """Return the lock under which a file is fetched, so that it is fetched once."""
        with self._lock:
            return self._busy.setdefault(key, threading.Lock())
