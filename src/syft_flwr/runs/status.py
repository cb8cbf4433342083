"""The status files of runs: a small JSON file for each run and role, for people and scripts. It is a cache of the record."""

import threading
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from syft_flwr.errors import StorageError
from syft_flwr.files import read_bounded, write_private
from syft_flwr.runs.account import RunAccount

_SUFFIX = ".status.json"
_MAX_SIZE = 1 << 20


@dataclass(frozen=True, slots=True)
class RunStatus:
    """The status of one run at one participant. Times are timezone-aware, in UTC."""

    run: int
    app: str
    #: ``aggregator`` or ``datasite``.
    role: str
    #: ``running`` until it ends as ``completed``, ``failed`` or ``stopped``.
    state: str
    started: datetime
    updated: datetime
    #: Why the run ended, for people.
    cause: str = ""
    #: The latest round that a message named.
    round: str = ""
    #: How often the run was resumed after a crash.
    resumed: int = 0
    #: Numbers of messages: sent (or received), answered, and failed.
    asked: int = 0
    answered: int = 0
    failed: int = 0


def status_of(run: int, role: str, account: RunAccount) -> RunStatus:
    """Return the status of a run by its account, which has at least one event."""
    updated = account.updated or datetime.min.replace(tzinfo=UTC)
    return RunStatus(
        run=run,
        app=account.app,
        role=role,
        state=account.state,
        started=account.started or updated,
        updated=updated,
        cause=account.cause,
        round=account.round,
        resumed=account.resumed,
        asked=account.asked,
        answered=account.answered,
        failed=account.failed,
    )


class StatusFile(BaseModel):
    """The JSON form of a status. A later release may add fields, so unknown fields are ignored."""

    model_config = ConfigDict(strict=True, extra="ignore")

    run: Annotated[str, Field(pattern=r"^[0-9]{1,19}\z")]
    app: str
    role: str
    state: str
    started: AwareDatetime
    updated: AwareDatetime
    cause: str = ""
    round: str = ""
    resumed: int = 0
    asked: int = 0
    answered: int = 0
    failed: int = 0


class RunStatuses:
    """The files ``<run>.<role>.status.json`` in one folder, with the run id in hexadecimal. Thread-safe."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = threading.Lock()

    def write(self, status: RunStatus) -> None:
        """Replace the status file of a run atomically.

        Raises:
            StorageError: the file cannot be written.
        """
        file = StatusFile.model_validate(asdict(status) | {"run": str(status.run)})
        with self._lock:
            write_private(self._path(status.run, status.role), file.model_dump_json(indent=1).encode())

    def get(self, run: int, role: str) -> RunStatus | None:
        """Return the status of a run; None if its file is missing or cannot be read."""
        return _read(self._path(run, role))

    def all(self) -> list[RunStatus]:
        """Return the status of every run, oldest first. Files that cannot be read are skipped."""
        paths = self._folder.glob(f"*{_SUFFIX}") if self._folder.is_dir() else ()
        return sorted(filter(None, map(_read, paths)), key=lambda status: status.started)

    def _path(self, run: int, role: str) -> Path:
        return self._folder / f"{run:016x}.{role}{_SUFFIX}"


def _read(path: Path) -> RunStatus | None:
    try:
        file = StatusFile.model_validate_json(read_bounded(path, _MAX_SIZE))
        times = {"started": file.started.astimezone(UTC), "updated": file.updated.astimezone(UTC)}
    except (StorageError, ValidationError, OverflowError):
        return None
    return RunStatus(**(file.model_dump() | times | {"run": int(file.run)}))
