"""Reports the change events of a folder tree, if its file system gives events.

Without events, the ``wait`` of a watch ends by its time-out, and the caller looks at the files. So the caller polls only
the few names that it waits for, and not the whole tree.
"""

import re
import sys
import threading
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Protocol

from syft_flwr.log import logger
from syft_flwr.names import is_valid_name, unmarked
from syft_flwr.transport.watch import NameWatch

# File systems on which the kernel does not report changes by another machine, or by a process behind FUSE.
_SILENT = re.compile(r"nfs\d?|cifs|smb\d?|smbfs|afs|9p|fuse(\..*)?|fuseblk|vboxsf|virtiofs|ceph|glusterfs|lustre")


_MOUNTS = Path("/proc/self/mounts")


def gives_events(folder: Path, mounts: Path = _MOUNTS) -> bool:
    """Return whether the file system of ``folder`` reports all changes; True if the mount table cannot be read."""
    return not is_shared(file_system_of(folder, mounts))


def is_shared(kind: str) -> bool:
    """Return whether a file system of this kind is shared with another machine, or with a process behind FUSE."""
    return _SILENT.fullmatch(kind) is not None


def file_system_of(folder: Path, mounts: Path = _MOUNTS) -> str:
    """Return the kind of the file system of ``folder``, such as ``ext4``; empty if the mount table does not tell."""
    try:
        table = [line.split() for line in mounts.read_text().splitlines()]
    except OSError:
        return ""
    resolved = folder.resolve()
    candidates = [row for row in table if len(row) > 2 and resolved.is_relative_to(row[1].replace("\\040", " "))]
    # If several rows have the same mount point, the last one counts: it is the real file system of an automounter.
    return max(reversed(candidates), key=lambda row: len(row[1]))[2] if candidates else ""


class FolderEvents:
    """The change events of a whole tree, for all its watches.

    One observer serves the whole tree. One for each peer could exceed the system's limit of 128 instances of inotify, and
    the folder of a peer may not exist yet.

    Raises:
        OSError: the tree cannot be observed.
    """

    def __init__(self, root: Path) -> None:
        self._own: set[str] = set()
        self._lock = threading.Lock()
        self._watches: list[NameWatch] = []
        self._tree = _observe(str(root), self._report, self._wake_all)

    @property
    def falls_short(self) -> bool:
        """Return whether events may be missing, so that the files must be polled."""
        return self._tree.falls_short

    def _report(self, path: str, appeared: bool) -> None:
        """Notify the watches of a file, by its path below the root."""
        name = unmarked(path)
        if not is_valid_name(name):
            return
        with self._lock:
            if appeared and name == path and name in self._own:
                return
            watches = list(self._watches)
        for watch in watches:
            watch.notify(name)

    def _wake_all(self) -> None:
        with self._lock:
            watches = list(self._watches)
        for watch in watches:
            watch.wake()

    def expect(self, name: str) -> None:
        """Do not report the appearance of a file that this process writes. Its deletion or refusal is still reported."""
        with self._lock:
            self._own.add(name)

    def forget(self, name: str) -> None:
        """Report the appearance of a file again, after this process deleted it."""
        with self._lock:
            self._own.discard(name)

    def add(self, watch: NameWatch) -> None:
        with self._lock:
            self._watches.append(watch)
        self._tree.await_below(watch.prefixes)

    def remove(self, watch: NameWatch) -> None:
        with self._lock:
            self._watches.remove(watch)

    def close(self) -> None:
        self._tree.close()


class _EventSource(Protocol):
    """The interface of an observer of a tree."""

    @property
    def falls_short(self) -> bool: ...

    def await_below(self, prefixes: Collection[str]) -> None:
        """Report the files below these prefixes from now on."""

    def close(self) -> None:
        """End the observer."""


def _observe(root: str, on_file: Callable[[str, bool], None], on_gap: Callable[[], None]) -> _EventSource:
    if sys.platform == "linux":
        from syft_flwr.transport.watched_tree import WatchedTree

        return WatchedTree(root, on_file, on_gap)
    else:  # noqa: RET505 - mypy reads the branch of its own system only
        from syft_flwr.transport.observed_tree import ObservedTree

        return ObservedTree(root, on_file)


def start_events(root: Path) -> FolderEvents | None:
    """Start to observe ``root``; log a warning and return None if that is not possible."""
    if not gives_events(root):
        logger.warning("{} is on a file system that gives no change events; polling instead, no action is needed", root)
        return None
    try:
        return FolderEvents(root)
    except OSError as error:
        # Typically, the limit fs.inotify.max_user_watches or max_user_instances is reached.
        logger.warning(
            "cannot watch {} ({}); polling instead. Raise fs.inotify.max_user_watches to get change events",
            root,
            error.strerror,
        )
        return None
