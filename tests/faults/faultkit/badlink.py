"""A transport with calls that fail, return wrong data or stall.

A test chooses the kind of call, the names, and which calls: the n-th, a range or all.
"""

import io
import math
import threading
from collections.abc import Callable, Collection, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, BinaryIO

from faultkit.storage import MemoryStorage

from syft_flwr.errors import TransportError
from syft_flwr.transport.base import Data, Entry, Properties, Transport, Watch

#: Replaces a call. It gets the true call, may make it, and returns the result for the caller.
Act = Callable[[Callable[[], Any]], Any]


def fail(call: Callable[[], Any]) -> Any:
    raise TransportError("the link to the storage was cut")


def cut(call: Callable[[], Any]) -> Any:
    """Return only the first half of a file."""
    found = call()
    if isinstance(found, bytes):
        return found[: len(found) // 2]
    data = found.read()
    return io.BytesIO(data[: len(data) // 2])


def one_more(call: Callable[[], Any]) -> Any:
    """Return the entry of a file with a size that is one byte too large."""
    entry = call()
    return replace(entry, size=entry.size + 1)


@dataclass
class Stall:
    """Delays a call until the test sets :attr:`let_go`."""

    reached: threading.Event = field(default_factory=threading.Event)
    let_go: threading.Event = field(default_factory=threading.Event)

    def __call__(self, call: Callable[[], Any]) -> Any:
        self.reached.set()
        self.let_go.wait()
        return call()


@dataclass
class Trouble:
    """One fault: ``act`` replaces the calls number ``first`` to ``last`` of one kind, for names that contain ``part``."""

    call: str
    act: Act
    part: str = ""
    first: int = 1
    last: float = 1
    #: The number of such calls so far.
    seen: int = 0

    @property
    def happened(self) -> bool:
        return self.seen >= self.first


class BadLink:
    """The transport of one participant. Without a :class:`Trouble` it only passes the calls on."""

    def __init__(self, inner: Transport) -> None:
        self.inner = inner
        self._troubles: list[Trouble] = []
        self._lock = threading.Lock()

    def trouble(
        self, call: str, act: Act = fail, part: str = "", *, first: int = 1, last: float | None = None
    ) -> Trouble:
        """Let one call, or all from ``first`` to ``last``, have this fault."""
        trouble = Trouble(call, act, part, first, first if last is None else last)
        with self._lock:
            self._troubles.append(trouble)
        return trouble

    def always(self, call: str, act: Act = fail, part: str = "") -> Trouble:
        return self.trouble(call, act, part, last=math.inf)

    def heal(self) -> None:
        with self._lock:
            self._troubles.clear()

    def _do(self, kind: str, name: str, call: Callable[[], Any]) -> Any:
        act: Act | None = None
        with self._lock:
            for trouble in self._troubles:
                if trouble.call == kind and trouble.part in name:
                    trouble.seen += 1
                    if trouble.first <= trouble.seen <= trouble.last:
                        act = trouble.act
        return act(call) if act else call()

    @property
    def properties(self) -> Properties:
        return self.inner.properties

    def put(self, name: str, data: Data, *, readers: Collection[str], replace: bool = False) -> None:
        self._do("put", name, lambda: self.inner.put(name, data, readers=readers, replace=replace))

    def get(self, name: str, *, max_size: int) -> bytes:
        return bytes(self._do("get", name, lambda: self.inner.get(name, max_size=max_size)))

    def open(self, name: str, *, max_size: int) -> AbstractContextManager[BinaryIO]:
        opened: AbstractContextManager[BinaryIO] = self._do("open", name, lambda: self._open(name, max_size))
        return opened

    def _open(self, name: str, max_size: int) -> io.BytesIO:
        with self.inner.open(name, max_size=max_size) as file:
            return io.BytesIO(file.read())

    def keep(self, name: str, path: Path, *, max_size: int) -> None:
        self._do("keep", name, lambda: self.inner.keep(name, path, max_size=max_size))

    def stat(self, name: str) -> Entry:
        found: Entry = self._do("stat", name, lambda: self.inner.stat(name))
        return found

    def refused(self, name: str) -> bool:
        return bool(self._do("refused", name, lambda: self.inner.refused(name)))

    def delete_conflicts(self, prefix: str, *, most: int) -> None:
        self._do("delete_conflicts", prefix, lambda: self.inner.delete_conflicts(prefix, most=most))

    def list(self, prefix: str) -> Iterator[Entry]:
        yield from self._do("list", prefix, lambda: [*self.inner.list(prefix)])

    @contextmanager
    def watch(self, prefixes: Collection[str]) -> Iterator[Watch]:
        with self._do("watch", "", lambda: self.inner.watch(prefixes)) as watch:
            yield _Watched(self, watch)

    def delete(self, name: str) -> None:
        self._do("delete", name, lambda: self.inner.delete(name))

    def open_inbox(self, prefix: str) -> None:
        self._do("open_inbox", prefix, lambda: self.inner.open_inbox(prefix))

    def prepare(self, prefix: str, readers: Collection[str]) -> None:
        self._do("prepare", prefix, lambda: self.inner.prepare(prefix, readers))

    def restore_permissions(self) -> None:
        self._do("restore_permissions", "", self.inner.restore_permissions)

    def free_space(self) -> int:
        return int(self._do("free_space", "", self.inner.free_space))

    def close(self) -> None:
        self.inner.close()


class _Watched:
    """A watch. Its ``wait`` can have a fault too, under the call name ``wait``."""

    def __init__(self, link: BadLink, watch: Watch) -> None:
        self._link = link
        self._watch = watch

    def wait(self, timeout: float | None) -> set[str]:
        return set(self._link._do("wait", "", lambda: self._watch.wait(timeout)))

    def wake(self) -> None:
        self._watch.wake()


class BadStorage(MemoryStorage):
    """A storage in memory, with a :class:`BadLink` for each participant."""

    def __init__(self) -> None:
        super().__init__()
        self._links: dict[str, BadLink] = {}

    def open(self, email: str) -> BadLink:
        return self._links.setdefault(email, BadLink(super().open(email)))

    def __getitem__(self, email: str) -> BadLink:
        return self._links[email]
