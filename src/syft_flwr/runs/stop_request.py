"""The file with which ``syft-flwr stop`` asks a process to end a run: ``stop/<run>.<role>`` in the home of its app.

It names the run and the start of its process, so that a later process ignores and deletes it. The folder is private. A
link, a folder, a file of another user or a file that is too large is no request, and is deleted if possible.
"""

import json
import os
import stat
from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from syft_flwr.errors import StorageError
from syft_flwr.files import open_folder, write_private
from syft_flwr.log import logger

#: Seconds between two looks of a process that serves runs.
LOOK_EVERY = 1.0
#: The cause of a run that ended because of a request.
STOPPED_BY_COMMAND = "stopped with `syft-flwr stop`"
#: The role in the name of a request for a local run.
LOCAL = "local"
_FOLDER = "stop"
_MAX_SIZE = 1_000
#: Names in the folder that one look reads, to delete old requests.
_MAX_NAMES = 1_000

#: Called with a run that a request asks to end. It returns False if it cannot be told now, and the next look asks again.
OnStopAsked = Callable[[str], bool]


@dataclass(frozen=True, slots=True)
class StopRequest:
    """A request to end a run.

    ``run`` is its id, or the name of a local run. ``process`` is the random text of its process; that of a local run is
    its name, because no second process serves it.
    """

    run: str
    role: str
    process: str

    @property
    def name(self) -> str:
        return f"{int(self.run):016x}.{self.role}" if self.run.isdecimal() else f"{self.run}.{self.role}"

    def write(self, home: Path) -> None:
        """Write the file durably below the home of the app, or of a local run.

        Raises:
            StorageError: it cannot be written.
        """
        fields = {"v": 1, "run": self.run, "process": self.process}
        write_private(home / _FOLDER / self.name, json.dumps(fields).encode())

    def withdraw(self, home: Path) -> None:
        """Delete the file, if it is still there."""
        with suppress(StorageError), open_folder(home, (_FOLDER,)) as folder:
            _delete(folder, self.name)


class StopFolder:
    """The requests for the runs of one process. Used by one thread.

    Args:
        home: the home of the app, or the folder of a local run.
        role: the side of the runs.
        process: the random text of this process, or the name of the local run.
        on_asked: called with each run that has a request.
    """

    def __init__(self, home: Path, role: str, process: str, on_asked: OnStopAsked) -> None:
        self._home = home
        self._role = role
        self._process = process
        self._on_asked = on_asked
        self._complained = False

    def look(self, runs: Collection[str]) -> None:
        """Tell the requests for these runs, and delete each file of this role that has been told or is no request."""
        with suppress(StorageError), open_folder(self._home, (_FOLDER,)) as folder:
            wanted = {StopRequest(run, self._role, self._process).name: run for run in runs}
            # By their names, so that no number of other files hides a request.
            for name, run in wanted.items():
                process = _process_in(folder, name, run)
                if process is not None and (process != self._process or self._on_asked(run)):
                    self._remove(folder, name)
            with os.scandir(folder) as entries:
                names = [entry.name for entry in islice(entries, _MAX_NAMES)]
            for name in names:
                if name.endswith(f".{self._role}") and not name.startswith(".") and name not in wanted:
                    self._remove(folder, name)

    def _remove(self, folder: int, name: str) -> None:
        try:
            _delete(folder, name)
        except OSError as error:
            if not self._complained:
                self._complained = True
                text = "{} in the folder stop of {} is no request of this process and cannot be deleted, so it is ignored: {}"
                logger.warning(text, name, self._home.name, error.strerror)


def _process_in(folder: int, name: str, run: str) -> str | None:
    """Return the process that a request for this run names; empty if the file is no request, None if there is no file."""
    try:
        fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
    except FileNotFoundError:
        return None
    except OSError:
        return ""
    try:
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode) or status.st_uid != os.geteuid() or status.st_size > _MAX_SIZE:
            return ""
        fields = json.loads(os.read(fd, _MAX_SIZE))
        return str(fields["process"]) if (fields["v"], fields["run"]) == (1, run) else ""
    except (ValueError, KeyError, TypeError, RecursionError, OSError):
        return ""
    finally:
        os.close(fd)


def _delete(folder: int, name: str) -> None:
    with suppress(FileNotFoundError):
        status = os.stat(name, dir_fd=folder, follow_symlinks=False)
        if stat.S_ISDIR(status.st_mode):
            os.rmdir(name, dir_fd=folder)
        else:
            os.unlink(name, dir_fd=folder)
