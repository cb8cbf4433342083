"""Reports the change events of a folder tree, if its file system gives events.

Without events, the ``wait`` of a watch ends by its time-out, and the caller looks at the files. So the caller polls only
the few names that it waits for, and not the whole tree.
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

# File systems on which the kernel does not report changes by another machine, or by a process behind FUSE.
_SILENT = re.compile(r"nfs\d?|cifs|smb\d?|smbfs|afs|9p|fuse(\..*)?|fuseblk|vboxsf|virtiofs|ceph|glusterfs|lustre")


def gives_events(folder: Path, mounts: Path = Path("/proc/self/mounts")) -> bool:
    """Return whether the file system of ``folder`` reports all changes; True if the mount table cannot be read."""
    try:
        table = [line.split() for line in mounts.read_text().splitlines()]
    except OSError:
        return True
    resolved = folder.resolve()
    candidates = [row for row in table if len(row) > 2 and resolved.is_relative_to(row[1].replace("\\040", " "))]
    # If several rows have the same mount point, the last one counts: it is the real file system of an automounter.
    kind = max(reversed(candidates), key=lambda row: len(row[1]))[2] if candidates else ""
    return not _SILENT.fullmatch(kind)


class FolderEvents:
    """One watchdog observer for a whole tree, shared by all its watches.

    It observes the tree from its root with one inotify instance. An observer for each peer could exceed the system's
    limit of 128 instances, and the folder of a peer may not exist yet.
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
            # The observer started its reader when it was created.
            self._observer.stop()
            raise

    def dispatch(self, event: "FileSystemEvent") -> None:
        """Notify the watches of an event; watchdog calls this method, as this object is its handler."""
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

    def remove(self, watch: NameWatch) -> None:
        with self._lock:
            self._watches.remove(watch)

    def close(self) -> None:
        self._observer.stop()
        self._observer.join()


def start_events(root: Path) -> FolderEvents | None:
    """Start to observe ``root``; log a warning and return None if that is not possible."""
    # watchdog 7.1 prints long warnings when folders are created in quick succession, although it loses no event.
    warnings.filterwarnings("ignore", "Callback with id", RuntimeWarning)
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
