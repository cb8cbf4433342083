"""A private folder with second names of shared files: hard links, or copies where the file system has no links.

A sync service can delete a file from the shared folder. Its bytes stay as long as the second name exists.
"""

import contextlib
import os
import re
import stat as stat_module
from pathlib import Path
from typing import BinaryIO

from syft_flwr import files
from syft_flwr.errors import NotFoundError
from syft_flwr.private_files import make_private_folder
from syft_flwr.transport.base import Transport

#: The name of an unfinished copy, see :func:`syft_flwr.files.keep_file`.
_UNFINISHED = re.compile(r"\..+\.tmp")
_WHAT = "the folder with the second names of objects"


class LinkFolder:
    """The second names in the folder ``root/folders…``, which is made when it is needed. Thread-safe.

    Several processes may use it. A second name is not forced to the disk: after a power cut, the file in the shared
    folder still exists, and gets a second name again.
    """

    def __init__(self, root: Path, *folders: str) -> None:
        self._path = root.joinpath(*folders)
        #: The folders that this class may make and remove, from the innermost to the outermost.
        self._levels = [self._path, *self._path.parents][: len(folders) + 2]

    def add(self, transport: Transport, name: str, leaf: str, *, max_size: int) -> int:
        """Give the shared file ``name`` the second name ``leaf``; return its size in bytes.

        Raises:
            NotFoundError: the shared file does not exist.
            TooLargeError: the shared file has more than ``max_size`` bytes.
            TransportError, StorageError: the second name cannot be made.
        """
        self._make()
        try:
            transport.keep(name, self._path / leaf, max_size=max_size)
        except NotFoundError:
            if self._path.is_dir():
                raise
            # Another process removed the folder while it was empty.
            self._make()
            transport.keep(name, self._path / leaf, max_size=max_size)
        return self.size(leaf) or 0

    def _make(self) -> None:
        if self._path.is_dir():
            return
        try:
            make_private_folder(self._path)
        except OSError as error:
            raise files.translate(error, _WHAT) from error

    def open(self, leaf: str, *, max_size: int) -> BinaryIO:
        """Open a file; raise NotFoundError or TooLargeError like a transport."""
        with files.open_folder(self._path, ()) as folder:
            fd, _ = files.open_in_folder(folder, leaf, max_size=max_size)
        return os.fdopen(fd, "rb")

    def keep(self, leaf: str, target: Path, *, max_size: int) -> None:
        """Link or copy a file to ``target``; raise NotFoundError or TooLargeError like a transport."""
        with files.open_folder(self._path, ()) as folder:
            fd, _ = files.open_in_folder(folder, leaf, max_size=max_size)
            with os.fdopen(fd, "rb") as file:
                files.keep_file(file, folder, leaf, target)

    def size(self, leaf: str) -> int | None:
        """Return the size of a file in bytes; None if it does not exist."""
        try:
            status = os.lstat(self._path / leaf)
        except OSError:
            return None
        return status.st_size if stat_module.S_ISREG(status.st_mode) else None

    def sizes(self) -> dict[str, int]:
        """Return the sizes of all files by second name."""
        found = ((leaf, self.size(leaf)) for leaf in self.leaves() if not leaf.startswith("."))
        return {leaf: size for leaf, size in found if size is not None}

    def leaves(self) -> list[str]:
        """Return the names in the folder, also those of unfinished copies, which begin with a dot."""
        try:
            return [path.name for path in self._path.iterdir()]
        except OSError:
            return []

    def remove(self, leaf: str) -> None:
        """Remove a second name. A name that does not exist is not an error."""
        try:
            (self._path / leaf).unlink(missing_ok=True)
        except OSError as error:
            raise files.translate(error, _WHAT) from error

    def prune(self) -> None:
        """Remove the folder if it has no second name, and then its empty parents."""
        leaves = self.leaves()
        with contextlib.suppress(OSError):
            # A crash can leave an unfinished copy.
            for leaf in leaves if all(map(_UNFINISHED.fullmatch, leaves)) else ():
                (self._path / leaf).unlink()
            for folder in self._levels:
                folder.rmdir()
