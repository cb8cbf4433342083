"""The temporary folder of a local run, with the keys of its participants. It is deleted at the end.

A process that is killed leaves its folder. So the next run of this user deletes it: the process of a run holds the lock
of a file in its folder, and the kernel releases it after a kill. A folder without such a file is left alone: it is new,
or a person wants to keep it.
"""

import contextlib
import os
import shutil
import stat
import tempfile
import time
from pathlib import Path

from syft_flwr.errors import ConfigError
from syft_flwr.forks import close_in_children, close_now
from syft_flwr.locks import lock_if_possible, try_lock
from syft_flwr.private_files import FOLDER, open_private

_PREFIX = "syft-flwr-run-"
_LOCK = "lock"
#: Seconds in which a worker may write its last file after its client was killed.
_LAST_WRITES = 5.0
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC


class TemporaryFolder:
    """A new folder in the place for temporary files, after the folders of killed runs were deleted there.

    Args:
        keep: leave the folder to the user.

    Raises:
        ConfigError: no place for temporary files is usable.
    """

    def __init__(self, *, keep: bool) -> None:
        self._keep = keep
        self._fd = -1
        close_in_children(self)
        try:
            parent = Path(tempfile.gettempdir())
            delete_left_folders(parent)
            self.path = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=parent))
            self.path.chmod(FOLDER)
            if not keep:
                self._fd = _locked_file(self.path)
        except OSError as error:
            raise ConfigError(
                f"the temporary folder of the run cannot be created: {error.strerror}",
                hint="Set TMPDIR to a folder that this user may write to, with room on its disk.",
            ) from error

    def close(self) -> None:
        """Delete the folder, unless it is kept. Wait some seconds for the last writes of processes that were killed."""
        deadline = time.monotonic() + _LAST_WRITES
        while not self._keep and self.path.exists():
            with contextlib.suppress(OSError):
                shutil.rmtree(self.path)
                break
            if time.monotonic() > deadline:
                shutil.rmtree(self.path, ignore_errors=True)
                break
            time.sleep(0.05)
        self._fd = close_now(self._fd)

    def close_in_child(self) -> None:
        """Close the lock in a forked child. The folder is that of the parent, so the child does not delete it."""
        self._fd, self._keep = close_now(self._fd), True


def _locked_file(folder: Path) -> int:
    """Create the file with the lock; return its descriptor, which holds the lock."""
    hidden = folder / f".{_LOCK}"
    fd = open_private(hidden, os.O_RDWR | os.O_CREAT | os.O_EXCL)
    try:
        lock_if_possible(fd)
        # It gets its name with the lock, so that no other process takes a new folder for one that was left.
        hidden.rename(folder / _LOCK)
    except BaseException:
        os.close(fd)
        raise
    return fd


def delete_left_folders(parent: Path) -> None:
    """Delete the folders of runs of this user whose processes were killed. Links are not followed."""
    with contextlib.suppress(OSError):
        for path in parent.glob(f"{_PREFIX}*"):
            # Another process can delete it at this moment.
            with contextlib.suppress(OSError):
                _delete_if_left(path)


def _delete_if_left(path: Path) -> None:
    with contextlib.ExitStack() as opened:
        folder = os.open(path, _FOLDER)
        opened.callback(os.close, folder)
        if os.fstat(folder).st_uid != os.getuid():
            return
        lock = os.open(_LOCK, _FILE, dir_fd=folder)
        opened.callback(os.close, lock)
        status = os.fstat(lock)
        if stat.S_ISREG(status.st_mode) and status.st_uid == os.getuid() and try_lock(lock):
            shutil.rmtree(path, ignore_errors=True)
