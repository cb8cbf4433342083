"""Locks between processes. The kernel releases a lock when the process that holds it ends, even after a kill.

A lock belongs to an open file or folder. Closing the descriptor releases it.
"""

import fcntl
import os
import time
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Self

from syft_flwr.disk_errors import NO_LOCKS
from syft_flwr.errors import HOME_HINT, StoreError

#: Seconds to retry: ``syft-flwr runs`` holds the lock for a moment when it tests whether a process has it.
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
    """Return whether a process holds the lock of the file ``path``; also True if this user may not open the file."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
    except PermissionError:
        return True
    except OSError:
        return False
    try:
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
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o600)


class ProcessLock:
    """Context manager that holds a lock on the file ``path``, so that one process at a time does a job.

    Args:
        path: the lock file; it holds the number of the process, and is created if it is missing.
        what: the job, for the text of the error.
        wait: wait until another process has released the lock.

    Raises:
        StoreError: another process holds the lock (its number is in the text), or the file cannot be created.
    """

    def __init__(self, path: Path, what: str, *, wait: bool = False) -> None:
        self._fd = -1
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._fd = _open(path)
            if wait:
                wait_for_lock(self._fd)
            elif not self._is_ours_in_time():
                holder = os.pread(self._fd, 20, 0).decode(errors="replace").strip() or "unknown"
                self.close()
                raise StoreError(f"{what} is already running in process {holder}", hint=f"Stop process {holder} first.")
            os.ftruncate(self._fd, 0)
            os.pwrite(self._fd, str(os.getpid()).encode(), 0)
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
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()
