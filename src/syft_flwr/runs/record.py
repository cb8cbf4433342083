"""Keeps the status file of a run current while a process serves the run."""

import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Literal

from loguru import logger

from syft_flwr._store.states import RunState
from syft_flwr.clock import Clock
from syft_flwr.errors import StorageError
from syft_flwr.runs.status import RunStatus, RunStatuses
from syft_flwr.text import printable

Role = Literal["aggregator", "datasite"]

#: The most characters of a recorded cause.
MAX_CAUSE = 500
#: A run without an end can be resumed this long after its last status update. No message lives longer.
RESUMABLE = timedelta(days=31)
#: Minimum seconds between two writes during the run. Its start and its end are written immediately.
_EVERY = 1.0


def status_folder(app_home: Path) -> Path:
    """Return the folder with the status files of an app's runs."""
    return app_home / "runs"


class RunRecord:
    """The status of the runs that one process serves, for one app and role. Thread-safe.

    If a status cannot be written, the process logs that once, and the run continues.
    """

    def __init__(self, app_home: Path, app: str, role: Role, clock: Clock) -> None:
        self._statuses = RunStatuses(status_folder(app_home))
        self._app = app
        self._role: Role = role
        self._clock = clock
        self._lock = threading.Lock()
        self._open: dict[int, RunStatus] = {}
        self._written: dict[int, float] = {}
        self._complained = False

    def unfinished(self) -> Iterator[RunStatus]:
        """Yield the unfinished runs of this role, except those that this process serves, latest first."""
        for status in reversed(self._statuses.all()):
            if status.role == self._role and status.state == RunState.RUNNING and status.run not in self._open:
                yield status

    def interrupted(self) -> RunStatus | None:
        """Return the latest run of this role that can be resumed: not ended, and updated within :data:`RESUMABLE`."""
        latest = next(self.unfinished(), None)
        return latest if latest and latest.updated > self._clock.now() - RESUMABLE else None

    def begin(self, run: int) -> None:
        """Record that this process serves a run. A second call for the same run changes nothing."""
        now = self._clock.now()
        with self._lock:
            if run in self._open:
                return
            known = self._statuses.get(run, self._role)
            if known and known.state == RunState.RUNNING:
                status = replace(known, resumed=known.resumed + 1)
                if self._role == "aggregator":
                    # The ServerApp starts again and sends all its requests again, so the counts start at 0.
                    status = replace(status, asked=0, answered=0, failed=0)
            else:
                status = RunStatus(run, self._app, self._role, RunState.RUNNING, started=now, updated=now)
            self._open[run] = status
            self._write(status)

    def note(self, run: int, *, asked: int = 0, answered: int = 0, failed: int = 0, round_name: str = "") -> None:
        """Add to the message counts of a run that this process serves; ignore other runs."""
        with self._lock:
            status = self._open.get(run)
            if status is None:
                return
            self._open[run] = replace(
                status,
                asked=status.asked + asked,
                answered=status.answered + answered,
                failed=status.failed + failed,
                round=round_name or status.round,
            )
            if self._clock.monotonic() - self._written.get(run, 0.0) >= _EVERY:
                self._write(self._open[run])

    def end(self, run: int, state: RunState, cause: str) -> None:
        """Record the end of a run. Only the first call for a run counts."""
        with self._lock:
            if status := self._open.pop(run, None):
                self._write(replace(status, state=state, cause=printable(cause[:MAX_CAUSE])))

    def supersede(self, status: RunStatus) -> None:
        """Record that another run took the place of an unfinished run of an earlier process."""
        with self._lock:
            self._write(replace(status, state=RunState.STOPPED, cause="another run took its place"))

    def _write(self, status: RunStatus) -> None:
        self._written[status.run] = self._clock.monotonic()
        try:
            self._statuses.write(replace(status, updated=self._clock.now()))
        except StorageError as error:
            if not self._complained:
                self._complained = True
                text = "the status of run {} cannot be written, so it is shown as it was; the run continues: {}"
                logger.warning(text, status.run, error.diagnose())
