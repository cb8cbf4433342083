"""File access below one folder that never follows a symbolic link."""

import contextlib
import os
import secrets
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, BinaryIO, NamedTuple

from syft_flwr.emulators.syftbox.sync_names import is_ignored_segment
from syft_flwr.errors import NotFoundError, TooLargeError
from syft_flwr.transport._disk import open_folder, open_in_folder

_CHUNK = 1 << 20
_MAX_DEPTH = 64
_UNLIMITED = 1 << 62
_FOLDER_MODE = 0o755
_FILE_MODE = 0o644
_OPEN_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
# Two changes within one tick of the file system's clock get the same time stamp. 20 ms are two coarse ticks.
_TICK_NS = 20_000_000


class Signature(NamedTuple):
    """Size, modification time in nanoseconds, and inode of a file: equal values mean an unchanged file.

    This holds only for a settled signature; see :meth:`is_settled`.
    """

    size: int
    modified: int
    inode: int

    @classmethod
    def of(cls, status: os.stat_result) -> "Signature":
        return cls(status.st_size, status.st_mtime_ns, status.st_ino)

    @classmethod
    def of_file(cls, file: IO[bytes]) -> "Signature":
        return cls.of(os.fstat(file.fileno()))

    def is_settled(self) -> bool:
        """Return whether any later change of the file changes its signature too.

        If False, the file was changed so recently that its time stamp may stay equal.
        """
        return time.time_ns() - self.modified > _TICK_NS


class Staged:
    """A file under a temporary name that gets its real name with :meth:`commit`."""

    def __init__(self, tree: "Tree", name: str, folder: int, temporary: str) -> None:
        self._tree = tree
        self._name = name
        self._folder = folder
        self._temporary = temporary
        self._file = os.fdopen(os.open(temporary, _CREATE, _FILE_MODE, dir_fd=folder), "wb")
        self.committed = False

    def write_all(self, content: Iterable[bytes]) -> None:
        for chunk in content:
            self._file.write(chunk)

    def commit(self) -> Signature:
        """Move the file to its name, and return its signature. An existing file is replaced.

        The file is not synced to disk, because an emulator promises no durability.
        """
        *folders, leaf = self._name.split("/")
        self._file.flush()
        signature = Signature.of_file(self._file)
        self._file.close()
        with open_folder(self._tree.root, folders, create_mode=_FOLDER_MODE) as target:
            os.rename(self._temporary, leaf, src_dir_fd=self._folder, dst_dir_fd=target)
        self.committed = True
        return signature

    def close(self) -> None:
        self._file.close()
        if not self.committed:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self._temporary, dir_fd=self._folder)


