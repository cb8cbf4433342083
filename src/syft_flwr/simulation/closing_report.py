"""The report at the end of a local run, with one row for each participant."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from syft_flwr._store.states import RunState
from syft_flwr.errors import StorageError
from syft_flwr.runs.finding import recorded_local_run
from syft_flwr.runs.local_run import LocalRun
from syft_flwr.runs.outcome import Loss
from syft_flwr.runs.recorded_run import RecordedRun
from syft_flwr.simulation.federation import Federation
from syft_flwr.simulation.first_cause import FirstCause
from syft_flwr.simulation.stand_in import Usage
from syft_flwr.tracking.places import folder_of_app, has_folder, place_of


@dataclass(frozen=True, slots=True)
class Row:
    """The state of one participant."""

    participant: str
    role: str
    #: starting or running; then completed, failed, or stopped (by the supervisor).
    state: str
    #: None while the process runs; a negative number is the signal that ended it.
    exit_code: int | None
    #: The exit code or the name of the signal, as text; empty while the process runs.
    exit: str
    #: The last round of the participant, empty if it is not known, and the total number of rounds, 0 if it is not known.
    round: str
    total_rounds: int
    #: Requests with a good reply, as the server recorded them; at the server, those to all data owners.
    answers: int
    seconds: float
    #: Requests that are losses, counted in the same way, and the reason of the last one of a data owner, as ``code: text``.
    failures: int
    last_failure: str
    log: Path


@dataclass(frozen=True, slots=True)
class Report:
    """The result of a run."""

    #: Why the run is no success, for example because it failed; empty if it is one.
    problem: str
    rows: tuple[Row, ...]
    #: The OUTPUT_DIR of the server.
    output: Path
    #: Number of requests of the server with a good reply, and number of failed ones.
    answers: int
    failures: int
    #: The records of the run, with its id.
    local: LocalRun
    #: Whether the run wrote a file into the output folder.
    has_output: bool = True
    #: The failed requests, counted by data owner, kind and reason.
    losses: tuple[Loss, ...] = ()
    #: The first failure, if the run is no success.
    first: FirstCause | None = None
    #: The use of each account, if the transport was Google Drive.
    usage: tuple[Usage, ...] = ()
    #: The temporary folder, if ``keep`` was set.
    kept: Path | None = None
    #: The warnings of the aggregator that are about no data owner.
    warnings: tuple[str, ...] = ()
    #: The folder or address of each tracker, by its name in the setting ``tracking``.
    trackers: Mapping[str, str] = field(default_factory=dict)
    #: The run as its aggregator recorded it, if its records were deleted with the temporary folder or are in it.
    unkept: RecordedRun | None = None

    @property
    def succeeded(self) -> bool:
        return not self.problem

    @property
    def was_completed(self) -> bool:
        """Return whether the run was completed, although it may be no success."""
        return self.local.facts.state is RunState.COMPLETED

    @property
    def was_stopped(self) -> bool:
        """Return whether the run was interrupted."""
        return self.local.facts.state is RunState.STOPPED

    @property
    def has_records(self) -> bool:
        """Return whether the records still exist."""
        return self.unkept is None or self.kept is not None

    def recorded(self) -> RecordedRun:
        """Return the run as its aggregator recorded it."""
        # A run that was not completed is false.
        return recorded_local_run(self.local, self.local.aggregator) if self.unkept is None else self.unkept


def own_warnings(local: LocalRun) -> tuple[str, ...]:
    """Return the warnings of the aggregator that are about no data owner. An error is the cause of a failure."""
    try:
        found = recorded_local_run(local, local.aggregator).warnings
    except StorageError:
        # The log has them, too.
        return ()
    return tuple(each.text for each in found if not each.peer and each.level == "warning")


def tracker_places(local: LocalRun, federation: Federation, *, are_kept: bool) -> dict[str, str]:
    """Return the folder or address of each tracker by its name, without a folder that is deleted with the records."""
    chosen = federation.tensorboard_folder
    folder = folder_of_app(local.records(local.aggregator.email), chosen)
    return {
        name: place_of(name, folder, os.environ)
        for name in federation.tracking
        if are_kept or chosen or not has_folder(name)
    }
