"""The files that the SyftBox daemon sets aside under another name: refused ones, and conflict copies.

The daemon renames a refused file to ``<stem>.rejected.<suffix>``, and a file that it met twice to
``<stem>.conflict.<suffix>``. It does not sync either. If that name exists already, the older file gets the time in its name.

A peer decides how many files a folder has. So a refused file is found by its name, and each listing is bounded.
"""

import contextlib
import os
from collections.abc import Sequence
from itertools import islice
from pathlib import Path

from syft_flwr.errors import NotFoundError
from syft_flwr.names import is_conflict_copy, is_of_messages, is_rejected, may_write, unmarked
from syft_flwr.transport._disk import open_folder
from syft_flwr.transport._syftbox.file_writer import exists_in

#: The most subfolders in which one search looks for conflict copies, as many as objects have.
_MOST_SUBFOLDERS = 256
#: The most files of a folder among which one deletion looks for older refused files.
_MOST_LISTED = 10_000
#: The marks of a refused file, of this release of SyftBox and of earlier ones.
_REFUSED_MARKS = ("rejected", "syftrejected")


class SetAside:
    """The files that the daemon of ``email`` set aside below ``root``, the folder of all datasites. Thread-safe."""

    def __init__(self, root: Path, email: str) -> None:
        self._root = root
        self._email = email
        #: The names of files that were found refused.
        self._refused: set[str] = set()

    def is_refused(self, name: str) -> bool:
        """Return whether the daemon refused this file, and remember that."""
        *folders, leaf = name.split("/")
        try:
            with open_folder(self._root, folders) as folder:
                aside = any(exists_in(folder, found) for found in _refused_names(leaf))
        except NotFoundError:
            return False
        if aside:
            self._refused.add(name)
        return aside

    def of_refused(self, folder: int, name: str) -> list[str]:
        """Return the present names of a file, in the open folder, if it was found refused."""
        if name not in self._refused:
            return []
        leaf = name.rpartition("/")[2]
        with os.scandir(folder) as entries:
            found = {entry.name for entry in islice(entries, _MOST_LISTED)}
        older = {aside for aside in found if is_rejected(aside) and unmarked(aside) == leaf}
        return sorted(older.union(_refused_names(leaf)))

    def forget(self, name: str) -> None:
        """Forget that a file was refused."""
        self._refused.discard(name)

    def delete_conflicts(self, folders: Sequence[str], most: int) -> None:
        """Delete the copies in a folder and its subfolders, among at most ``most`` files and folders.

        A refused file of another participant is a copy, too: the daemon took a received file for one of this user.
        """
        looked, inner = self._delete_copies(folders, most)
        for folder_name in inner[:_MOST_SUBFOLDERS]:
            looked += self._delete_copies((*folders, folder_name), most - looked)[0]

    def _delete_copies(self, folders: Sequence[str], most: int) -> tuple[int, list[str]]:
        """Delete the copies in one folder; return how many entries were looked at, and its subfolders."""
        try:
            with open_folder(self._root, folders) as folder:
                with os.scandir(folder) as found:
                    items = list(islice(found, max(0, most)))
                inner = [item.name for item in items if item.is_dir(follow_symlinks=False)]
                for copy in [item.name for item in items if self._is_copy("/".join((*folders, item.name)))]:
                    with contextlib.suppress(FileNotFoundError, IsADirectoryError, PermissionError):
                        os.unlink(copy, dir_fd=folder)
        except NotFoundError:
            return 0, []
        return len(items), inner

    def _is_copy(self, name: str) -> bool:
        # Such a name can also be that of a file of the user.
        if not is_of_messages(unmarked(name).rpartition("/")[2]):
            return False
        return is_conflict_copy(name) or (is_rejected(name) and not may_write(self._email, unmarked(name)))


def _refused_names(leaf: str) -> list[str]:
    """Return the names to which the daemon renames the refused file ``leaf``."""
    stem, dot, suffix = leaf.rpartition(".")
    return [f"{stem}.{mark}{dot}{suffix}" for mark in _REFUSED_MARKS]
