"""One process at a time for one job, held by the kernel: the lock goes when its holder does, however it ends."""

import fcntl
import math
import os
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from syft_flwr.errors import StoreError

#: Seconds to try: whoever only looks whether somebody holds it (``syft-flwr runs``) has it for a moment.
_PATIENCE = 0.5
_RETRY = 0.02


class ProcessLock:
    """A context manager that holds ``path`` locked; with ``wait``, as soon as the other holder is done.

    Raises:
        StoreError: another process holds it, and which; or the file cannot be made.
    """

    def __init__(self, path: Path, what: str, *, wait: bool = False) -> None:
        self._fd = -1
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            self._lock(math.inf if wait else _PATIENCE)
            os.ftruncate(self._fd, 0)
            os.pwrite(self._fd, str(os.getpid()).encode(), 0)
        except BlockingIOError as error:
            holder = os.pread(self._fd, 20, 0).decode(errors="replace").strip() or "unknown"
            self.close()
            raise StoreError(
                f"{what} is already running in process {holder}", hint=f"Stop process {holder} first."
            ) from error
        except OSError as error:
            self.close()
            raise StoreError(
                f"{path} cannot be used: {error.strerror}",
                hint="Set SYFT_FLWR_HOME to a folder that this user may write to, with room on its disk.",
            ) from error

    def _lock(self, patience: float) -> None:
        deadline = time.monotonic() + patience
        while True:
            try:
                fcntl.flock(self._fd, fcntl.LOCK_EX | (fcntl.LOCK_NB if patience < math.inf else 0))
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    raise
                time.sleep(_RETRY)
            else:
                return

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
