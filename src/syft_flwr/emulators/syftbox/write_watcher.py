"""Watch the participants' folders for writes and for removed folders, with watchdog."""

import contextlib
import os
import secrets
import threading
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from syft_flwr.errors import TransportError

if TYPE_CHECKING:
    from watchdog.events import FileSystemEvent
    from watchdog.observers.api import BaseObserver


class _Writes:
    """Watchdog event handler for one folder."""

    def __init__(
        self, root: Path, on_write: Callable[[str], None], on_removal: Callable[[str], None] | None = None
    ) -> None:
        self.root = root
        self._prefix = f"{root}/"
        self._on_write = on_write
        self._on_removal = on_removal
        self._cookies: dict[str, threading.Event] = {}

    def dispatch(self, event: "FileSystemEvent") -> None:
        path = event.src_path
        text = path.decode(errors="replace") if isinstance(path, bytes) else path
        name = text.removeprefix(self._prefix)
        cookie = self._cookies.get(name)
        if cookie:
            cookie.set()
        elif name == text:
            return
        elif not event.is_directory:
            self._on_write(name)
        elif self._on_removal:
            self._on_removal(name)

    @property
    def wants_removals(self) -> bool:
        return self._on_removal is not None

    def flush(self, timeout: float) -> bool:
        # The kernel keeps the order of events, so the event of this cookie file comes after those of earlier writes.
        # SyftBox ignores its name.
        name = f".settle-{secrets.token_hex(6)}.tmp"
        cookie = self._cookies[name] = threading.Event()
        path = self.root / name
        try:
            path.write_bytes(b"-")
            return cookie.wait(timeout)
        finally:
            path.unlink(missing_ok=True)
            del self._cookies[name]


class WriteWatcher:
    """Calls a function with the name of every file that is written below a folder.

    Only inotify's MODIFY counts as a write; a rename, a deletion or closing a file does not. The real client does the
    same: it listens only to ``Write`` of rjeczalik/notify. The watcher may miss a file in a folder that was created a
    moment before; the next scan carries it.

    Args:
        callbacks: the function for each folder; it gets the path relative to the folder.
        removals: for some of these folders, a function that gets each folder below it that is removed. The calls have
            the order of the events.
    """

    def __init__(
        self,
        callbacks: Mapping[Path, Callable[[str], None]],
        removals: Mapping[Path, Callable[[str], None]] | None = None,
    ) -> None:
        removals = removals or {}
        self._handlers = [_Writes(root, callback, removals.get(root)) for root, callback in callbacks.items()]
        self._observer: BaseObserver | None = None

    def start(self) -> None:
        """Start to watch.

        Raises:
            TransportError: the system has no file watches left, or the folders are too deep.
        """
        from watchdog.events import DirDeletedEvent, FileModifiedEvent
        from watchdog.observers import Observer

        # Watchdog 7 watches a folder twice if it is created together with its parent, and issues a warning. Where
        # warnings are errors, this would end its thread.
        warnings.filterwarnings("ignore", "Callback with id", RuntimeWarning)
        observer = Observer()
        for handler in self._handlers:
            # Without events of moves: watchdog would hold all events back while it waits for the second half of a move.
            kinds = [FileModifiedEvent, DirDeletedEvent] if handler.wants_removals else [FileModifiedEvent]
            observer.schedule(handler, str(handler.root), recursive=True, event_filter=kinds)  # type: ignore[arg-type]
        try:
            observer.start()
        except (OSError, RecursionError) as error:
            with contextlib.suppress(RuntimeError):
                observer.stop()
            # watchdog walks the folders with a recursive function, which very deep ones end.
            reason = os.strerror(error.errno or 0) if isinstance(error, OSError) else "they are too deep"
            raise TransportError(
                f"cannot watch the participants' folders: {reason}",
                hint="Increase fs.inotify.max_user_watches and fs.inotify.max_user_instances with sysctl.",
            ) from error
        self._observer = observer

    def stop(self) -> None:
        observer, self._observer = self._observer, None
        if observer:
            observer.stop()
            observer.join()

    def flush(self, timeout: float, folder: Path | None = None) -> bool:
        """Wait until every earlier write has been reported; return False after ``timeout`` seconds for each folder.

        Args:
            folder: wait only for the events of this folder.
        """
        if self._observer is None:
            return True
        return all(each.flush(timeout) for each in self._handlers if folder in (None, each.root))
