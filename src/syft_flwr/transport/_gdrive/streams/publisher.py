"""Writes and deletes this participant's files by name, and chooses the stream by the readers of a file.

A file is written once. Only key cards, heartbeats and replies are written with ``replace``. One thread at a time changes
a name.
"""

import hashlib
import tempfile
import threading
from collections.abc import Callable, Collection
from pathlib import Path
from typing import BinaryIO, cast
from weakref import WeakValueDictionary

from syft_flwr.errors import ConflictError
from syft_flwr.transport._disk import translate
from syft_flwr.transport._gdrive.api.drive_file import DriveFile
from syft_flwr.transport._gdrive.streams.announcement import audience_digest
from syft_flwr.transport._gdrive.streams.catalogue import Catalogue
from syft_flwr.transport._gdrive.streams.download_cache import SMALL, DownloadCache
from syft_flwr.transport._gdrive.streams.outbox import Outbox
from syft_flwr.transport.base import Data


class Publisher:
    """The writer of this participant's files by name. Thread-safe.

    Args:
        me: this participant's email.
        peers: the participants that ``*`` stands for among the readers of a file.
        catalogue: the known files.
        outbox: writes the files.
        cache: stores the bytes of small files.
        folder: the folder for content that does not fit into memory.
        readers_of: returns the digest of a folder's readers, or None if the folder is unknown.
    """

    def __init__(
        self,
        me: str,
        peers: frozenset[str],
        catalogue: Catalogue,
        outbox: Outbox,
        cache: DownloadCache,
        folder: Path,
        readers_of: Callable[[str], str | None],
    ) -> None:
        self._me = me
        self._peers = peers
        self._catalogue = catalogue
        self._outbox = outbox
        self._cache = cache
        self._folder = folder
        self._readers_of = readers_of
        self._lock = threading.Lock()
        #: A lock exists as long as a thread holds a reference to it.
        self._writing: WeakValueDictionary[str, threading.Lock] = WeakValueDictionary()

    def put(self, name: str, data: Data, readers: Collection[str], *, replace: bool) -> bool:
        """Write one file; return False if it already exists with the same bytes.

        Raises:
            ConflictError: the name exists with other bytes and ``replace`` is False.
        """
        with self._alone(name), tempfile.SpooledTemporaryFile(SMALL, dir=str(self._folder)) as spool:
            size, md5 = _spool(name, data, cast("BinaryIO", spool))
            audience = self._audience(name, readers)
            present = self._own(name, audience)
            if present and (present.size, present.md5) == (size, md5):
                return False
            if present and not replace:
                raise ConflictError(f"{name} exists with other content; files are written once")
            content = cast("BinaryIO", spool)
            file = self._outbox.replace(present, content, size, md5) if present else None
            if file is None:
                file = self._outbox.put(name, audience, content, size, md5)
            if size <= SMALL:
                spool.seek(0)
                self._cache.remember(file, spool.read())
        return True

    def delete(self, name: str, *, at_once: bool) -> bool:
        """Record that all copies of a file must be deleted; return whether it had any.

        Args:
            at_once: also delete them from Drive before this method returns.
        """
        with self._alone(name):
            copies = self._catalogue.drop_copies(name)
            if copies:
                self._outbox.delete(copies)
                for file in copies:
                    self._cache.forget(file.id)
                if at_once:
                    self._outbox.flush()
        return bool(copies)

    def _own(self, name: str, audience: frozenset[str]) -> DriveFile | None:
        """Return this participant's file of a name in the stream for these readers; None if it has none.

        A key card can have several copies, each for other readers.
        """
        digest = audience_digest(audience)
        copies = self._catalogue.copies(name)
        return next((file for file in copies if self._readers_of(next(iter(file.parents), "")) == digest), None)

    def _audience(self, name: str, readers: Collection[str]) -> frozenset[str]:
        wanted = set(readers) | {name.partition("/")[0]}
        if "*" in wanted:
            wanted = wanted - {"*"} | self._peers
        return frozenset(wanted - {self._me})

    def _alone(self, name: str) -> threading.Lock:
        """Return the lock of a name. A thread holds it while it changes the files of that name."""
        with self._lock:
            return self._writing.setdefault(name, threading.Lock())


def _spool(name: str, data: Data, target: BinaryIO) -> tuple[int, str]:
    """Write all of ``data`` to ``target``; return its size in bytes and its hexadecimal MD5."""
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
