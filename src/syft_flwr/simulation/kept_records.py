"""Keeps the records of one simulated run: creates its folder below SYFT_FLWR_HOME, and writes its description and its end.

The processes write their records there directly, so that the records exist during the run and survive a kill. If the
folder cannot be written, they go to the temporary folder of the run, and are deleted with it.
"""

import secrets
import shutil
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Self

from syft_flwr._store.states import RunState
from syft_flwr.clock import SystemClock
from syft_flwr.errors import HOME_HINT, StorageError, StoreError
from syft_flwr.files import write_private
from syft_flwr.locks import ProcessLock, is_held
from syft_flwr.log import logger
from syft_flwr.private_files import make_private_folder
from syft_flwr.runs.local_run import (
    LOCK,
    LocalFacts,
    LocalRun,
    LocalSeat,
    describe_local_run,
    local_folders,
    local_runs_folder,
)
from syft_flwr.runs.outcome import Loss
from syft_flwr.runs.record import Role
from syft_flwr.simulation.federation import Federation
from syft_flwr.simulation.folders import Folders

#: Local runs that are kept, with the present one. The oldest ones are deleted at the next start.
MOST_LOCAL_RUNS = 50
#: The roles in the record, by those of the processes.
RECORD_ROLES: dict[str, Role] = {"server": "aggregator", "client": "datasite"}


class KeptRecords:
    """Context manager for the records of one simulated run. It holds the lock of the run until its end.

    Args:
        federation: the participants.
        folders: the folders for output and logs.
        temporary: the folder for the records if they cannot be kept.

    Raises:
        StoreError: the records can be written nowhere.
    """

    def __init__(self, federation: Federation, folders: Folders, temporary: Path) -> None:
        self._clock = SystemClock()
        self._opened = ExitStack()
        started = self._clock.now()
        facts = LocalFacts(
            app=federation.app_name,
            transport=federation.transport,
            project=federation.project_dir,
            output=folders.output,
            seats=tuple(
                LocalSeat(email=seat.email, role=RECORD_ROLES[seat.role], log=folders.log(seat))
                for seat in federation.seats
            ),
            started=started,
        )
        #: Whether the records stay after the run.
        self.are_kept = True
        try:
            folder = self._create(federation.base, started, facts)
        except StoreError as error:
            text = "the records of this run are deleted at its end, and `syft-flwr runs` does not show it: {}"
            logger.warning(text, error.diagnose())
            self.are_kept = False
            folder = self._create(temporary, started, facts)
        self.local = LocalRun(folder, facts)

    def _create(self, base: Path, started: datetime, facts: LocalFacts) -> Path:
        parent = local_runs_folder(base)
        folder = parent / f"{started:%Y%m%d-%H%M%S}-{secrets.token_hex(4)}"
        try:
            make_private_folder(parent)
            # Two starts at once must not delete the folder of the other one before its lock is held.
            with ProcessLock(parent / ".start", "the start of a local run", wait=True):
                _delete_oldest(base)
                self._opened.enter_context(ProcessLock(folder / LOCK, "a local run"))
                write_private(*describe_local_run(folder, facts))
            for email in {seat.email for seat in facts.seats}:
                make_private_folder(folder.joinpath(email, "apps", facts.app, "runs"))
        except (OSError, StorageError, StoreError) as error:
            self._opened.close()
            shutil.rmtree(folder, ignore_errors=True)
            raise StoreError(f"the records of this run cannot be kept in {folder}: {error}", hint=HOME_HINT) from error
        return folder

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if isinstance(error, Exception):
            self.end(RunState.FAILED, f"{type(error).__name__}: {error}")
        elif error:
            self.end(RunState.STOPPED, "it was interrupted")
        self._opened.close()

    def note_run(self, run: int) -> None:
        """Write the id of the run into the description, so that it is known after the loss of its record."""
        if run and run != self.local.facts.run:
            self._write(self.local.facts.model_copy(update={"run": run}))

    def end(self, state: RunState, cause: str, losses: tuple[Loss, ...] = (), refusal: str = "") -> None:
        """Write the end of the run, unless it was written before."""
        if self.local.facts.ended is None:
            ended = self._clock.now()
            update = {"state": state, "cause": cause, "losses": losses, "refusal": refusal, "ended": ended}
            self._write(self.local.facts.model_copy(update=update))

    def _write(self, facts: LocalFacts) -> None:
        self.local = LocalRun(self.local.folder, facts)
        try:
            write_private(*describe_local_run(self.local.folder, facts))
        except StorageError as error:
            text = "the description of the local run {} cannot be written: {}"
            logger.warning(text, self.local.name, error.diagnose())


def _delete_oldest(base: Path) -> None:
    """Delete the oldest local runs that have no process, so that there is room for one more."""
    ended = [folder for folder in local_folders(base) if not is_held(folder / LOCK)]
    surplus = len(local_folders(base)) + 1 - MOST_LOCAL_RUNS
    for folder in ended[: max(0, surplus)]:
        shutil.rmtree(folder, ignore_errors=True)
