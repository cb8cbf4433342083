"""The storage between the participants. A test can read, write and delete any file in it, as its writer could."""

import contextlib
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

from leftovers import files_below
from waiting import PATIENCE, eventually

from syft_flwr.emulators.syftbox.sync_names import Marker, marked
from syft_flwr.errors import NotFoundError, TransportError, UnavailableError
from syft_flwr.fl_orchestrator.participant import Participant
from syft_flwr.transport.base import Data, Entry, Transport
from syft_flwr.transport.memory import MemoryNetwork
from syft_flwr.transport.syftbox import SyftBoxTransport

#: Seconds between full scans. Short, because the tests wait for scans.
POLL_INTERVAL = 0.05
#: Suffixes of files that carry messages. The other files are key cards and heartbeats.
CARRIERS = (".blob", ".request", ".response")


def carries_message(name: str) -> bool:
    """Return whether this is the name of a request, a reply or an object, and not of a heartbeat or a key card."""
    return name.endswith(CARRIERS) and name.split("/")[-2] not in ("status", "public")


class Storage(Protocol):
    """The actions of a test on the storage, which no participant takes part in."""

    #: Whether apps run in processes of their own.
    workers: bool
    #: Whether a missing request counts as withdrawn. Where the sync service can lose files, only its sender can tell.
    absence_withdraws: bool

    def open(self, email: str) -> Transport:
        """Return the transport of one participant."""

    def plant(self, name: str, data: bytes) -> None:
        """Write a file that every participant can read, without a check of the writer."""

    def take(self, name: str) -> bytes:
        """Delete a file and return its content."""

    def read(self, name: str) -> bytes:
        """Return the content of a file, or empty bytes if the file does not exist."""

    def names(self) -> list[str]:
        """Return the names of all files."""

    def refuse(self, name: str) -> None:
        """Refuse a file as the sync service does when its writer has no permission."""

    def settle(self) -> None:
        """Wait until each participant can see all earlier changes."""

    def assert_nothing_left(self, participants: Sequence[Participant]) -> None:
        """Check that no message and no object is left after the processes of these participants have ended."""


class MemoryStorage:
    """A storage in the memory of this process."""

    workers = False
    absence_withdraws = True

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

    def refuse(self, name: str) -> None:
        with self.network.lock:
            del self.network.files[name]
            self.network.refused.add(name)
        self.network.notify(name)

    def settle(self) -> None:
        pass

    def assert_nothing_left(self, participants: Sequence[Participant]) -> None:
        assert list(filter(carries_message, self.names())) == []


class FolderStorage:
    """One SyftBox data folder for all participants. With ``workers``, apps run in processes of their own."""

    absence_withdraws = True

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
        # Move the complete file into place, as a sync service does after a download.
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
        return files_below(self.data_dir / "datasites")

    def refuse(self, name: str) -> None:
        self.path(name).rename(self.path(marked(name, Marker.REJECTED)))

    def settle(self) -> None:
        pass

    def assert_nothing_left(self, participants: Sequence[Participant]) -> None:
        assert list(filter(carries_message, self.names())) == []


class Spy:
    """A transport that counts calls, runs hooks and fails on demand. All other calls go to the inner transport."""

    def __init__(self, inner: Transport) -> None:
        self.inner = inner
        #: For each name, the number of reads, and the number of reads that found the file.
        self.reads: Counter[str] = Counter()
        self.finds: Counter[str] = Counter()
        self.scans = 0
        #: Called once, after the next listing of messages is made and before it is returned.
        self.after_listing: Callable[[], None] | None = None
        #: Called before each deletion.
        self.before_deleting: Callable[[], None] | None = None
        #: Errors by part of a name. A put of a name with this part raises the error.
        self.refuses: dict[str, TransportError] = {}
        #: Ends of names that a read or a stat does not find, as if the files had not been synced yet.
        self.hidden: tuple[str, ...] = ()
        #: Called with each name before its put.
        self.before_putting: Callable[[str], None] | None = None
        self.deleted = threading.Event()
        self._lock = threading.Lock()
        #: Not set while the process stands still; an error while the storage cannot be reached.
        self._goes_on = threading.Event()
        self._goes_on.set()
        self._trouble: TransportError | None = None
        #: The number of reads that failed.
        self.failed_reads = 0

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Let each read wait until the end of the block, as in a process that is stopped."""
        self._goes_on.clear()
        try:
            yield
        finally:
            self._goes_on.set()

    @contextlib.contextmanager
    def unavailable(self) -> Iterator[None]:
        """Let each read fail in the block."""
        self._trouble = UnavailableError("the storage cannot be reached")
        try:
            yield
        finally:
            self._trouble = None

    def _wait_for_turn(self) -> None:
        self._goes_on.wait(PATIENCE)
        if self._trouble:
            self.failed_reads += 1
            raise self._trouble

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    def get(self, name: str, *, max_size: int) -> bytes:
        self._wait_for_turn()
        with self._lock:
            self.reads[name] += 1
        if name.endswith(self.hidden):
            raise NotFoundError(f"{name} is not there")
        data = self.inner.get(name, max_size=max_size)
        with self._lock:
            self.finds[name] += 1
        return data

    def stat(self, name: str) -> Entry:
        self._wait_for_turn()
        if name.endswith(self.hidden):
            raise NotFoundError(f"{name} is not there")
        return self.inner.stat(name)

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
        """Wait until the responder has made ``number`` more full scans."""
        goal = self.scans + number
        eventually(lambda: self.scans >= goal, f"{number} more scans")
