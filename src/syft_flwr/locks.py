"""Locks between processes. The kernel releases a lock when the process that holds it ends, even after a kill.

A lock belongs to an open file or folder. Closing the descriptor releases it, unless a forked child has a copy of it. So each
owner of a lock gives it up in children: see :mod:`~syft_flwr.forks`.
"""

import contextlib
import fcntl
import os
import time
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Self

from syft_flwr.disk_errors import NO_LOCKS
from syft_flwr.errors import HOME_HINT, StoreError
from syft_flwr.forks import close_in_children, close_now, without_fork
from syft_flwr.lock_table import is_in_table, process_namespace
from syft_flwr.private_files import make_private_folder, open_private

#: Bytes of a lock file that are read.
_MAX_RECORDED = 200
#: Seconds to retry: on a system without a table of locks, ``syft-flwr runs`` holds the lock for a moment.
_PATIENCE = 0.5
_RETRY = 0.02


def wait_for_lock(fd: int) -> None:
    """Wait until no other process holds the lock of an open file or folder, then take it."""
    fcntl.flock(fd, fcntl.LOCK_EX)


def lock_if_possible(fd: int) -> None:
    """Do the same, but nothing on a file system without locks, such as some network shares."""
    try:
        wait_for_lock(fd)
    except OSError as error:
        if error.errno not in NO_LOCKS:
            raise


def unlock(fd: int) -> None:
    """Release the lock of an open file or folder, and keep it open."""
    fcntl.flock(fd, fcntl.LOCK_UN)


def try_lock(fd: int) -> bool:
    """Try to lock an open file or folder; return False if another process holds the lock."""
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def is_held(path: Path) -> bool:
    """Return whether a process holds the lock of the file ``path``; also True if this user may not open the file.

    On Linux, this takes no lock, so a reader that is stopped at this moment keeps no process from its start.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
    except PermissionError:
        return True
    except OSError:
        return False
    try:
        if (known := is_in_table(os.fstat(fd), *_recorded_in(fd))) is not None:
            return known
        # A shared lock, so that two processes that look at once do not take each other for the holder.
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        # The file system has no locks.
        return False
    finally:
        os.close(fd)
    return False


def _recorded_in(fd: int) -> tuple[str, str]:
    """Return the number of a process and its namespace, as a lock file tells them; empty if they are missing."""
    try:
        words = os.pread(fd, _MAX_RECORDED, 0).decode(errors="replace").split()
    except OSError:
        words = []
    return (*words, "", "")[0], (*words, "", "")[1]


def lock_first_free(paths: Iterable[Path]) -> tuple[int, Path] | None:
    """Lock the first free file of ``paths``; return its descriptor and path, or None if all are locked."""
    for path in paths:
        fd = _open(path)
        try:
            if try_lock(fd):
                return fd, path
        except BaseException:
            os.close(fd)
            raise
        os.close(fd)
    return None


def _open(path: Path) -> int:
    return open_private(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK)


def _processes_with(fd: int) -> list[int]:
    """Return the other processes of this user that have the open file, on systems that show them."""
    status, found = os.fstat(fd), []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            opened = (process / "fd").iterdir()
            if int(process.name) != os.getpid() and any(_is_file(path, status) for path in opened):
                found.append(int(process.name))
    return sorted(found)


def _is_file(path: Path, status: os.stat_result) -> bool:
    try:
        return os.path.samestat(path.stat(), status)
    except OSError:
        # It was closed at this moment.
        return False


def _is_alive(process: str) -> bool:
    try:
        os.kill(int(process), 0)
    except (ProcessLookupError, ValueError, OverflowError):
        return False
    except PermissionError:
        pass
    return True


class ProcessLock:
    """Context manager that holds a lock on the file ``path``, so that one process at a time does a job.

    Args:
        path: the lock file; it holds the numbers of the process and of its namespace, and is created if it is missing.
        what: the job, for the text of the error.
        wait: wait until another process has released the lock.

    Raises:
        StoreError: another process holds the lock (its number is in the text), or the file cannot be created.
    """

    def __init__(self, path: Path, what: str, *, wait: bool = False) -> None:
        self._fd = -1
        close_in_children(self)
        try:
            make_private_folder(path.parent)
            with without_fork():
                self._fd = _open(path)
            if wait:
                wait_for_lock(self._fd)
            elif not self._is_ours_in_time():
                recorded = _recorded_in(self._fd)[0] or "unknown"
                holders = [str(process) for process in _processes_with(self._fd)]
                self.close()
                if recorded not in holders and holders and not _is_alive(recorded):
                    raise StoreError(
                        f"{what} ended in process {recorded}, but its child {' and '.join(holders)} still holds {path}",
                        hint=f"Stop process {' and '.join(holders)}, which that process left behind.",
                    )
                raise StoreError(
                    f"{what} is already running in process {recorded}", hint=f"Stop process {recorded} first."
                )
            os.ftruncate(self._fd, 0)
            os.pwrite(self._fd, f"{os.getpid()}\n{process_namespace()}".encode(), 0)
        except OSError as error:
            self.close()
            if error.errno in NO_LOCKS:
                raise StoreError(
                    f"{path} cannot be locked, because its file system has no locks: {error.strerror}",
                    hint="Set SYFT_FLWR_HOME to a folder on a disk of this machine.",
                ) from error
            raise StoreError(f"{path} cannot be used: {error.strerror}", hint=HOME_HINT) from error

    def _is_ours_in_time(self) -> bool:
        deadline = time.monotonic() + _PATIENCE
        while not try_lock(self._fd):
            if time.monotonic() >= deadline:
                return False
            time.sleep(_RETRY)
        return True

    def close(self) -> None:
        with without_fork():
            self._fd = close_now(self._fd)

    def close_in_child(self) -> None:
        """Close the lock in a forked child; the parent still holds it."""
        self.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()
