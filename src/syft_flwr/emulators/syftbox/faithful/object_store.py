"""The store behind the emulated server (S3): objects by name, with a delay, failures and pauses that a test sets."""

import contextlib
import secrets
import threading
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO

from syft_flwr.emulators.syftbox.blobs import write_blob
from syft_flwr.emulators.syftbox.faithful.lives import Life
from syft_flwr.emulators.syftbox.faithful.machinery import Machinery
from syft_flwr.emulators.syftbox.faithful.windows import Window
from syft_flwr.errors import NotFoundError


class StoreFailedError(Exception):
    """The store refused a call, or did not reply in time."""


@dataclass(frozen=True, slots=True)
class StoredObject:
    """One object of the store, and its entry in the index of the server.

    Attributes:
        etag: SHA-256 of the content, in hex. SyftBox uses MD5.
        size: length of the content in bytes.
        sender: email of the participant that sent it.
        blob: name of the file with the content.
    """

    etag: str
    size: int
    sender: str
    blob: str


class ObjectStore:
    """Objects in a folder. All attributes may be changed at run time.

    Attributes:
        delay: real seconds that a PUT takes, from an upload or a push. It does not scale.
        fails: whether each PUT fails.
    """

    def __init__(self, folder: Path, machinery: Machinery) -> None:
        self.delay = 0.0
        self.fails = False
        self._folder = folder
        self._waits = machinery.waits
        self._windows = machinery.windows
        self._now = machinery.now
        self._lock = threading.Lock()
        self._objects: dict[str, StoredObject] = {}
        self._stands_still = False

    def stop(self) -> None:
        """Make each call wait until :meth:`resume`, or until its caller gives up."""
        self._stands_still = True

    def resume(self) -> None:
        self._stands_still = False
        self._waits.notify()

    def put(self, name: str, content: Iterable[bytes], sender: str, limit: float, *lives: Life) -> StoredObject:
        """Store an object. It is visible at the end of the delay.

        Raises:
            StoreFailedError: the store fails, or does not reply within ``limit`` seconds.
            LifeEndedError: one of the lives ended; nothing is stored.
        """
        delay, due = self.delay, self._now() + limit
        blob = secrets.token_hex(8)
        path = self._folder / blob
        try:
            etag, size = write_blob(path, content)
            # The time is not measured, so that a busy machine does not lose a file.
            self._waits.pause(min(delay, limit), *lives)
            self._windows.stand(sender, Window.PUT, name, *lives)
            self._reach(due, *lives)
            if self.fails or delay > limit:
                raise StoreFailedError
        except BaseException:
            path.unlink(missing_ok=True)
            raise
        with self._lock:
            former = self._objects.get(name)
            stored = self._objects[name] = StoredObject(etag, size, sender, blob)
        self._discard(former)
        return stored

    def open(self, name: str, limit: float, *lives: Life) -> BinaryIO:
        """Open the present content of an object.

        Raises:
            NotFoundError: there is no such object.
            StoreFailedError: the store does not reply within ``limit`` seconds.
        """
        self._reach(self._now() + limit, *lives)
        with self._lock:
            if stored := self._objects.get(name):
                return (self._folder / stored.blob).open("rb")
        raise NotFoundError(f"{name} is not in the store")

    def delete(self, name: str, limit: float, *lives: Life) -> None:
        """Delete an object if it exists.

        Raises:
            StoreFailedError: the store does not reply within ``limit`` seconds.
        """
        self._reach(self._now() + limit, *lives)
        with self._lock:
            former = self._objects.pop(name, None)
        self._discard(former)

    def listing(self, *lives: Life) -> dict[str, StoredObject]:
        self._waits.until(*lives, ready=lambda: not self._stands_still)
        with self._lock:
            return dict(self._objects)

    def dump(self) -> dict[str, Any]:
        with self._lock:
            return {name: asdict(stored) for name, stored in self._objects.items()}

    def load(self, objects: dict[str, Any]) -> None:
        """Load the objects that :meth:`dump` returned, and delete contents without an object."""
        self._folder.mkdir(parents=True, exist_ok=True)
        self._objects = {name: StoredObject(**fields) for name, fields in objects.items()}
        kept = {stored.blob for stored in self._objects.values()}
        for path in self._folder.iterdir():
            if path.name not in kept:
                path.unlink()

    def _reach(self, due: float, *lives: Life) -> None:
        if not self._waits.until(*lives, ready=lambda: not self._stands_still, due=due):
            raise StoreFailedError

    def _discard(self, stored: StoredObject | None) -> None:
        if stored:
            with contextlib.suppress(FileNotFoundError):
                (self._folder / stored.blob).unlink()
