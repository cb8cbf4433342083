"""Creates folders and files that only this user may use, whatever the umask of the process is."""

import contextlib
import errno
import os
import stat
from pathlib import Path

#: The rights of a private folder and of a private file.
FOLDER, FILE = 0o700, 0o600


def make_private_folder(path: Path) -> None:
    """Create a folder and its missing parents, each with mode 0700. An existing folder keeps its mode.

    Raises:
        OSError: a folder cannot be created, or a file has its place.
    """
    missing = []
    for folder in (path, *path.parents):
        if folder.is_dir():
            break
        missing.append(folder)
    for folder in reversed(missing):
        try:
            folder.mkdir(mode=FOLDER)
        except FileExistsError as error:
            # Another process may have made it since.
            if folder.is_dir():
                continue
            with contextlib.suppress(FileNotFoundError):
                # The error of a link that leads to itself says more.
                folder.stat()
            if folder != path:
                raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(folder)) from error
            raise
        with contextlib.suppress(PermissionError):
            folder.chmod(FOLDER)


def open_private(path: str | os.PathLike[str], flags: int) -> int:
    """Open a file, which gets mode 0600 if it is new; also for the argument ``opener`` of ``open``."""
    fd = os.open(path, flags | os.O_CLOEXEC, FILE)
    try:
        give_rights(fd, FILE)
    except BaseException:
        os.close(fd)
        raise
    return fd


def give_rights(fd: int, mode: int) -> None:
    """Give this user the rights of ``mode`` to an open, new file or folder, if the umask took some of them."""
    status = os.fstat(fd)
    is_new = status.st_size == 0 or not stat.S_ISREG(status.st_mode)
    if is_new and status.st_mode & mode != mode:
        # A file system without permissions, where the check of the home says so.
        with contextlib.suppress(PermissionError):
            os.fchmod(fd, mode)
