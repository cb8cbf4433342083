"""The interface of a transport: it moves named files of bytes between participants, nothing else.

* A name is a relative path, ``<datasite>/…``, that passes :func:`~syft_flwr.names.validate_name`, both when it is written and when it is
  found: names of others are hostile until they pass.
* A file appears whole or not at all, and is written once; the same name and bytes again is a no-op.
* :meth:`Transport.watch` is a wake-up with names: it may miss, repeat and reorder. Whoever needs certainty also looks
  with :meth:`Transport.stat` or :meth:`Transport.list` every ``poll_interval``.
* Foreign errors do not escape: everything raised is a :class:`~syft_flwr.errors.TransportError`.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Protocol

#: What one write takes: bytes, or buffers in order, each of which need only live until the next is asked for.
Data = bytes | Iterable[bytes | bytearray | memoryview]


@dataclass(frozen=True, slots=True)
class Properties:
    """What a transport is like, so that callers ask it instead of asking for its type."""

    max_file_size: int
    #: Plaintext bytes of one object; larger data is cut into several. At most 64 MiB, which is the most that a receiver
    #: accepts, and at most ``max_file_size``.
    part_size: int
    #: Seconds between two full looks, the backing of events: at most 1 without events; with them, 3 by default.
    poll_interval: float
    pushes_events: bool
    #: Seconds until what one participant writes is seen by the others, where that takes its time.
    delay: float = 0.0
    #: Seconds that should lie between two states of a file that is replaced, where each costs something.
    update_interval: float = 0.0
    #: Files that are best written at once, where each waits for a service; 0 is one for each core.
    concurrency: int = 0


@dataclass(frozen=True, slots=True)
class Reopening:
    """How another process of this machine opens the same end: a function and its arguments, of JSON's types.

    A transport makes it of what it was opened with itself. Nothing in it comes from a file of a project or from a peer.
    """

    #: ``module:function``; called with the arguments by name, it returns the transport.
    opener: str
    arguments: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Entry:
    """One complete file: its name and its size in bytes."""

    name: str
    size: int


class Transport(Protocol):
    """A participant's end of the shared storage. Thread-safe."""

    @property
    def properties(self) -> Properties: ...

    def put(self, name: str, data: Data, *, readers: Collection[str], replace: bool = False) -> None:
        """Write one file, all or nothing, so that ``readers`` (emails; ``*`` is anyone) can read it.

        May be called again after a crash: the same name and bytes change nothing. ``replace`` is for the files that
        have one writer and a last state: key cards, signs of life and replies.

        The writer and the owner of the datasite can always read the file. A name that this participant may not write
        becomes ``refused``, and nothing is raised. An empty file counts as absent, but other bytes conflict with it.

        Raises:
            ConflictError: the name exists with other bytes and ``replace`` is off.
            StorageFullError: there was no room; nothing is left behind.
        """

    def get(self, name: str, *, max_size: int) -> bytes:
        """Return one complete file.

        Raises:
            NotFoundError: it is not there (yet).
            TooLargeError: it is larger than ``max_size`` bytes; nothing was read.
        """

    def open(self, name: str, *, max_size: int) -> AbstractContextManager[BinaryIO]:
        """Open one complete file to read it in pieces; raises as :meth:`get` does.

        An open file stays readable to its end after it is replaced or deleted.
        """

    def keep(self, name: str, path: Path, *, max_size: int) -> None:
        """Make ``path``, a file of ours outside the storage, hold what one complete file holds now, whatever becomes of it.

        It may be a second name for the same bytes. A ``path`` that is there already is replaced. Raises as :meth:`get` does.
        """

    def stat(self, name: str) -> Entry:
        """Look at one file without reading it.

        Raises:
            NotFoundError: it is not there (yet).
        """

    def refused(self, name: str) -> bool:
        """Say whether the sync service set this file of ours aside, so that no peer will ever see it."""

    def list(self, prefix: str) -> Iterator[Entry]:
        """Iterate over the complete files below ``prefix``, a folder that ends in ``/``.

        Foreign, temporary, empty and refused files and symbolic links are passed over.
        """

    def watch(self, prefixes: Collection[str]) -> AbstractContextManager["Watch"]:
        """Start to watch for names below ``prefixes``; what changes after this returns is reported."""

    def delete(self, name: str) -> None:
        """Remove a file that one wrote oneself; one that is not there is no error."""

    def open_inbox(self, prefix: str) -> None:
        """Let each peer write and read its own ``*.request`` and ``*.response`` below ``prefix``, a folder of mine."""

    def free_space(self) -> int:
        """Return how many bytes can still be written."""

    def reopen(self) -> Reopening | None:
        """Return how a worker process opens this end too; None if only one process can have it.

        Then the worker reads and writes a folder of this machine, and this process carries its files.
        """

    def close(self) -> None:
        """Give back threads and handles; the transport is of no use afterwards."""


class Watch(Protocol):
    """Names that changed since the last call."""

    def wait(self, timeout: float | None) -> set[str]:
        """Return names that appeared, changed or went; empty after ``timeout`` seconds or :meth:`wake`.

        A name is a hint: look before believing it.
        """

    def wake(self) -> None:
        """Make a :meth:`wait` in another thread return at once. Safe to call from any thread."""
