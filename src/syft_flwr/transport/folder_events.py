"""Events of a folder tree: watchdog where the file system gives events, nothing where it does not.

A watch without events is still useful: its ``wait`` ends after the time-out, and the caller looks for itself. That is
polling over the few names that are awaited, not over the tree.
"""

import re
import threading
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from loguru import logger

from syft_flwr.names import is_valid_name, unmarked
from syft_flwr.transport.watch import NameWatch

if TYPE_CHECKING:
    from watchdog.events import FileSystemEvent

# File systems on which the kernel does not tell what another machine (or a process behind FUSE) changed.
_SILENT = re.compile(r"nfs\d?|cifs|smb\d?|smbfs|afs|9p|fuse(\..*)?|fuseblk|vboxsf|virtiofs|ceph|glusterfs|lustre")


def gives_events(folder: Path, mounts: Path = Path("/proc/self/mounts")) -> bool:
    """Say whether the file system of ``folder`` reports every change; without a mount table, assume that it does."""
    try:
        table = [line.split() for line in mounts.read_text().splitlines()]
    except OSError:
        return True
    resolved = folder.resolve()
    candidates = [row for row in table if len(row) > 2 and resolved.is_relative_to(row[1].replace("\\040", " "))]
    # Of several at one place the last mounted counts: below an automounter's own entry lies the real file system.
    kind = max(reversed(candidates), key=lambda row: len(row[1]))[2] if candidates else ""
    return not _SILENT.fullmatch(kind)


class FolderEvents:
    """One watchdog observer for a whole tree, shared by all watches on it.

    The tree is watched from its root with one inotify instance: a watch per peer would meet the system's limit of 128
    instances, and a peer's folder may not exist yet.
    """

    def __init__(self, root: Path) -> None:
        from watchdog.events import FileClosedEvent, FileCreatedEvent, FileDeletedEvent, FileMovedEvent
        from watchdog.observers import Observer

        self._prefix = f"{root}/"
        self._appearances = (FileCreatedEvent, FileClosedEvent)
        self._own: set[str] = set()
        self._lock = threading.Lock()
        self._watches: list[NameWatch] = []
        self._observer = Observer()
        events: list[type[FileSystemEvent]] = [FileCreatedEvent, FileMovedEvent, FileClosedEvent, FileDeletedEvent]
        try:
            self._observer.schedule(self, str(root), recursive=True, event_filter=events)  # type: ignore[arg-type]
            self._observer.start()
        except OSError:
            # It began to read when it was made.
            self._observer.stop()
            raise

    def dispatch(self, event: "FileSystemEvent") -> None:
        """Take an event from watchdog (this object is its handler)."""
        for path in (event.dest_path, event.src_path):
            text = path.decode(errors="replace") if isinstance(path, bytes) else path
            name = unmarked(text.removeprefix(self._prefix))
            if text.startswith(self._prefix) and is_valid_name(name):
                with self._lock:
                    if name in self._own and isinstance(event, self._appearances) and text.endswith(name):
                        continue
                    watches = list(self._watches)
                for watch in watches:
                    watch.notify(name)

    def expect(self, name: str) -> None:
        """Say that a file is our own, so that its appearance is no news. Its removal, or a refusal, still is."""
        with self._lock:
            self._own.add(name)

    def forget(self, name: str) -> None:
        """Say that a file of ours was deleted."""
        with self._lock:
            self._own.discard(name)

    def add(self, watch: NameWatch) -> None:
        with self._lock:
            self._watches.append(watch)

    def remove(self, watch: NameWatch) -> None:
        with self._lock:
            self._watches.remove(watch)

    def close(self) -> None:
        self._observer.stop()
        self._observer.join()


def start_events(root: Path) -> FolderEvents | None:
    """Start to observe ``root``; None where that is not possible, said once in the log."""
    # watchdog 7.1 warns, in its own thread and at length, when folders are made in quick succession; it loses nothing.
    warnings.filterwarnings("ignore", "Callback with id", RuntimeWarning)
    if not gives_events(root):
        logger.warning("{} is on a file system that gives no change events; polling instead", root)
        return None
    try:
        return FolderEvents(root)
    except OSError as error:
        # Typically fs.inotify.max_user_watches or max_user_instances.
        logger.warning("cannot watch {} ({}); polling instead", root, error.strerror)
        return None
