"""The interface of a transport, which moves named files between participants.

* A name is a relative path, ``<datasite>/…``, that passes :func:`~syft_flwr.names.validate_name`. The check applies to
  written names and to found names, because a peer can choose a hostile name.
* A file appears complete or not at all. It is written once; writing the same name and bytes again changes nothing.
* :meth:`Transport.watch` wakes a caller with names. It can miss, repeat and reorder them, so a caller also looks with
  :meth:`Transport.stat` or :meth:`Transport.list` every ``poll_interval``.
* A transport raises only :class:`~syft_flwr.errors.TransportError`.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Protocol

#: The content of one write: bytes, or buffers in order. A buffer must stay valid only until the next one is requested.
Data = bytes | Iterable[bytes | bytearray | memoryview]


@dataclass(frozen=True, slots=True)
class Properties:
    """The properties of a transport. Callers use them and do not test the type of the transport."""

    #: Bytes of the largest file that can be written.
    max_file_size: int
    #: Plaintext bytes of one object; larger data is split into several objects. At most 64 MiB, the limit of a receiver,
    #: and at most ``max_file_size``.
    part_size: int
    #: Seconds between two full looks of a caller, in case it misses an event: 3 by default, at most 1 without events.
    poll_interval: float
    #: Whether a watch is notified of changes. Otherwise its ``wait`` always ends by the time-out.
    pushes_events: bool
    #: Seconds until the other participants can see a written file.
    delay: float = 0.0
    #: Seconds that a caller should wait before it replaces a file again, if each write is expensive.
    update_interval: float = 0.0
    #: Files that a caller should write in parallel, if each write waits for a service; 0 means one for each core.
    concurrency: int = 0
    #: A private folder of this participant on the file system of the storage, for second names of files (hard links). It
    #: exists if files can vanish: the sync service deletes files that their writer did not delete. Then absence is no
    #: statement, and callers keep second names of own and received files. None: only the writer deletes a file.
    links: Path | None = None
    #: Bytes of all buffers of a message that travel in its envelope, if one participant reads them.
    inline_size: int = 32 << 10
    #: Bytes of the largest file that is sent in real time under a pushed name; 0 if names make no difference.
    pushed_size: int = 0
    #: Bytes of the largest message of which all objects get pushed names.
    pushed_message: int = 0
    #: Bytes of the first object of a message, which is larger than the others and gets a pushed name: its delivery shows
    #: that the link is fast. 0: all objects of a message are alike.
    probe_size: int = 0
    #: Bytes that must stay free after a write or a second name: for databases and logs, and for the sync service.
    reserve: int = 64 << 20

    @property
    def files_vanish(self) -> bool:
        """Return whether a file can be absent although its writer did not delete it."""
        return self.links is not None


@dataclass(frozen=True, slots=True)
class Reopening:
    """The function with which another process of this machine opens the same transport, and its arguments.

    The arguments have JSON types. They come from the arguments of this transport, never from a file of a project or from
    a peer, because the function is executed.
    """

    #: ``module:function``; it takes the arguments as keywords, and returns the transport.
    opener: str
    arguments: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Entry:
    """The name and the size in bytes of one complete file."""

    name: str
    size: int


class Transport(Protocol):
    """The access of one participant to the shared storage. Thread-safe."""

    @property
    def properties(self) -> Properties:
        """Return the properties as they are now. They raise no error and cost little: callers ask for each file."""

    def put(self, name: str, data: Data, *, readers: Collection[str], replace: bool = False) -> None:
        """Write one file, completely or not at all.

        It may be called again after a crash: the same name and bytes change nothing. If this participant may not write
        the name, :meth:`refused` returns True afterwards, and no error is raised. An empty file counts as absent, but
        other bytes conflict with it.

        Args:
            readers: the emails of the participants that can read the file; ``*`` means all. The writer and the owner of
                the datasite can always read it.
            replace: replace the content of an existing file. Only for files with one writer and a latest state: key
                cards, heartbeats and replies.

        Raises:
            ConflictError: the name exists with other bytes and ``replace`` is False.
            StorageFullError: the storage is full; no part of the file remains.
        """

    def get(self, name: str, *, max_size: int) -> bytes:
        """Return the content of one complete file.

        Raises:
            NotFoundError: the file does not exist (yet).
            TooLargeError: the file has more than ``max_size`` bytes; it was not read.
        """

    def open(self, name: str, *, max_size: int) -> AbstractContextManager[BinaryIO]:
        """Open one complete file to read it in pieces; raise the same errors as :meth:`get`.

        An open file stays readable to its end after it is replaced or deleted.
        """

    def keep(self, name: str, path: Path, *, max_size: int) -> None:
        """Keep the present content of one complete file in ``path``, a private file outside the storage.

        The content of ``path`` stays when the file is replaced or deleted. ``path`` may be a hard link to the file. An
        existing ``path`` is replaced. Raises the same errors as :meth:`get`.
        """

    def stat(self, name: str) -> Entry:
        """Return the name and size of one file, without reading its content.

        Raises:
            NotFoundError: the file does not exist (yet).
        """

    def refused(self, name: str) -> bool:
        """Return whether the sync service refused this file of this participant, so that peers will never see it."""

    def delete_conflicts(self, prefix: str, *, most: int) -> None:
        """Delete the conflict copies in ``prefix``, a folder that ends in ``/``, and in its subfolders, not deeper.

        The sync service makes such a copy, on this machine only, if it met two files of one name, or if it took a
        received file for one of this user and was refused. A peer decides how many files its folders have, so the
        search looks at ``most`` files and folders at most.
        """

    def list(self, prefix: str) -> Iterator[Entry]:
        """Iterate over the complete files below ``prefix``, a folder that ends in ``/``.

        Foreign, temporary, empty and refused files and symbolic links are left out.
        """

    def watch(self, prefixes: Collection[str]) -> AbstractContextManager["Watch"]:
        """Start to watch names below ``prefixes``; changes after this method returns are reported."""

    def delete(self, name: str) -> None:
        """Delete a file that this participant wrote. A file that does not exist is not an error."""

    def open_inbox(self, prefix: str) -> None:
        """Let each peer write and read its own ``*.request`` and ``*.response`` files below ``prefix``.

        ``prefix`` is a folder in this participant's datasite.
        """

    def prepare(self, prefix: str, readers: Collection[str]) -> None:
        """Prepare the folder ``prefix`` for later files of this participant, so that the first one arrives as soon as others.

        Callers do this before the first file of a peer can arrive there. ``readers`` are those of all these files in
        this participant's datasite; an inbox has its own rules. The call grants no access that :meth:`put` does not
        grant, and may do nothing.
        """

    def restore_permissions(self) -> None:
        """Give the peers again the access that this process granted, if another program deleted it meanwhile.

        Callers do this at each scan, so it must cost little. It may do nothing.
        """

    def free_space(self) -> int:
        """Return how many bytes this participant can still write."""

    def reopen(self) -> Reopening | None:
        """Return how a worker process can open this transport too; None if only one process can use it.

        If it is None, the worker reads and writes a folder of this machine, and this process transfers its files.
        """

    def close(self) -> None:
        """Release threads and handles. The transport cannot be used afterwards."""


class Watch(Protocol):
    """The names of changed files below some prefixes."""

    def wait(self, timeout: float | None) -> set[str]:
        """Wait for changes; return the names of files that appeared, changed or were deleted since the last call.

        Return an empty set after ``timeout`` seconds (None waits without limit), or after :meth:`wake`. A name is only a
        hint: the caller must look at the file.
        """

    def wake(self) -> None:
        """Make :meth:`wait` return at once, now or at its next call. Can be called from any thread."""
