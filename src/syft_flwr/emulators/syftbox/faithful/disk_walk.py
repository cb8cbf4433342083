"""The walk over a client's disk, which ends with an error when a file vanishes (``sync_local_state.go``)."""

import hashlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path


class WalkAbandonedError(Exception):
    """A file or folder vanished in the walk, or cannot be read."""


@dataclass(frozen=True, slots=True)
class LocalFile:
    """A file as the walk saw it.

    Attributes:
        etag: SHA-256 of the content, in hex.
        size: length in bytes.
        modified: time of the last change, in nanoseconds.
    """

    etag: str
    size: int
    modified: int


class DiskWalk:
    """Lists all files below a folder. It hashes a file only if size or time of change differ from the last walk."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._last: dict[str, LocalFile] = {}

    def run(self, before: Callable[[str], None]) -> dict[str, LocalFile]:
        """Return all files by name.

        Args:
            before: called with each name after its folder was listed, and before the file is looked at.

        Raises:
            WalkAbandonedError: a file or folder vanished.
        """
        try:
            found = {name: self._look(name, path) for name, path in self._files(before)}
        except OSError as error:
            raise WalkAbandonedError(os.strerror(error.errno or 0)) from error
        self._last = found
        return found

    def _files(self, before: Callable[[str], None]) -> Iterator[tuple[str, Path]]:
        # Without recursion: a folder can be deeper than Python's stack.
        open_folders = [_items(self._root, "")]
        while open_folders:
            for name, item in open_folders[-1]:
                if item.is_dir(follow_symlinks=False):
                    open_folders.append(_items(Path(item.path), f"{name}/"))
                    break
                if item.is_file(follow_symlinks=False):
                    before(name)
                    yield name, Path(item.path)
            else:
                open_folders.pop()

    def _look(self, name: str, path: Path) -> LocalFile:
        status = path.lstat()
        last = self._last.get(name)
        if last and (last.size, last.modified) == (status.st_size, status.st_mtime_ns):
            return last
        return LocalFile(hash_file(path), status.st_size, status.st_mtime_ns)


def _items(folder: Path, prefix: str) -> Iterator[tuple[str, os.DirEntry[str]]]:
    """Return the entries of a folder in the order of their names, with their names below the root."""
    with os.scandir(folder) as listed:
        return iter([(prefix + item.name, item) for item in sorted(listed, key=lambda item: item.name)])


def hash_file(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