class Tree:
    """The files below the folder ``root``, named by their relative path.

    Args:
        root: an existing folder.
        staging: folder for files that are being written; None writes them in their target folder.

    Every method raises :class:`~syft_flwr.errors.TransportError` if the file system refuses the call. It raises
    :class:`~syft_flwr.errors.NotFoundError` if the file is missing, empty, not a regular file, or behind a link.
    """

    def __init__(self, root: Path, staging: Path | None = None) -> None:
        self.root = root.resolve()
        self._staging = staging

    def walk(self) -> Iterator[tuple[str, Signature]]:
        """Yield name and signature of each regular file; skip links and ignored names."""
        with open_folder(self.root, ()) as folder:
            yield from self._walk(folder, "", 0)

    def _walk(self, folder: int, prefix: str, depth: int) -> Iterator[tuple[str, Signature]]:
        with os.scandir(folder) as found:
            items = list(found)
        for item in items:
            # Testing the last segment is enough: ignored folders are never entered.
            is_folder = item.is_dir(follow_symlinks=False)
            if is_ignored_segment(item.name, folder=is_folder) or not _is_text(item.name):
                continue
            # Files that disappear during the walk and folders that may not be entered are skipped.
            with contextlib.suppress(FileNotFoundError, PermissionError, NotADirectoryError):
                if item.is_file(follow_symlinks=False):
                    yield prefix + item.name, Signature.of(item.stat(follow_symlinks=False))
                elif is_folder and depth < _MAX_DEPTH:
                    inner = os.open(item.name, _OPEN_FOLDER, dir_fd=folder)
                    try:
                        yield from self._walk(inner, f"{prefix}{item.name}/", depth + 1)
                    finally:
                        os.close(inner)

    def stat(self, name: str) -> Signature | None:
        """Return the signature of the file, folder or link at ``name``, or None if it is missing."""
        *folders, leaf = name.split("/")
        try:
            with open_folder(self.root, folders) as folder:
                return Signature.of(os.stat(leaf, dir_fd=folder, follow_symlinks=False))
        except NotFoundError:
            return None

    def open(self, name: str) -> BinaryIO:
        """Open a file for reading in pieces."""
        return self._open(name, _UNLIMITED)

    def read(self, name: str, limit: int) -> tuple[bytes, Signature]:
        """Return the present content of a file, even if it is half-written, and its signature.

        Raises:
            NotFoundError: the file is empty.
            TooLargeError: the file has more than ``limit`` bytes.
        """
        with self._open(name, limit) as file:
            signature = Signature.of_file(file)
            data = file.read(limit + 1)
        if not data:
            raise NotFoundError(f"{name} is empty")
        if len(data) > limit:
            raise TooLargeError(f"{name} has more than {limit} bytes")
        return data, signature

    def _open(self, name: str, limit: int) -> BinaryIO:
        *folders, leaf = name.split("/")
        with open_folder(self.root, folders) as folder:
            fd, _ = open_in_folder(folder, leaf, max_size=limit)
        return os.fdopen(fd, "rb")

    @contextlib.contextmanager
    def stage(self, name: str) -> Iterator[Staged]:
        """Yield a file to write, which appears under its name only with :meth:`Staged.commit`."""
        *folders, leaf = name.split("/")
        # writeFileWithIntegrityCheck in sync_utils.go: older releases write beside the file, newer ones in one folder.
        root, parts = (self.root, folders) if self._staging is None else (self._staging, [])
        with self._staged(name, root, parts, f"{leaf}.syft.tmp.{secrets.token_hex(5)}") as staged:
            yield staged

    @contextlib.contextmanager
    def stage_beside(self, name: str) -> Iterator[Staged]:
        """Yield a file to write, which is beside its place under ``<name>.tmp.<digits>`` (``copyLocal``)."""
        *folders, leaf = name.split("/")
        with self._staged(name, self.root, folders, f"{leaf}.tmp.{secrets.randbelow(10**9)}") as staged:
            yield staged

    @contextlib.contextmanager
    def _staged(self, name: str, root: Path, parts: list[str], temporary: str) -> Iterator[Staged]:
        with open_folder(root, parts, create_mode=_FOLDER_MODE) as folder:
            staged = Staged(self, name, folder, temporary)
            try:
                yield staged
            finally:
                staged.close()

    def rename(self, name: str, new: str) -> None:
        """Rename a file within its folder."""
        *folders, leaf = name.split("/")
        with open_folder(self.root, folders) as folder:
            os.rename(leaf, new.rpartition("/")[2], src_dir_fd=folder, dst_dir_fd=folder)

    def remove(self, name: str, *, prune: bool) -> None:
        """Delete a file if it exists.

        Args:
            name: path of the file.
            prune: also delete the parent folders that become empty.
        """
        *folders, leaf = name.split("/")
        with contextlib.suppress(NotFoundError):
            with open_folder(self.root, folders) as folder:
                os.unlink(leaf, dir_fd=folder)
            while prune and folders:
                *folders, last = folders
                with open_folder(self.root, folders) as folder:
                    try:
                        os.rmdir(last, dir_fd=folder)
                    except FileNotFoundError:
                        continue
                    except OSError:
                        # The folder still has other files.
                        return


def chunks(file: IO[bytes], size: int) -> Iterator[bytes]:
    """Yield at most ``size`` bytes in pieces, so that reading a growing file ends."""
    while size > 0 and (chunk := file.read(min(_CHUNK, size))):
        size -= len(chunk)
        yield chunk


def _is_text(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True
