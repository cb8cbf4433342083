"""Atomic writes and bounded reads in folders where other programs may write too.

The functions open each path from a trusted root with ``O_NOFOLLOW``, one component at a time. A symbolic link in the
path is an error, so reads and writes stay inside the root.
"""

import contextlib
import errno
import os
import secrets
import stat as stat_module
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

from syft_flwr.disk_errors import FULL, hint_of, no_room
from syft_flwr.errors import NotFoundError, StorageError, TooLargeError
from syft_flwr.private_files import FILE, FOLDER, give_rights, make_private_folder, open_private

Buffers = bytes | Iterable[bytes | bytearray | memoryview]

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_ABSENT = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENXIO)
#: Reasons why a hard link cannot be made: other file system, no support for links, file of another user, too many links.
_NO_LINK = (errno.EXDEV, errno.EPERM, errno.EACCES, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK)
_COPY_BUFFER = 1 << 20


@contextlib.contextmanager
def open_folder(root: Path, parts: Iterable[str], *, create_mode: int | None = None) -> Iterator[int]:
    """Yield a descriptor of the folder ``root/parts…``; with ``create_mode``, create missing folders.

    Raises:
        NotFoundError: a part is missing, or is a file or a symbolic link.
        StorageError: the system reports another error.
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
                if create_mode == FOLDER:
                    give_rights(inner, FOLDER)
            os.close(fd)
            fd = inner
        yield fd
    except OSError as error:
        raise translate(error, "/".join(parts) or root.name) from error
    finally:
        if fd >= 0:
            os.close(fd)


def translate(error: OSError, what: str, *, hint: str = "") -> StorageError:
    """Return an error of this package for an error of the system. Its text shows ``what`` instead of a local path."""
    if error.errno in _ABSENT:
        return NotFoundError(f"{what} is not there")
    if error.errno in FULL:
        return no_room(what)
    return StorageError(f"{what}: {error.strerror or type(error).__name__}", hint=hint or hint_of(error))


def write_in_folder(
    folder: int,
    name: str,
    data: Buffers,
    *,
    mode: int,
    staging: int | None = None,
    release: Callable[[int], bool] | None = None,
    replace: bool = True,
) -> None:
    """Write the file ``name`` in ``folder`` atomically: temporary name, fsync, final name, then a write event.

    Sync clients react to write events only, and a new name does not cause one. So the function truncates the file to its
    own size through an open handle. This causes a write event (MODIFY of inotify) for the final name.

    Args:
        folder: descriptor of the folder.
        name: name of the file, one path component.
        data: the content.
        mode: permissions of the file, less the umask.
        staging: descriptor of a folder of the same file system for the temporary file; by default ``folder``.
        release: called with the size when the bytes are on the disk, before the file gets its name. It may wait. It
            returns whether to cause the write event.
        replace: replace an existing file. Otherwise, a file that exists wins, also one that appeared meanwhile.

    Raises:
        FileExistsError: ``replace`` is False, and something has the name; it stays as it is.
        OSError: the file cannot be written; the temporary file is deleted.
    """
    start = folder if staging is None else staging
    temporary = f".{name}.{secrets.token_hex(6)}.tmp"
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, mode, dir_fd=start)
    try:
        if mode == FILE:
            give_rights(fd, mode)
        size = 0
        for buffer in (data,) if isinstance(data, bytes) else data:
            view = memoryview(buffer).cast("B")
            while view:
                written = os.write(fd, view)
                view = view[written:]
                size += written
        os.fsync(fd)
        announced = release is None or release(size)
        if replace:
            os.rename(temporary, name, src_dir_fd=start, dst_dir_fd=folder)
            if announced:
                os.ftruncate(fd, size)
        else:
            move_to_free(temporary, name, start, folder)
            if announced:
                _announce(folder, name, fd, size)
        os.fsync(folder)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary, dir_fd=start)
        raise
    finally:
        os.close(fd)


def move_to_free(temporary: str, name: str, start: int, folder: int) -> None:
    """Move a file to a name that nothing has.

    Raises:
        FileExistsError: something has the name.
    """
    try:
        os.link(temporary, name, src_dir_fd=start, dst_dir_fd=folder, follow_symlinks=False)
    except OSError as error:
        if error.errno not in _NO_LINK:
            raise
        _take_place(temporary, name, start, folder)
        return
    with contextlib.suppress(FileNotFoundError):
        os.unlink(temporary, dir_fd=start)


def _take_place(temporary: str, name: str, start: int, folder: int) -> None:
    """Move a file to a free name where the file system has no hard links: an empty file has the name for a moment."""
    os.close(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, FILE, dir_fd=folder))
    try:
        os.rename(temporary, name, src_dir_fd=start, dst_dir_fd=folder)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name, dir_fd=folder)
        raise


def _announce(folder: int, name: str, fd: int, size: int) -> None:
    """Cause a write event for the name of the open file ``fd``: an event is for the name by which a handle was opened."""
    try:
        again = os.open(name, os.O_WRONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
    except OSError as error:
        if error.errno in _ABSENT:
            # Another program has deleted or replaced it meanwhile.
            return
        raise
    try:
        if os.path.samestat(os.fstat(again), os.fstat(fd)):
            os.ftruncate(again, size)
    finally:
        os.close(again)


def open_in_folder(folder: int, name: str, *, max_size: int) -> tuple[int, int]:
    """Open a regular, non-empty file of at most ``max_size`` bytes; return its descriptor and its size.

    Raises:
        NotFoundError: the file does not exist, is empty, or is not a regular file.
        TooLargeError: the file is larger; nothing was read.
    """
    try:
        # Without O_NONBLOCK, open() of a named pipe would wait until another program writes to it.
        fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
    except OSError as error:
        raise translate(error, name) from error
    try:
        status = os.fstat(fd)
        if not stat_module.S_ISREG(status.st_mode) or status.st_size == 0:
            raise NotFoundError(f"{name} is empty, or not a regular file")
        if status.st_size > max_size:
            raise TooLargeError(f"{name} has {status.st_size} bytes; at most {max_size} are accepted")
    except BaseException:
        os.close(fd)
        raise
    return fd, status.st_size


def keep_file(file: BinaryIO, folder: int, name: str, target: Path) -> None:
    """Make ``target`` a hard link to the open file ``name`` in ``folder``, or a copy if a link is not possible.

    A program that may write to the first name can still change the bytes of the link. Readers must verify them.

    Raises:
        NotFoundError: the file ``name`` was deleted.
        StorageError: the link or copy cannot be written.
    """
    # An existing file ``target`` stays until the new one is complete, also after a crash.
    unfinished = target.with_name(f".{target.name}.tmp")
    try:
        unfinished.unlink(missing_ok=True)
        if not _link(file, folder, name, unfinished):
            with open(unfinished, "xb", opener=open_private) as copy:
                _copy(file, copy)
        unfinished.replace(target)
    except OSError as error:
        raise translate(error, name) from error
    finally:
        # It still exists after an error, and if both names were links to the same file already.
        with contextlib.suppress(OSError):
            unfinished.unlink()


def _link(file: BinaryIO, folder: int, name: str, target: Path) -> bool:
    """Make ``target`` a hard link to the open file ``name``; return False if only a copy is possible."""
    try:
        os.link(name, target, src_dir_fd=folder, follow_symlinks=False)
    except OSError as error:
        if error.errno in _NO_LINK:
            return False
        raise
    if os.path.samestat(os.lstat(target), os.fstat(file.fileno())):
        return True
    # Another file got this name after ``file`` was opened.
    target.unlink()
    return False


def _copy(file: BinaryIO, copy: BinaryIO) -> None:
    """Copy a file up to its present size: another program may append to it without end."""
    remaining = os.fstat(file.fileno()).st_size
    while remaining and (chunk := file.read(min(remaining, _COPY_BUFFER))):
        copy.write(chunk)
        remaining -= len(chunk)


def no_link(path: str, flags: int) -> int:
    """Open a file for the argument ``opener`` of ``open``, but not the target of a symbolic link."""
    return os.open(path, flags | os.O_CLOEXEC | os.O_NOFOLLOW, 0o666)


def write_private(path: Path, data: bytes, *, replace: bool = True) -> bool:
    """Write a file that only this user may read (mode 0600), atomically; create its folder (0700) if it is missing.

    Returns False if ``replace`` is False and something has the name; it stays as it is.

    Raises:
        StorageFullError: the disk is full.
        StorageError: the file or its folder cannot be created.
    """
    try:
        make_private_folder(path.parent)
    except OSError as error:
        raise translate(error, f"the folder of {path.name}") from error
    with open_folder(path.parent, ()) as folder:
        try:
            write_in_folder(folder, path.name, data, mode=FILE, replace=replace)
        except FileExistsError:
            return False
        except OSError as error:
            raise translate(error, path.name) from error
    return True


def read_bounded(path: Path, max_size: int) -> bytes:
    """Return the content of a local file of at most ``max_size`` bytes.

    Raises:
        NotFoundError: the file does not exist, or is empty.
        TooLargeError: the file is larger.
    """
    with open_folder(path.parent, ()) as folder:
        fd, _ = open_in_folder(folder, path.name, max_size=max_size)
        with os.fdopen(fd, "rb") as file:
            return file.read(max_size + 1)


def chunks_of(file: BinaryIO) -> Iterator[memoryview]:
    """Yield the content of a file in chunks. Each chunk is valid until the next one: all use the same buffer."""
    buffer = memoryview(bytearray(_COPY_BUFFER))
    while size := file.readinto(buffer):  # type: ignore[attr-defined]
        yield buffer[:size]
