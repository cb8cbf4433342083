"""The folders that one start of a client watches (rjeczalik/notify, which ``file_watcher.go`` uses).

The client keeps an entry for each folder that it has watched, also when the folder is removed. A folder that is made
again under such a name gets no watch, and no folder below it gets one. So no file there is pushed until the client
starts again; the cycles carry them. A folder with a new name gets a watch.
"""


class WatchedFolders:
    """Remembers the removed folders of one start of a client. Only the thread of the write watcher uses it."""

    def __init__(self) -> None:
        self._removed: set[str] = set()

    def remove(self, folder: str) -> None:
        """Record that a folder was removed: its name never gets a watch again."""
        self._removed.add(folder)

    def reports(self, name: str) -> bool:
        """Return whether the client gets an event for a write to this file."""
        folder = name.rpartition("/")[0]
        while folder:
            if folder in self._removed:
                return False
            folder = folder.rpartition("/")[0]
        return True
