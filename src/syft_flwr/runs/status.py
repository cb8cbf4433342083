"""The status files of runs: one small JSON file for each run and role, read by people and scripts."""

import threading
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from syft_flwr.errors import StorageError
from syft_flwr.files import read_bounded, write_private

_SUFFIX = ".status.json"
_MAX_SIZE = 1 << 20


@dataclass(frozen=True, slots=True)
class RunStatus:
    """One run, as one participant sees it. Words are the caller's; times are aware UTC."""

    run: int
    app: str
    #: ``aggregator`` or ``datasite``.
    role: str
    #: ``running`` until it ends as ``completed``, ``failed`` or ``stopped``.
    state: str
    started: datetime
    updated: datetime
    #: Why it ended as it did, for people.
    cause: str = ""
    #: The latest round that messages spoke of.
    round: str = ""
    #: How often it was taken up again after a crash.
    resumed: int = 0
    #: Messages: sent (or received), answered, and ended without an answer.
    asked: int = 0
    answered: int = 0
    failed: int = 0


class StatusFile(BaseModel):
    """The form in which a status is written. A program of a later release may add fields."""

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
    """Files ``<run>.<role>.status.json`` in one folder. Thread-safe."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = threading.Lock()

    def write(self, status: RunStatus) -> None:
        """Replace a run's file; whole or not at all.

        Raises:
            StorageError: it cannot be written.
        """
        file = StatusFile.model_validate(asdict(status) | {"run": str(status.run)})
        with self._lock:
            write_private(self._path(status.run, status.role), file.model_dump_json(indent=1).encode())

    def get(self, run: int, role: str) -> RunStatus | None:
        """Return a run's status; None if there is none that can be read."""
        return _read(self._path(run, role))

    def all(self) -> list[RunStatus]:
        """Return every run's status, oldest first; files that cannot be read are passed over."""
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
