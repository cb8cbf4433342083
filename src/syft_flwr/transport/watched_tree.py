"""Watches those folders of a tree that can contain awaited files, and reports each file that appears or goes there.

Other participants decide how many folders the tree has, and how deep. So only the folders of awaited prefixes and their
parents are watched, and each prefix has a budget of its own: a flood of folders costs the other prefixes no event. The
files in folders beyond the budget are found by the scans.
"""

import contextlib
import errno
import os
import threading
import traceback
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from itertools import accumulate, islice, pairwise

from syft_flwr.log import logger
from syft_flwr.transport import inotify
from syft_flwr.transport.inotify import Inotify, KernelEvent

#: The most folders of one prefix. An app has 256 of objects, and one for each sender in an inbox.
_MOST_FOLDERS = 1_024
#: The most entries of one prefix that a walk looks at.
_MOST_ENTRIES = 20_000
#: The most folders below each other, as in a listing.
_MAX_DEPTH = 16
#: The system has no watch left. Other errors concern one folder, which was deleted or replaced.
_NO_WATCH = (errno.ENOSPC, errno.ENOMEM)
_NO_FOLDER = (errno.ENOENT, errno.ENOTDIR)
#: In place of a prefix, for the parents of awaited folders. No folder has this name.
_WAY = "/"
_APPEARED = inotify.CREATE | inotify.WRITTEN | inotify.MOVED_TO


