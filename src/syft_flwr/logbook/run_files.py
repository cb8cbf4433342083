"""The log files of the runs of one app and role: ``<run>.<role>.log`` beside the records.

A line belongs to the runs that are served when it is written. Without one, it belongs to the last one. Lines before the
first run are in the file of run 0, and also begin the file of the first run.
"""

import os
import threading
from collections import deque
from contextlib import nullcontext
from pathlib import Path

from syft_flwr.logbook.book import book
from syft_flwr.logbook.line import LogLine
from syft_flwr.logbook.rotating_file import RotatingFile

#: Lines of the start of a process that its first run gets.
_MAX_BEFORE = 200
#: Runs with an open file. A line belongs to the latest of them only.
_MAX_OPEN = 8


def run_log_path(folder: Path, run: int, role: str) -> Path:
    """Return the path of the log of a run; run 0 stands for lines that belong to no run."""
    return folder / f"{run:016x}.{role}.log"


class RunFiles:
    """Writes the log files of runs, if this process is a command that keeps them. Thread-safe.

    Args:
        folder: the folder of the records of an app.
        role: the side of the runs.
        app: the name of the app.
    """

    def __init__(self, folder: Path, role: str, app: str) -> None:
        self._folder = folder
        self._role = role
        self._app = app
        # A signal handler or a finalizer of the app can print in the middle of a line.
        self._lock = threading.RLock()
        self._process = os.getpid()
        self._files: dict[int, RotatingFile] = {}
        #: The runs that this process serves, and the last one.
        self._served: dict[int, None] = {}
        self._last = 0
        self._before: deque[LogLine] = deque(maxlen=_MAX_BEFORE)
        if book.keeps_runs:
            # Until the end of the process: the last lines come after the end of the run.
            book.join(self.add)

    def started(self, run: int) -> None:
        """Record that this process serves a run."""
        with self._lock:
            self._served[run] = None
            book.runs[self._app] = run
            self._last = run
            for line in self._before:
                self._write(run, line)
            self._before.clear()

    def ended(self, run: int) -> None:
        """Record the end of a run."""
        with self._lock:
            self._served.pop(run, None)

    def add(self, line: LogLine, app: str) -> None:
        """Write a line into the files of its runs."""
        if app not in ("", self._app):
            return
        # In a child of fork, a thread that only its parent has may hold the lock.
        with self._lock if os.getpid() == self._process else nullcontext():
            if not self._last:
                self._before.append(line)
            for run in tuple(self._served)[-_MAX_OPEN:] or (self._last,):
                self._write(run, line)

    def _write(self, run: int, line: LogLine) -> None:
        file = self._files.pop(run, None) or RotatingFile(run_log_path(self._folder, run, self._role))
        # The last one is the one that was used last.
        self._files[run] = file
        if len(self._files) > _MAX_OPEN:
            self._files.pop(next(iter(self._files))).close()
        file.write(book.form(line.of_run(run)))
