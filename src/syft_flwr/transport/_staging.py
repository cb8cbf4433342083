"""A folder for files that are being written: one for each process, beside the synced tree.

Nobody sees half a file there, and a rename into the tree is one event, where a rename within it would be two that watchdog
holds back for up to half a second to pair. A process holds its folder locked, however it ends; the folders that nobody
holds are those of processes that died, and the next process deletes them with what is in them.
"""

import contextlib
import os
import secrets
import shutil
from pathlib import Path

from syft_flwr.locks import try_lock, wait_for_lock
from syft_flwr.transport._disk import translate

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class Staging:
    """One process's folder in ``base``, made at once and removed by :meth:`close`.

    Raises:
        TransportError: it cannot be made.
    """

    def __init__(self, base: Path) -> None:
        try:
            self._make(base)
        except OSError as error:
            raise translate(error, f"the folder {base.name}") from error

    def _make(self, base: Path) -> None:
        base.mkdir(mode=0o700, exist_ok=True)
        self.path = base / secrets.token_hex(8)
        base_fd = os.open(base, _FOLDER)
        try:
            # One process at a time: a folder that was just made is not locked yet, and looks abandoned.
            wait_for_lock(base_fd)
            _delete_abandoned(base)
            self.path.mkdir(mode=0o700)
            #: A descriptor of the folder.
            self.fd = os.open(self.path, _FOLDER)
            wait_for_lock(self.fd)
        finally:
            os.close(base_fd)

    @property
    def device(self) -> int:
        """The file system that it lies on."""
        return os.fstat(self.fd).st_dev

    def close(self) -> None:
        """Remove the folder; nothing can be written afterwards. A second call does nothing."""
        fd, self.fd = self.fd, -1
        if fd >= 0:
            shutil.rmtree(self.path, ignore_errors=True)
            os.close(fd)


def _delete_abandoned(base: Path) -> None:
    for path in base.iterdir():
        with contextlib.suppress(OSError):
            fd = os.open(path, _FOLDER)
            try:
                if try_lock(fd):
                    shutil.rmtree(path, ignore_errors=True)
            finally:
                os.close(fd)
