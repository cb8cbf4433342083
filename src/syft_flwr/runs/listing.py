"""The runs of all apps of one participant, for people and scripts."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from syft_flwr._store.states import RunState
from syft_flwr.errors import StoreError
from syft_flwr.locks import ProcessLock
from syft_flwr.runs.record import status_folder
from syft_flwr.runs.status import RunStatus, RunStatuses

#: What is shown for a run without an end that no process serves.
INTERRUPTED = "interrupted"
_LOCKS = {"aggregator": "server.lock", "datasite": "client.lock"}


@dataclass(frozen=True, slots=True)
class Run:
    """One run, and how it stands now."""

    status: RunStatus
    state: str

    def as_fields(self) -> dict[str, Any]:
        """Return what a program reads; ids are strings, because they are larger than a JSON number may be."""
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
        """Return what a person reads, times in local time."""
        status = self.status
        times = (f"{time.astimezone():%Y-%m-%d %H:%M:%S}" for time in (status.started, status.updated))
        counts = (f"{status.answered} of {status.asked}", str(status.failed))
        return (str(status.run), status.app, status.role, self.state, *times, status.round, *counts, status.cause)


def runs_of(home: Path, email: str) -> list[Run]:
    """Return every run that is on record in a participant's home, oldest first."""
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
