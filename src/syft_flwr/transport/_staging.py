"""The staging folder of a process, beside the synced tree, for files that are being written.

The sync service does not see an incomplete file there. A rename from there into the tree is one event. A rename within the
tree would be two events, which watchdog, the observer on other systems than Linux, delays to pair them. Each process locks its folder, and
the kernel releases the lock when the process ends. The next process deletes the unlocked folders. On a file system without
locks, the folders of killed processes stay.
"""

import contextlib
import os
import re
import secrets
import shutil
from pathlib import Path

from syft_flwr.forks import close_in_children, close_now, without_fork
from syft_flwr.locks import lock_if_possible, try_lock
from syft_flwr.private_files import make_private_folder
from syft_flwr.transport._disk import translate

_NAME = re.compile(r"[0-9a-f]{16}")
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class Staging:
    """The folder of one process in ``base``: created at once, deleted by :meth:`close`.

    Raises:
        TransportError: the folder cannot be created.
    """

    def __init__(self, base: Path) -> None:
        self.fd = -1
        close_in_children(self)
        try:
            self._make(base)
        except OSError as error:
            raise translate(error, f"the folder {base}") from error

    def _make(self, base: Path) -> None:
        make_private_folder(base)
        self.path = base / secrets.token_hex(8)
        base_fd = os.open(base, _FOLDER)
        try:
            # One process at a time: another process could delete a new folder before it is locked.
            lock_if_possible(base_fd)
            _delete_abandoned(base)
            make_private_folder(self.path)
            #: The open descriptor of the folder; it holds the lock.
            with without_fork():
                self.fd = os.open(self.path, _FOLDER)
            lock_if_possible(self.fd)
        finally:
            os.close(base_fd)

    @property
    def device(self) -> int:
        """Return the device number of the folder's file system."""
        return os.fstat(self.fd).st_dev

    def close_in_child(self) -> None:
        """Close the lock in a forked child. The folder is that of the parent, so the child does not delete it."""
        self.fd = close_now(self.fd)

    def close(self) -> None:
        """Delete the folder. It cannot be used afterwards; a second call does nothing."""
        fd, self.fd = self.fd, -1
        if fd >= 0:
            shutil.rmtree(self.path, ignore_errors=True)
            os.close(fd)


def _delete_abandoned(base: Path) -> None:
    # Another entry may be of a user or of another program.
    for path in [path for path in base.iterdir() if _NAME.fullmatch(path.name)]:
        with contextlib.suppress(OSError):
            fd = os.open(path, _FOLDER)
            try:
                if try_lock(fd):
                    shutil.rmtree(path, ignore_errors=True)
            finally:
                os.close(fd)
