"""Files that appear whole or not at all, below a folder that others may write to.

Every path is walked from a trusted root with ``O_NOFOLLOW``, one component at a time, so a symbolic link that somebody
placed on the way is an error and never followed: reads stay inside the root and so do writes.
"""

import contextlib
import errno
import os
import secrets
import shutil
import stat as stat_module
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

from syft_flwr.errors import NotFoundError, StorageError, StorageFullError, TooLargeError

Buffers = bytes | Iterable[bytes | bytearray | memoryview]

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_ABSENT = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENXIO)
_FULL = (errno.ENOSPC, errno.EDQUOT)
#: Two file systems, one without links, a file of another user's, one with too many names.
_NO_LINK = (errno.EXDEV, errno.EPERM, errno.EACCES, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK)
_COPY_BUFFER = 1 << 20


@contextlib.contextmanager
def open_folder(root: Path, parts: Iterable[str], *, create_mode: int | None = None) -> Iterator[int]:
    """Give a descriptor of the folder ``root/parts…``; with ``create_mode``, make what is missing on the way.

    Raises:
        NotFoundError: a part is missing, a file or a symbolic link.
    """
    fd = -1
    try:
        fd = os.open(root, _FOLDER)
        for part in parts:
            try:
                inner = os.open(part, _FOLDER, dir_fd=fd)
            except FileNotFoundError:
                if create_mode is None:
                    raise
                with contextlib.suppress(FileExistsError):
                    os.mkdir(part, create_mode, dir_fd=fd)
                inner = os.open(part, _FOLDER, dir_fd=fd)
            os.close(fd)
            fd = inner
        yield fd
    except OSError as error:
        raise translate(error, "/".join(parts)) from error
    finally:
        if fd >= 0:
            os.close(fd)


def translate(error: OSError, what: str) -> StorageError:
    """Turn the system's error into ours, without the path of this machine."""
    if error.errno in _ABSENT:
        return NotFoundError(f"{what} is not there")
    if error.errno in _FULL:
        return StorageFullError(f"no room left to write {what}", hint="Free disk space, then start again.")
    return StorageError(f"{what}: {error.strerror or type(error).__name__}")


def write_in_folder(folder: int, name: str, data: Buffers, *, mode: int, staging: int | None = None) -> None:
    """Write ``name`` in ``folder``: temporary name, fsync, rename, then a write event on the final name.

    Sync daemons react to write events only, and a rename is none; truncating to the same size through the handle that
    is still open raises one (inotify's MODIFY) on the name that the file has by then.

    The temporary file lies in ``staging``, a folder of the same file system, or else in ``folder`` itself.
    """
    start = folder if staging is None else staging
    temporary = f".{name}.{secrets.token_hex(6)}.tmp"
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, mode, dir_fd=start)
    try:
        size = 0
        for buffer in (data,) if isinstance(data, bytes) else data:
            view = memoryview(buffer).cast("B")
            while view:
                written = os.write(fd, view)
                view = view[written:]
                size += written
        os.fsync(fd)
        os.rename(temporary, name, src_dir_fd=start, dst_dir_fd=folder)
        os.ftruncate(fd, size)
        os.fsync(folder)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary, dir_fd=start)
        raise
    finally:
        os.close(fd)


def open_in_folder(folder: int, name: str, *, max_size: int) -> tuple[int, int]:
    """Open a regular, non-empty file of at most ``max_size`` bytes; return its descriptor and its size.

    Raises:
        NotFoundError: not there, empty, or not a regular file.
        TooLargeError: larger; nothing was read.
    """
    try:
        # O_NONBLOCK, because opening a pipe that somebody placed here would wait for ever.
        fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
    except OSError as error:
        raise translate(error, name) from error
    try:
        status = os.fstat(fd)
        if not stat_module.S_ISREG(status.st_mode) or status.st_size == 0:
            raise NotFoundError(f"{name} is not a file with content")
        if status.st_size > max_size:
            raise TooLargeError(f"{name} has {status.st_size} bytes; at most {max_size} are accepted")
    except BaseException:
        os.close(fd)
        raise
    return fd, status.st_size


def keep_file(file: BinaryIO, folder: int, name: str, target: Path) -> None:
    """Make ``target`` a second name for an open file called ``name`` in ``folder``, or a copy where that cannot be.

    The bytes of a second name can still be changed by whoever may write to the first: they are to be verified when read.
    """
    target.unlink(missing_ok=True)
    try:
        os.link(name, target, src_dir_fd=folder, follow_symlinks=False)
        if os.path.samestat(os.lstat(target), os.fstat(file.fileno())):
            return
        # Something else took its place since it was opened.
        target.unlink()
    except FileNotFoundError as error:
        raise translate(error, name) from error
    except OSError as error:
        if error.errno not in _NO_LINK:
            raise translate(error, name) from error
    try:
        with open(target, "xb", opener=_private) as copy:
            shutil.copyfileobj(file, copy, _COPY_BUFFER)
    except OSError as error:
        target.unlink(missing_ok=True)
        raise translate(error, name) from error


def _private(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_CLOEXEC, 0o600)


def write_private(path: Path, data: bytes) -> None:
    """Write a file that only this user may read (0600), whole or not at all.

    Raises:
        StorageFullError: there is no room. StorageError: it, or its folder, cannot be made.
    """
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise translate(error, f"the folder of {path.name}") from error
    with open_folder(path.parent, ()) as folder:
        write_in_folder(folder, path.name, data, mode=0o600)


def read_bounded(path: Path, max_size: int) -> bytes:
    """Read a file of ours of at most ``max_size`` bytes.

    Raises:
        NotFoundError: not there. TooLargeError: larger.
    """
    with open_folder(path.parent, ()) as folder:
        fd, _ = open_in_folder(folder, path.name, max_size=max_size)
        with os.fdopen(fd, "rb") as file:
            return file.read(max_size + 1)


def chunks_of(file: BinaryIO) -> Iterator[memoryview]:
    """Read a file to its end in one buffer that is used again, for writing it elsewhere."""
    buffer = memoryview(bytearray(_COPY_BUFFER))
    while size := file.readinto(buffer):  # type: ignore[attr-defined]
        yield buffer[:size]
