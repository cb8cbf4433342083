"""Locks between processes, held by the kernel: a lock goes when its holder does, however the holder ends.

A lock belongs to an open file or folder. Closing the descriptor gives it back.
"""

import fcntl
import os
import time
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Self

from syft_flwr.errors import HOME_HINT, StoreError

#: Seconds to try: ``syft-flwr runs``, which only looks whether a process holds it, has it for a moment.
_PATIENCE = 0.5
_RETRY = 0.02


def wait_for_lock(fd: int) -> None:
    """Lock an open file or folder, as soon as no other process holds it."""
    fcntl.flock(fd, fcntl.LOCK_EX)


def try_lock(fd: int) -> bool:
    """Lock an open file or folder; return False if another process holds it."""
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def lock_first_free(paths: Iterable[Path]) -> tuple[int, Path] | None:
    """Lock the first of ``paths`` that no process holds; return its descriptor and itself, or None if all are held."""
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
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)


class ProcessLock:
    """One process at a time for one job: a context manager that holds ``path`` locked.

    With ``wait``, it waits until the other holder is done.

    Raises:
        StoreError: another process holds it, and which; or the file cannot be made.
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
            raise StoreError(
                f"{path} cannot be used: {error.strerror}",
                hint=HOME_HINT,
            ) from error

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
