"""The facts that decide about a simulated run, from the database of its server: no record and no log decides."""

from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path

from syft_flwr._messaging.wire import Reason
from syft_flwr._store.futures import Futures, OwnerTally
from syft_flwr._store.run_table import RunRow
from syft_flwr._store.states import RunState
from syft_flwr.errors import StoreError
from syft_flwr.runs.events import CONTROL, STOP_GROUP


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

    def tallies(self) -> dict[str, OwnerTally]:
        """Return the counts of the requests of all runs by data owner.

        Raises:
            StoreError: the database cannot be read.
        """
        path = self._path()
        found: dict[str, OwnerTally] = {}
        if path is None:
            return found
        with closing(Futures(path, read_only=True)) as futures:
            for row in futures.runs.all():
                tallies = futures.tallies(row.run, control=CONTROL, stopped=Reason.STOPPED.value)
                for email, tally in tallies.items():
                    found[email] = _sum(found.get(email, OwnerTally()), tally)
        return found

    def problem(self) -> str:
        """Return why the run is not complete, if the server ended without a failure; empty if the run is complete."""
        try:
            runs = self.runs()
        except StoreError as error:
            return str(error)
        if not runs:
            return "the server ended before it began a run"
        last = _failed(runs) or runs[-1]
        if last.state is RunState.COMPLETED:
            return ""
        if last.state is RunState.RUNNING:
            return f"the server ended before run {last.run} had an end"
        return f"run {last.run} {_VERBS[last.state]}: {last.cause or 'no cause is recorded'}"

    def recorded_cause(self) -> str:
        """Return the recorded cause of the failed run; empty if none is recorded or the database cannot be read."""
        try:
            failed = _failed(self.runs())
        except StoreError:
            # The exit of the process stays the problem.
            return ""
        return (failed.cause or "") if failed else ""

    def _path(self) -> Path | None:
        return next(self._state.glob("*/apps/*/futures.db"), None)


_VERBS = {RunState.FAILED: "failed", RunState.STOPPED: "was stopped"}


def _sum(one: OwnerTally, two: OwnerTally) -> OwnerTally:
    return replace(
        one,
        asked=one.asked + two.asked,
        answered=one.answered + two.answered,
        failed=one.failed + two.failed,
        last_failure=two.last_failure or one.last_failure,
    )


def _failed(runs: Sequence[RunRow]) -> RunRow | None:
    return next((row for row in runs if row.state is RunState.FAILED), None)
