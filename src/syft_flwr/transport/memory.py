"""The transport in the memory of one process, for tests and for trying an app in one interpreter.

It enforces the rules of the real transports: read and write permissions, complete files only, and files written once.
"""

import contextlib
import io
import threading
from collections.abc import Collection, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import BinaryIO

from syft_flwr.errors import ConflictError, NotFoundError, TooLargeError
from syft_flwr.names import is_below, is_valid_name, may_write, validate_name
from syft_flwr.transport._disk import open_folder, write_in_folder
from syft_flwr.transport.base import Data, Entry, Properties, Reopening
from syft_flwr.transport.watch import NameWatch


class MemoryNetwork:
    """The storage that all participants share; :meth:`transport` returns the transport of each."""

    def __init__(self, *, poll_interval: float = 3.0, part_size: int = 16 << 20) -> None:
        self.properties = Properties(1 << 40, part_size, poll_interval, pushes_events=True)
        self.lock = threading.Lock()
        self.files: dict[str, tuple[bytes, frozenset[str]]] = {}
        self.inboxes: set[str] = set()
        self.refused: set[str] = set()
        self.watches: list[NameWatch] = []

    def transport(self, email: str) -> "MemoryTransport":
        return MemoryTransport(self, email)

    def notify(self, name: str) -> None:
        with self.lock:
            watches = list(self.watches)
        for watch in watches:
            watch.notify(name)


class MemoryTransport:
    """The transport of one participant of a :class:`MemoryNetwork`; see :class:`syft_flwr.transport.base.Transport`."""

    def __init__(self, network: MemoryNetwork, email: str) -> None:
        self._network = network
        self._email = email

    @property
    def properties(self) -> Properties:
        return self._network.properties

    def put(self, name: str, data: Data, *, readers: Collection[str], replace: bool = False) -> None:
        validate_name(name)
        content = data if isinstance(data, bytes) else b"".join(bytes(buffer) for buffer in data)
        owner = name.partition("/")[0]
        network = self._network
        with network.lock:
            if not self._may_write(name):
                network.refused.add(name)
                return
            network.refused.discard(name)
            present = network.files.get(name)
            if present and not replace:
                if present[0] != content:
                    raise ConflictError(f"{name} exists with other content; files are written once")
                return
            network.files[name] = (content, frozenset({self._email, owner, *readers}))
        network.notify(name)

    def _may_write(self, name: str) -> bool:
        is_mine = name.startswith(f"{self._email}/")
        return is_mine or (may_write(self._email, name) and is_below(name, self._network.inboxes))

    def get(self, name: str, *, max_size: int) -> bytes:
        validate_name(name)
        with self._network.lock:
            content, readers = self._network.files.get(name, (b"", frozenset[str]()))
        if not content or not readers & {self._email, "*"}:
            raise NotFoundError(f"{name} is not there")
        if len(content) > max_size:
            raise TooLargeError(f"{name} has {len(content)} bytes; at most {max_size} are accepted")
        return content

    def open(self, name: str, *, max_size: int) -> AbstractContextManager[BinaryIO]:
        return io.BytesIO(self.get(name, max_size=max_size))

    def keep(self, name: str, path: Path, *, max_size: int) -> None:
        content = self.get(name, max_size=max_size)
        with open_folder(path.parent, ()) as folder:
            write_in_folder(folder, path.name, content, mode=0o600)

    def stat(self, name: str) -> Entry:
        return Entry(name, len(self.get(name, max_size=self.properties.max_file_size)))

    def refused(self, name: str) -> bool:
        return name in self._network.refused

    def delete_conflicts(self, prefix: str, *, most: int) -> None:
        pass

    def list(self, prefix: str) -> Iterator[Entry]:
        with self._network.lock:
            names = [name for name in self._network.files if name.startswith(prefix.rstrip("/") + "/")]
        for name in filter(is_valid_name, names):
            # This participant may not read the file, or it was deleted since.
            with contextlib.suppress(NotFoundError):
                yield self.stat(name)

    def watch(self, prefixes: Collection[str]) -> NameWatch:
        network = self._network
        watch = NameWatch(prefixes, on_close=network.watches.remove)
        with network.lock:
            network.watches.append(watch)
        return watch

    def delete(self, name: str) -> None:
        with self._network.lock:
            self._network.refused.discard(validate_name(name))
            if self._may_write(name):
                self._network.files.pop(name, None)
        self._network.notify(name)

    def open_inbox(self, prefix: str) -> None:
        with self._network.lock:
            self._network.inboxes.add(prefix)

    def prepare(self, prefix: str, readers: Collection[str]) -> None:
        pass

    def restore_permissions(self) -> None:
        pass

    def free_space(self) -> int:
        return self.properties.max_file_size

    def reopen(self) -> Reopening | None:
        return None

    def close(self) -> None:
        pass
