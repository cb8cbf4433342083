"""Turns an error of the operating system into an error with two lines: what and where, then what to do.

Modules that know the meaning of a file name it themselves. At the edges of the package, :func:`told` catches the other
errors, so that a person never reads a traceback because of a folder.
"""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager

from syft_flwr.errors import StorageError, StorageFullError

#: No room is left on a disk.
FULL = (errno.ENOSPC, errno.EDQUOT)
#: The numbers with which a file system without locks refuses one.
NO_LOCKS = (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOSYS)

#: The hint of all other errors.
_CHECK_THE_FILE = "Check the permissions of the file, and its disk."
_GIVE_ACCESS = "Give this user access to it, or choose another folder."
FREE_SPACE = "Free disk space, then start again."
_NO_FOLDER = "A file or a broken link is in the place of a folder. Move it away, or choose another folder."
_HINTS = {
    errno.EACCES: _GIVE_ACCESS,
    errno.EPERM: _GIVE_ACCESS,
    errno.EROFS: "Its file system is mounted read-only. Mount it for writing, or choose another folder.",
    errno.EEXIST: _NO_FOLDER,
    errno.ENOTDIR: _NO_FOLDER,
    errno.ESPIPE: "A pipe or a device is in the place of the file. Move it away.",
    errno.EISDIR: "A folder is in the place of the file. Move it away.",
    errno.ENOENT: "Create it, or correct the path. If it is a link, create the folder to which the link leads.",
    errno.ELOOP: "A symbolic link leads back to itself, or is not allowed there. Put a folder in its place.",
    errno.ENAMETOOLONG: "Choose a shorter path.",
    errno.EMFILE: "This process has too many open files. Raise the limit: ulimit -n 4096",
    errno.ENFILE: "This machine has too many open files. Close other programs.",
    errno.EIO: "The disk or the network share fails. Check it, or choose another folder.",
    errno.ESTALE: "The network share was replaced. Mount it again.",
    **dict.fromkeys(NO_LOCKS, "Its file system cannot do this. Choose a folder on a disk of this machine."),
    **dict.fromkeys(FULL, FREE_SPACE),
}


def hint_of(error: OSError) -> str:
    """Return the next step of a person after an error of the system."""
    return _HINTS.get(error.errno or 0, _CHECK_THE_FILE)


def no_room(what: str) -> StorageFullError:
    """Return the error for a disk that has no room for ``what``, a file or a folder."""
    return StorageFullError(f"no room left to write {what}", hint=FREE_SPACE)


def unusable(error: OSError) -> StorageError:
    """Return an error of this package that names the path in an error of the system."""
    path = error.filename2 or error.filename
    place = os.fsdecode(path) if isinstance(path, str | bytes) else "a file of this process"
    reason = error.strerror or type(error).__name__
    if error.errno in FULL:
        return no_room(place)
    return StorageError(f"{place} cannot be used: {reason}", hint=hint_of(error))


@contextmanager
def told() -> Iterator[None]:
    """Raise a :class:`StorageError` in place of an error of the disk. It also decorates a function.

    Errors of connections and of closed pipes are others, and pass.
    """
    try:
        yield
    except (ConnectionError, TimeoutError):
        raise
    except OSError as error:
        if error.errno is None:
            raise
        raise unusable(error) from error
