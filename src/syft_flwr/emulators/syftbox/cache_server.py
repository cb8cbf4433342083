"""The emulated SyftBox server: it stores the accepted version of every file and checks permissions.

The server keeps the content on disk, because the writer may be offline when a reader comes. As on the real server, the
last accepted write wins. The server does not check which version the writer had seen before.
"""

import contextlib
import secrets
import threading
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO

from syft_flwr.clock import Clock
from syft_flwr.emulators.syftbox.acl import MAX_FILE_SIZE, Level, Permissions, parse_rules
from syft_flwr.emulators.syftbox.blobs import write_blob
from syft_flwr.emulators.syftbox.link import Link
from syft_flwr.emulators.syftbox.sync_names import is_in_datasite, is_permissions
from syft_flwr.errors import MalformedError, NotFoundError, RefusedError
from syft_flwr.log import logger
from syft_flwr.transport._disk import translate


@dataclass(frozen=True, slots=True)
class Version:
    """One accepted version of one file.

    Attributes:
        name: path of the file below ``datasites``, such as ``do@y.org/public/hello.txt``.
        etag: SHA-256 of the content, in hex. SyftBox uses MD5, which is slower and would do as well.
        size: length of the content in bytes.
        sender: email of the participant that uploaded it.
        blob: name of the file with the content, in the folder of the server.
        due: time at which the other participants see the version, in seconds of the clock's ``monotonic``.
    """

    name: str
    etag: str
    size: int
    sender: str
    blob: str
    due: float


@dataclass(frozen=True, slots=True)
class VisibleVersions:
    """The files that one participant may read.

    Attributes:
        versions: the accepted version of each file, by name.
        in_transit: names with a change that has not reached this participant yet.
    """

    versions: dict[str, Version]
    in_transit: set[str]


class CacheServer:
    """Stores the accepted versions and decides about access.

    Thread-safe. It never takes the lock of a participant, so a participant may call it with its own lock held.

    Args:
        blobs: folder for the contents.
        clock: tells when a change arrives.
        link: gives the delay of each change.
    """

    def __init__(self, blobs: Path, clock: Clock, link: Link) -> None:
        self._blobs = blobs
        self._clock = clock
        self._link = link
        self._lock = threading.Lock()
        self._versions: dict[str, Version] = {}
        self._removed: dict[str, tuple[str, float]] = {}
        self._permissions = Permissions()

    def allows(self, user: str, name: str, level: Level) -> bool:
        with self._lock:
            return self._permissions.allow(user, name, level)

    def upload(self, user: str, name: str, chunks: Iterable[bytes]) -> tuple[str, Version | None]:
        """Store a file and return its etag, with the new version if the content is new.

        Raises:
            RefusedError: ``user`` may not write the file, or the name is not in a datasite.
            StorageFullError: the disk is full.
        """
        self._require_write(user, name)
        blob = secrets.token_hex(8)
        path = self._blobs / blob
        try:
            etag, size = write_blob(path, chunks)
        except OSError as error:
            path.unlink(missing_ok=True)
            raise translate(error, name) from error
        due = self._clock.monotonic() + self._link.delay_of(name)
        with self._lock:
            former = self._versions.get(name)
            if former and former.etag == etag:
                path.unlink()
                return etag, None
            version = self._versions[name] = Version(name, etag, size, user, blob, due)
            self._removed.pop(name, None)
            self._apply_permissions(name, path)
        if former:
            self._discard(former)
        return etag, version

    def delete(self, user: str, name: str) -> None:
        """Delete a file; a missing file is not an error.

        Raises:
            RefusedError: ``user`` may not write the file, or the name is not in a datasite.
        """
        self._require_write(user, name)
        due = self._clock.monotonic() + self._link.delay_of(name)
        with self._lock:
            version = self._versions.pop(name, None)
            self._removed[name] = (user, due)
            if is_permissions(name):
                self._permissions.remove(name.rpartition("/")[0])
        if version:
            self._discard(version)

    def view(self, user: str) -> VisibleVersions:
        now = self._clock.monotonic()
        with self._lock:
            self._removed = {name: removed for name, removed in self._removed.items() if removed[1] > now}
            removed = {name for name, (by, _) in self._removed.items() if by != user}
            allow = self._permissions.allow
            versions = {name: each for name, each in self._versions.items() if allow(user, name, Level.READ)}
        changed = {name for name, each in versions.items() if each.due > now and each.sender != user}
        return VisibleVersions(versions, changed | removed)

    def visible(self, user: str, name: str) -> Version | None:
        """Return the accepted version, or None if it is missing or ``user`` may not read it."""
        with self._lock:
            return self._versions.get(name) if self._permissions.allow(user, name, Level.READ) else None

    def open(self, version: Version) -> BinaryIO:
        """Open the content of a version.

        Raises:
            NotFoundError: a newer version or a deletion has replaced it.
        """
        try:
            return (self._blobs / version.blob).open("rb")
        except FileNotFoundError:
            raise NotFoundError(f"{version.name}: a newer version has replaced this one") from None

    def last_due(self) -> float:
        """Return the time at which all accepted changes have arrived, in seconds of the clock's ``monotonic``."""
        with self._lock:
            dues = [*(each.due for each in self._versions.values()), *(due for _, due in self._removed.values())]
        return max(dues, default=0.0)

    def dump(self) -> list[dict[str, Any]]:
        with self._lock:
            return [asdict(version) for version in self._versions.values()]

    def load(self, versions: Iterable[dict[str, Any]]) -> None:
        """Load the versions that :meth:`dump` returned, and delete contents without a version."""
        self._versions, self._removed, self._permissions = {}, {}, Permissions()
        self._blobs.mkdir(parents=True, exist_ok=True)
        for fields in versions:
            # The clock of an earlier process is not comparable, so every accepted version counts as arrived.
            version = Version(**{**fields, "due": 0.0})
            if (self._blobs / version.blob).is_file():
                self._versions[version.name] = version
                self._apply_permissions(version.name, self._blobs / version.blob)
        kept = {version.blob for version in self._versions.values()}
        for path in self._blobs.iterdir():
            if path.name not in kept:
                path.unlink()

    def _require_write(self, user: str, name: str) -> None:
        if not is_in_datasite(name) or not self.allows(user, name, Level.WRITE):
            raise RefusedError(
                f"{user} may not write {name}",
                hint="Ask the owner of the datasite to allow it in a syft.pub.yaml file.",
            )

    def _apply_permissions(self, name: str, path: Path) -> None:
        if not is_permissions(name):
            return
        try:
            with path.open("rb") as file:
                rule_set = parse_rules(file.read(MAX_FILE_SIZE + 1), name)
        except MalformedError as error:
            logger.warning("{}; the earlier rules of this folder apply until the file is corrected", error)
            return
        self._permissions.put(name.rpartition("/")[0], rule_set)

    def _discard(self, version: Version) -> None:
        with contextlib.suppress(FileNotFoundError):
            (self._blobs / version.blob).unlink()
