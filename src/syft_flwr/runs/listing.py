"""Lists the runs of all apps of one participant, for people and scripts."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from syft_flwr._store.states import RunState
from syft_flwr.errors import StoreError
from syft_flwr.locks import ProcessLock
from syft_flwr.runs.record import status_folder
from syft_flwr.runs.status import RunStatus, RunStatuses

#: The shown state of a run without an end, if no process serves it.
INTERRUPTED = "interrupted"
_LOCKS = {"aggregator": "server.lock", "datasite": "client.lock"}


@dataclass(frozen=True, slots=True)
class Run:
    """One run and its shown state: its recorded state, or :data:`INTERRUPTED`."""

    status: RunStatus
    state: str

    def as_fields(self) -> dict[str, Any]:
        """Return the fields for JSON. Ids are strings, because they are larger than the safe integers of JSON."""
        status = self.status
        return {
            "run-id": str(status.run),
            "app": status.app,
            "role": status.role,
            "state": self.state,
            "cause": status.cause,
            "started": status.started.isoformat(),
            "updated": status.updated.isoformat(),
            "round": status.round,
            "resumed": status.resumed,
            "asked": status.asked,
            "answered": status.answered,
            "failed": status.failed,
        }

    def as_row(self) -> tuple[str, ...]:
        """Return the cells of one table row, with times in local time."""
        status = self.status
        times = (f"{time.astimezone():%Y-%m-%d %H:%M:%S}" for time in (status.started, status.updated))
        counts = (f"{status.answered} of {status.asked}", str(status.failed))
        return (str(status.run), status.app, status.role, self.state, *times, status.round, *counts, status.cause)


def runs_of(home: Path, email: str) -> list[Run]:
    """Return every run that is recorded in the home of a participant, oldest first."""
    found: list[Run] = []
    for app_home in sorted((home / "apps").glob("*")):
        served = {role: _is_served(app_home / lock, email) for role, lock in _LOCKS.items()}
        for status in RunStatuses(status_folder(app_home)).all():
            gone = status.state == RunState.RUNNING and not served.get(status.role, False)
            found.append(Run(status, INTERRUPTED if gone else status.state))
    return sorted(found, key=lambda run: run.status.started)


def _is_served(lock: Path, email: str) -> bool:
    if not lock.exists():
        return False
    try:
        with ProcessLock(lock, f"a process of {email}"):
            return False
    except StoreError:
        return True
