"""A folder tree that is kept in step: reads, writes and walks below one root that never follow a symbolic link."""

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
# A change within one tick of the file system's clock leaves the time stamp as it was; 20 ms is two coarse ticks.
_TICK_NS = 20_000_000


class Signature(NamedTuple):
    """What tells, without reading it, that a file is the one seen before."""

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
        """Say whether a later change is sure to show; if not, only reading the file tells."""
        return time.time_ns() - self.modified > _TICK_NS


class Staged:
    """A file on its way in: written under a temporary name, seen only once it is :meth:`commit`-ted."""

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
        """Move the file to its name, over what is there. Not synced to disk: a stand-in promises no durability."""
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
    """The files below ``root``, named by their path from it.

    Args:
        root: the folder, which exists.
        staging: where files are written before they are moved into place; None is the folder where they will lie.

    Every method raises :class:`~syft_flwr.errors.TransportError` for what the file system does not allow, and
    :class:`~syft_flwr.errors.NotFoundError` for a name that is missing, empty, no regular file, or behind a link.
    """

    def __init__(self, root: Path, staging: Path | None = None) -> None:
        self.root = root.resolve()
        self._staging = staging

    def walk(self) -> Iterator[tuple[str, Signature]]:
        """Iterate over the regular files that may be carried by name; links and ignored folders are passed over."""
        with open_folder(self.root, ()) as folder:
            yield from self._walk(folder, "", 0)

    def _walk(self, folder: int, prefix: str, depth: int) -> Iterator[tuple[str, Signature]]:
        with os.scandir(folder) as found:
            items = list(found)
        for item in items:
            # The whole path need not be tested: an ignored folder is not entered.
            is_folder = item.is_dir(follow_symlinks=False)
            if is_ignored_segment(item.name, folder=is_folder) or not _is_text(item.name):
                continue
            # What goes while we look, or may not be entered, is as if it were not there.
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
        """Return what is at ``name``, a file or anything else; None if nothing is."""
        *folders, leaf = name.split("/")
        try:
            with open_folder(self.root, folders) as folder:
                return Signature.of(os.stat(leaf, dir_fd=folder, follow_symlinks=False))
        except NotFoundError:
            return None

    def open(self, name: str) -> BinaryIO:
        """Open a non-empty file to read it in pieces."""
        return self._open(name, _UNLIMITED)

    def read(self, name: str, limit: int) -> tuple[bytes, Signature]:
        """Read what lies there now, be it half-written.

        Raises:
            TooLargeError: it has more than ``limit`` bytes.
        """
        with self._open(name, limit) as file:
            signature = Signature.of_file(file)
            data = file.read(limit + 1)
        if not data:
            raise NotFoundError(f"{name} is empty")
        if len(data) > limit:
            raise TooLargeError(f"{name} grew over {limit} bytes")
        return data, signature

    def _open(self, name: str, limit: int) -> BinaryIO:
        *folders, leaf = name.split("/")
        with open_folder(self.root, folders) as folder:
            fd, _ = open_in_folder(folder, leaf, max_size=limit)
        return os.fdopen(fd, "rb")

    @contextlib.contextmanager
    def stage(self, name: str) -> Iterator[Staged]:
        """Write a file that appears whole or, without ``commit``, not at all."""
        *folders, leaf = name.split("/")
        # sync_utils.go, writeFileWithIntegrityCheck: older releases stage beside the file, newer ones in one folder.
        root, parts = (self.root, folders) if self._staging is None else (self._staging, ())
        with open_folder(root, parts, create_mode=_FOLDER_MODE) as folder:
            staged = Staged(self, name, folder, f"{leaf}.syft.tmp.{secrets.token_hex(5)}")
            try:
                yield staged
            finally:
                staged.close()

    def rename(self, name: str, new: str) -> None:
        """Give a file another name in the same folder."""
        *folders, leaf = name.split("/")
        with open_folder(self.root, folders) as folder:
            os.rename(leaf, new.rpartition("/")[2], src_dir_fd=folder, dst_dir_fd=folder)

    def remove(self, name: str, *, prune: bool) -> None:
        """Remove a file if it is there and, with ``prune``, the folders above it that are empty then."""
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
                        # Not empty: somebody else's files keep it.
                        return


def chunks(file: IO[bytes], size: int) -> Iterator[bytes]:
    """Read at most ``size`` bytes in pieces: a file that grows while it is read is not followed for ever."""
    while size > 0 and (chunk := file.read(min(_CHUNK, size))):
        size -= len(chunk)
        yield chunk


def _is_text(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True
