"""The storage between the participants, and what whoever holds it can do to it: read, write and delete any file."""

import contextlib
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol

from waiting import eventually

from syft_flwr.errors import NotFoundError, TransportError
from syft_flwr.transport.base import Data, Entry, Transport
from syft_flwr.transport.memory import MemoryNetwork
from syft_flwr.transport.syftbox import SyftBoxTransport

#: Seconds between full looks: short, because what a scan finds is waited for here.
POLL_INTERVAL = 0.05


class Storage(Protocol):
    """What the tests do behind the participants' backs."""

    #: Apps run in processes of their own.
    workers: bool

    def open(self, email: str) -> Transport:
        """Return one participant's end."""

    def plant(self, name: str, data: bytes) -> None:
        """Put a file there that everybody can read, whoever should have written it."""

    def take(self, name: str) -> bytes:
        """Remove a file and return what was in it."""

    def read(self, name: str) -> bytes:
        """Return a file's bytes; empty if it is not there."""

    def names(self) -> list[str]:
        """Return the names of all files."""


class MemoryStorage:
    """Everybody in this process."""

    workers = False

    def __init__(self) -> None:
        self.network = MemoryNetwork(poll_interval=POLL_INTERVAL)

    def open(self, email: str) -> Transport:
        return self.network.transport(email)

    def plant(self, name: str, data: bytes) -> None:
        with self.network.lock:
            self.network.files[name] = (data, frozenset({"*"}))
        self.network.notify(name)

    def take(self, name: str) -> bytes:
        with self.network.lock:
            data, _ = self.network.files.pop(name)
        self.network.notify(name)
        return data

    def read(self, name: str) -> bytes:
        with self.network.lock:
            return self.network.files.get(name, (b"", frozenset[str]()))[0]

    def names(self) -> list[str]:
        with self.network.lock:
            return sorted(self.network.files)


class FolderStorage:
    """One SyftBox data folder that all share; with ``workers``, apps run in processes of their own."""

    def __init__(self, data_dir: Path, *, workers: bool = False) -> None:
        self.data_dir = data_dir
        self.workers = workers

    def open(self, email: str) -> Transport:
        return SyftBoxTransport(self.data_dir, email, poll_interval=POLL_INTERVAL)

    def path(self, name: str) -> Path:
        return self.data_dir / "datasites" / name

    def plant(self, name: str, data: bytes) -> None:
        path = self.path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        # Whole at once, as a sync service that downloads moves files into place.
        temporary = self.data_dir / "arriving"
        temporary.write_bytes(data)
        temporary.replace(path)

    def take(self, name: str) -> bytes:
        data = self.path(name).read_bytes()
        self.path(name).unlink()
        return data

    def read(self, name: str) -> bytes:
        with contextlib.suppress(FileNotFoundError):
            return self.path(name).read_bytes()
        return b""

    def names(self) -> list[str]:
        root = self.data_dir / "datasites"
        return sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file())


class Spy:
    """A transport that tells how often it was asked what, calls hooks, and fails on demand. Else it is the inner one."""

    def __init__(self, inner: Transport) -> None:
        self.inner = inner
        #: How often each name was asked for, and how often it was there.
        self.reads: Counter[str] = Counter()
        self.finds: Counter[str] = Counter()
        self.scans = 0
        #: Called once, when the next listing of messages is made and before it is given out.
        self.after_listing: Callable[[], None] | None = None
        #: Called before each deletion.
        self.before_deleting: Callable[[], None] | None = None
        #: A put of a name that contains a key of this raises the error.
        self.refuses: dict[str, TransportError] = {}
        #: What ends so is not there, as if it had not been synced yet.
        self.hidden: tuple[str, ...] = ()
        #: Called with each name before it is put.
        self.before_putting: Callable[[str], None] | None = None
        self.deleted = threading.Event()
        self._lock = threading.Lock()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    def get(self, name: str, *, max_size: int) -> bytes:
        with self._lock:
            self.reads[name] += 1
        if name.endswith(self.hidden):
            raise NotFoundError(f"{name} is not there")
        data = self.inner.get(name, max_size=max_size)
        with self._lock:
            self.finds[name] += 1
        return data

    def put(self, name: str, data: Data, **options: Any) -> None:
        if self.before_putting:
            self.before_putting(name)
        for part, error in self.refuses.items():
            if part in name:
                raise error
        self.inner.put(name, data, **options)

    def delete(self, name: str) -> None:
        if self.before_deleting:
            self.before_deleting()
        self.inner.delete(name)
        self.deleted.set()

    def list(self, prefix: str) -> Iterator[Entry]:
        found = list(self.inner.list(prefix))
        hook = self.after_listing
        if hook and "/messages/" in prefix:
            self.after_listing = None
            hook()
        yield from found
        with self._lock:
            self.scans += "/messages/" in prefix

    def wait_for_scans(self, number: int = 3) -> None:
        """Wait until the responder has looked at everything ``number`` times more."""
        goal = self.scans + number
        eventually(lambda: self.scans >= goal, f"{number} more scans")