class WatchedTree:
    """The watched folders below ``root``. Thread-safe.

    Args:
        root: the path of the tree, without a slash at its end.
        on_file: called in the thread of this class with the name of a file, and whether it appeared.
        on_gap: called in the same thread after events were lost.

    Raises:
        OSError: the root cannot be watched.
    """

    def __init__(self, root: str, on_file: Callable[[str, bool], None], on_gap: Callable[[], None]) -> None:
        self._root = root
        self._on_file = on_file
        self._on_gap = on_gap
        self._lock = threading.RLock()
        #: The awaited prefixes of folders, and for each of their parents the subfolders that lead to them.
        self._prefixes: set[str] = set()
        self._ways: dict[str, set[str]] = {}
        #: The name of each watched folder by descriptor, and its descriptor and prefix by name. Names end in a slash.
        self._names: dict[int, str] = {}
        self._folders: dict[str, tuple[int, str]] = {}
        self._spent: Counter[str] = Counter()
        #: Prefixes that were told to have too many folders.
        self._told: set[str] = set()
        #: Whether a folder within the budgets has no watch, the root was lost, or the thread has ended.
        self.falls_short = False
        self._inotify = Inotify()
        try:
            self._watch("", _WAY)
        except OSError:
            self._inotify.close()
            raise
        self._thread = threading.Thread(target=self._run, name="folder-events", daemon=True)
        self._thread.start()

    def await_below(self, prefixes: Collection[str]) -> None:
        """Watch the folders with names that begin with these prefixes, too, also if they do not exist yet."""
        with self._lock:
            for prefix in prefixes:
                *above, folder = ["", *_with_parents(prefix[: prefix.rfind("/") + 1])]
                self._prefixes.add(folder)
                for parent, child in pairwise([*above, folder]):
                    self._ways.setdefault(parent, set()).add(child)
            self._walk("", report=False)

    def close(self) -> None:
        """End the thread and all watches."""
        self._inotify.stop()
        self._thread.join()
        self._inotify.close()

    def _run(self) -> None:
        try:
            while (events := self._inotify.read()) is not None:
                for event in events:
                    self._handle(event)
        except Exception:  # noqa: BLE001 - the outermost loop of this thread
            # Not logger.exception: loguru can print the values of variables.
            text = "the thread {} met an error and ends; the files are polled instead; report this as a bug\n{}"
            logger.error(text, self._thread.name, traceback.format_exc())
            self.falls_short = True
            self._on_gap()

    def _handle(self, event: KernelEvent) -> None:
        if event.mask & inotify.OVERFLOW:
            with self._lock:
                # The deletion of a folder may be among the lost events.
                self._names.clear()
                self._folders.clear()
                self._spent.clear()
                self._walk("", report=False)
            self._on_gap()
            return
        with self._lock:
            folder = self._names.get(event.watch)
            if folder is None:
                return
            if event.mask & inotify.IGNORED:
                self._drop(folder)
                if not folder:
                    self._lose_root("it was deleted or unmounted")
            elif event.mask & inotify.IS_FOLDER:
                self._handle_folder(f"{folder}{event.name}/", event.mask)
        if event.name and not event.mask & inotify.IS_FOLDER:
            self._on_file(folder + event.name, bool(event.mask & _APPEARED))

    def _handle_folder(self, name: str, mask: int) -> None:
        if mask & (inotify.CREATE | inotify.MOVED_TO):
            self._walk(name, report=True)
        elif mask & inotify.MOVED_FROM:
            # The kernel still watches a moved folder, and reports its files under its old name.
            for moved in [found for found in self._folders if found.startswith(name)]:
                self._inotify.remove(self._folders[moved][0])
                self._drop(moved)

    def _walk(self, start: str, *, report: bool) -> None:
        """Watch a folder and its subfolders; ``report`` their files, which can be older than the watch."""
        waiting = [start]
        left = Counter(dict.fromkeys(self._prefixes, _MOST_ENTRIES))
        while waiting:
            folder = waiting.pop()
            prefix = self._prefix_of(folder)
            if prefix is None or not self._try_to_watch(folder, prefix):
                continue
            if prefix == _WAY:
                # The other subfolders of a parent are not even listed.
                waiting += self._ways.get(folder, ())
                continue
            for entry in self._entries(folder, left[prefix]):
                left[prefix] -= 1
                with contextlib.suppress(OSError):
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append(f"{folder}{entry.name}/")
                    elif report:
                        self._on_file(folder + entry.name, True)

    def _prefix_of(self, folder: str) -> str | None:
        """Return the longest prefix of a folder; ``_WAY`` for a parent of an awaited folder; None for any other folder."""
        for prefix in reversed(["", *_with_parents(folder)]):
            if prefix in self._prefixes:
                return prefix if folder.count("/") - prefix.count("/") <= _MAX_DEPTH else None
        return _WAY if folder in self._ways or not folder else None

    def _entries(self, folder: str, most: int) -> Iterator[os.DirEntry[str]]:
        with contextlib.suppress(OSError), os.scandir(self._path(folder)) as entries:
            yield from islice(entries, max(0, most))

    def _try_to_watch(self, folder: str, prefix: str) -> bool:
        if prefix != _WAY and folder not in self._folders and self._spent[prefix] >= _MOST_FOLDERS:
            if prefix not in self._told:
                self._told.add(prefix)
                logger.debug("{} has more than {} folders; the scans find the files of the rest", prefix, _MOST_FOLDERS)
            return False
        try:
            self._watch(folder, prefix)
        except OSError as error:
            if error.errno in _NO_WATCH and not self.falls_short:
                self.falls_short = True
                text = "cannot watch all folders in {} ({}); polling instead. Raise fs.inotify.max_user_watches to get change events"
                logger.warning(text, self._root, error.strerror)
            elif not folder and error.errno in _NO_FOLDER:
                self._lose_root(error.strerror)
            return False
        return True

    def _lose_root(self, why: str | None) -> None:
        """Let the files be polled from now on: a new folder in the place of the root has no watch."""
        if not self.falls_short:
            self.falls_short = True
            logger.warning("{} is watched no longer ({}); polling instead until the next start", self._root, why)

    def _watch(self, folder: str, prefix: str) -> None:
        watch = self._inotify.add(self._path(folder))
        self._drop(folder)
        if (moved := self._names.get(watch)) is not None:
            self._drop(moved)
        self._names[watch], self._folders[folder] = folder, (watch, prefix)
        self._spent[prefix] += 1

    def _path(self, folder: str) -> str:
        # With a slash at its end, a path leads through a link.
        return f"{self._root}/{folder}".rstrip("/")

    def _drop(self, folder: str) -> None:
        if folder in self._folders:
            watch, prefix = self._folders.pop(folder)
            self._names.pop(watch, None)
            self._spent[prefix] -= 1


def _with_parents(folder: str) -> list[str]:
    """Return the names of the parents of a folder and its own name, the shortest first. Names end in a slash."""
    return list(accumulate(part + "/" for part in folder.split("/")[:-1]))
