"""Observes a whole tree with watchdog, on systems that report the changes of a tree without a watch for each folder."""

from collections.abc import Callable, Collection
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from watchdog.events import FileSystemEvent


class ObservedTree:
    """The files below ``root``.

    Args:
        root: the path of the tree, without a slash at its end.
        on_file: called in a thread of watchdog with the name of a file, and whether it appeared.

    Raises:
        OSError: the root cannot be observed.
    """

    falls_short = False

    def __init__(self, root: str, on_file: Callable[[str, bool], None]) -> None:
        from watchdog.events import FileClosedEvent, FileCreatedEvent, FileDeletedEvent, FileMovedEvent
        from watchdog.observers import Observer

        self._prefix = f"{root}/"
        self._on_file = on_file
        self._appearances = (FileCreatedEvent, FileClosedEvent)
        self._observer = Observer()
        events: list[type[FileSystemEvent]] = [FileCreatedEvent, FileMovedEvent, FileClosedEvent, FileDeletedEvent]
        try:
            self._observer.schedule(self, root, recursive=True, event_filter=events)  # type: ignore[arg-type]
            self._observer.start()
        except OSError:
            # The observer started its reader when it was created.
            self._observer.stop()
            raise

    def await_below(self, prefixes: Collection[str]) -> None:
        """Do nothing: all files are observed."""

    def dispatch(self, event: "FileSystemEvent") -> None:
        """Report the files of an event; watchdog calls this method, as this object is its handler."""
        for path in (event.dest_path, event.src_path):
            text = path.decode(errors="replace") if isinstance(path, bytes) else path
            if text.startswith(self._prefix):
                self._on_file(text.removeprefix(self._prefix), isinstance(event, self._appearances))

    def close(self) -> None:
        self._observer.stop()
        self._observer.join()
