"""A storage with a separate copy for each participant, and an unreliable sync service between the copies.

Each file can arrive late in a copy, so files appear, change and disappear in any order. A copy can lose a file and get it
back, or show a deleted file again, and it can change without an event. A call can fail, and each write can kill the process.
"""

import io
import math
import threading
from collections.abc import Callable, Collection, Iterator
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from typing import BinaryIO, Literal

from faultkit.storage import CARRIERS

from syft_flwr.errors import NotFoundError, StorageFullError, TooLargeError, TransportError
from syft_flwr.names import is_state, validate_name
from syft_flwr.transport.base import Data, Entry
from syft_flwr.transport.memory import MemoryNetwork, MemoryTransport

#: Content and readers.
File = tuple[bytes, frozenset[str]]
#: How a change by another participant reaches a copy: with an event, without one, or only after its release.
Mode = Literal["live", "silent", "held"]


def carries(name: str) -> bool:
    """Return whether a file of this name is a message or an object, and not a heartbeat."""
    return name.endswith(CARRIERS) and not is_state(name)


class Killed(BaseException):
    """Raised in a process that is killed, at the step of its death."""


class Life:
    """Counts the writes, deletions and commits that a process makes before it is killed."""

    def __init__(self, left: float = math.inf) -> None:
        self.left = left
        self._lock = threading.Lock()

    def step(self) -> None:
        with self._lock:
            if self.left <= 0:
                raise Killed
            self.left -= 1


class RoughNetwork(MemoryNetwork):
    """The true content of the storage, and a record of each file ever written or deleted there."""

    def __init__(self, *, part_size: int) -> None:
        super().__init__(part_size=part_size)
        self.links: list[Link] = []
        self.ever: set[str] = set()
        self.deleted: dict[str, File] = {}

    def carriers(self) -> list[str]:
        """Return the names of the messages and objects in the storage."""
        return [name for name in self.files if carries(name)]

    def note_change(self, name: str, before: File | None, author: "Link") -> None:
        if name in self.files:
            self.ever.add(name)
        elif before:
            self.deleted[name] = before
        for link in self.links:
            if link is not author:
                link.receive(name, before)


class Link(MemoryTransport):
    """The transport of one participant, with the copy on its machine. Not safe for several threads."""

    def __init__(self, network: RoughNetwork, email: str) -> None:
        super().__init__(network, email)
        network.links.append(self)
        self._rough = network
        self.email = email
        self.life = Life()
        self.mode: Mode = "live"
        #: The files of the copy that differ from the storage; None for a file that the copy does not have.
        self.stale: dict[str, File | None] = {}
        #: Names from events that were not handled yet, in order.
        self.events: list[str] = []
        #: For each kind of call, the number of calls that succeed before one fails.
        self.faults: dict[str, int] = {}
        self.full = False
        #: The calls that failed.
        self.failed: list[tuple[str, str]] = []

    # Actions of the sync service

    def receive(self, name: str, before: File | None) -> None:
        """Handle a change by another participant; ``before`` is the replaced file."""
        if self.mode == "held" or name in self.stale:
            self.stale.setdefault(name, before)
        elif self.mode == "live":
            self.events.append(name)

    def release(self, name: str) -> None:
        """Update the file ``name`` of the copy from the storage."""
        del self.stale[name]
        if self.mode != "silent":
            self.events.append(name)

    def release_all(self) -> None:
        for name in list(self.stale):
            self.release(name)

    def hide(self, name: str) -> None:
        """Remove a file of another participant from this copy only."""
        self._replace(name, None)

    def haunt(self, name: str) -> None:
        """Show a deleted file again in this copy only."""
        self._replace(name, self._rough.deleted[name])

    def _replace(self, name: str, file: File | None) -> None:
        self.stale[name] = file
        if self.mode != "silent":
            self.events.append(name)

    def foreign(self) -> list[str]:
        """Return the names of the messages and objects of other participants in this copy."""
        return [name for name in self._names() if carries(name) and not self._is_mine(name)]

    def lost(self) -> list[str]:
        """Return the names of the deleted messages and objects of other participants that are not in this copy."""
        return [name for name in self._rough.deleted if not self._is_mine(name) and self._file(name) is None]

    def _is_mine(self, name: str) -> bool:
        writer = name.split("/")[-2] if name.endswith(".request") else name.partition("/")[0]
        return writer == self.email

    def _file(self, name: str) -> File | None:
        return self.stale[name] if name in self.stale else self._rough.files.get(name)

    def _names(self) -> list[str]:
        known = [*self._rough.files, *(name for name in self.stale if name not in self._rough.files)]
        return [name for name in known if self._file(name)]

    def _check(self, call: str, name: str) -> None:
        if self.full and call == "put" and carries(name):
            self.failed.append((call, name))
            raise StorageFullError(f"no room left to write {name}")
        left = self.faults.get(call)
        if left is None:
            return
        if left:
            self.faults[call] = left - 1
            return
        del self.faults[call]
        self.failed.append((call, name))
        raise TransportError(f"{name}: the link to the storage was cut")

    # Calls of the participant

    def put(self, name: str, data: Data, *, readers: Collection[str], replace: bool = False) -> None:
        content = data if isinstance(data, bytes) else b"".join(bytes(buffer) for buffer in data)
        self.life.step()
        self._check("put", name)
        self._change(name, lambda: super(Link, self).put(name, content, readers=readers, replace=replace))

    def delete(self, name: str) -> None:
        self.life.step()
        self._check("delete", name)
        self._change(name, lambda: super(Link, self).delete(name))

    def _change(self, name: str, change: Callable[[], None]) -> None:
        before = self._rough.files.get(name)
        change()
        if self._rough.files.get(name) != before:
            self._rough.note_change(name, before, self)

    def get(self, name: str, *, max_size: int) -> bytes:
        self._check("get", name)
        return self._read(name, max_size)

    def open(self, name: str, *, max_size: int) -> AbstractContextManager[BinaryIO]:
        self._check("open", name)
        return io.BytesIO(self._read(name, max_size))

    def keep(self, name: str, path: Path, *, max_size: int) -> None:
        self.life.step()
        self._check("keep", name)
        path.write_bytes(self._read(name, max_size))

    def stat(self, name: str) -> Entry:
        self._check("stat", name)
        return Entry(name, len(self._read(name, self.properties.max_file_size)))

    def list(self, prefix: str) -> Iterator[Entry]:
        self._check("list", prefix)
        for name in self._names():
            if name.startswith(prefix):
                with suppress(NotFoundError):
                    yield Entry(name, len(self._read(name, self.properties.max_file_size)))

    def _read(self, name: str, max_size: int) -> bytes:
        content, readers = self._file(validate_name(name)) or (b"", frozenset[str]())
        if not content or not readers & {self.email, "*"}:
            raise NotFoundError(f"{name} is not there")
        if len(content) > max_size:
            raise TooLargeError(f"{name} has {len(content)} bytes; at most {max_size} are accepted")
        return content
