"""The facts that decide about a simulated run, from the database of its server: no record and no log decides."""

from contextlib import closing
from pathlib import Path

from syft_flwr._store.futures import FirstFailure, Futures, ReplyCount
from syft_flwr._store.run_table import RunRow
from syft_flwr._store.states import RunState
from syft_flwr.errors import StoreError
from syft_flwr.runs.events import CONTROL, STOP_GROUP
from syft_flwr.runs.outcome import RunOutcome, losses_of


class ServerFacts:
    """Reads the database of the server, which it finds by name below the private folder.

    Args:
        state: the folder with the home of the server.
    """

    def __init__(self, state: Path) -> None:
        self._state = state

    def runs(self) -> list[RunRow]:
        """Return the runs that the server began, oldest first.

        Raises:
            StoreError: the database cannot be read.
        """
        path = self._path()
        if path is None:
            return []
        with closing(Futures(path, read_only=True)) as futures:
            return futures.runs.all()

    def has_sent_stop(self) -> bool | None:
        """Return whether the server has recorded a stop, which it does before it sends it; None if it is not known."""
        path = self._path()
        if path is None:
            return False
        try:
            with closing(Futures(path, read_only=True)) as futures:
                return any(futures.has_request(row.run, CONTROL, STOP_GROUP) for row in futures.runs.all())
        except StoreError:
            return None

    def replies(self) -> list[ReplyCount]:
        """Return the counts of the requests of all runs.

        Raises:
            StoreError: the database cannot be read.
        """
        path = self._path()
        if path is None:
            return []
        with closing(Futures(path, read_only=True)) as futures:
            return [each for row in futures.runs.all() for each in futures.replies(row.run, control=CONTROL)]

    def first_failure(self) -> FirstFailure | None:
        """Return the failure of the earliest request that failed; None if there is none, or it cannot be read."""
        path = self._path()
        if path is None:
            return None
        try:
            with closing(Futures(path, read_only=True)) as futures:
                found = (futures.first_failure(row.run, control=CONTROL) for row in futures.runs.all())
                return next(filter(None, found), None)
        except StoreError:
            # The verdict names this error.
            return None

    def has_failed_run(self) -> bool:
        """Return whether the server recorded a run as failed."""
        try:
            return any(row.state is RunState.FAILED for row in self.runs())
        except StoreError:
            return False

    def outcome(self) -> RunOutcome:
        """Return the outcome of all runs of the server: its own judgement of each, and all losses."""
        try:
            runs, losses = self.runs(), losses_of(self.replies())
        except StoreError as error:
            return RunOutcome(RunState.FAILED, str(error))
        if not runs:
            return RunOutcome(RunState.FAILED, "the server ended before it began a run")
        # A failed training is no success, even if a later one was completed.
        last = next((row for row in runs if row.state is RunState.FAILED), runs[-1])
        if last.state is RunState.COMPLETED:
            return RunOutcome(RunState.COMPLETED, "", losses)
        if last.state is RunState.RUNNING:
            return RunOutcome(RunState.FAILED, f"the server ended before run {last.run} had an end", losses)
        own = RunOutcome(last.state, last.cause)
        return RunOutcome(RunState.FAILED, f"run {last.run} {own.summary}", losses)

    def _path(self) -> Path | None:
        return next(self._state.glob("*/apps/*/futures.db"), None)
