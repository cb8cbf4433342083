"""Gives the metrics of a recorded run to trackers again: they missed some, or the run had no tracker."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from syft_flwr.errors import ConfigError, RunError
from syft_flwr.locks import ProcessLock, is_held
from syft_flwr.runs.history import RunHistory
from syft_flwr.runs.local_run import INTERRUPTED
from syft_flwr.runs.recorded_run import RecordedRun
from syft_flwr.tracking.failure_text import shown_failure
from syft_flwr.tracking.follower import FAILS, HAS_POINTS, RecordFollower
from syft_flwr.tracking.places import TITLES, folder_of_app, folder_of_run, lock_of, tracker_of
from syft_flwr.tracking.tracker import TrackedEnd, TrackedFacts


@dataclass(frozen=True, slots=True)
class Delivery:
    """The metrics of a run that one tracker got."""

    #: As in the setting ``tracking``.
    name: str
    #: The number of points that it did not have before.
    new: int
    #: Why points are missing there, and the next step; empty if it has all.
    reason: str = ""
    advice: str = ""
    #: Whether it has some points.
    has_points: bool = False

    @property
    def problem(self) -> str:
        """Return how many points are missing, and why; empty if there are none."""
        return self.reason and f"{TITLES[self.name]} has {'some' if self.has_points else 'none'}: {self.reason}"


class LateTracking:
    """Gives the metrics of one run to trackers, in this process, and with the environment of this process.

    Args:
        run: the run of an aggregator.
        folder: the setting ``tensorboard_folder``; by default that of the run.

    Raises:
        ConfigError: it is the run of a data owner.
        RunError: the run has no record.
        StorageError: its record cannot be read.
    """

    def __init__(self, run: RecordedRun, folder: Path | None) -> None:
        if run.role != "aggregator":
            raise ConfigError(
                f"run {run.id} is that of the data owner {run.participant}, and only an aggregator has trackers",
                hint="Start this command at the aggregator of the run, or with --email and the aggregator's email.",
            )
        if not run.has_record:
            raise RunError(
                f"run {run.id} has no metrics that a tracker can get: its record {run.paths.record} is missing or empty",
                hint="List the runs with `syft-flwr runs`, and choose another one.",
            )
        self._run = run
        settings = RunHistory(run.events()).settings
        #: The trackers that the run had.
        self.names = tuple(name for name in settings.get("tracking", "").split(", ") if name in TITLES)
        own = settings.get("tensorboard_folder")
        #: The folder of the app for TensorBoard.
        self.folder = folder_of_app(run.paths.record.parent, folder or (Path(own) if own else None))

    def give(self, names: Sequence[str]) -> list[Delivery]:
        """Give the trackers all points that they do not have, up to this moment, and the end of the run.

        Raises:
            RunError: the process of the run, or another one, gives one of them the same run at this moment.
            StoreError: a lock cannot be used.
        """
        for name in names:
            if is_held(lock_of(self._run.paths.record, name)):
                raise RunError(
                    f"run {self._run.id}: another process gives its metrics to {TITLES[name]} at this moment, and tries "
                    "again until the end of the run",
                    hint=f"Look there, and start `syft-flwr track {self._run.id}` after the end of the run.",
                )
        return [self._give(name) for name in names]

    def _give(self, name: str) -> Delivery:
        run, reports = self._run, dict[str, str]()
        tracker = tracker_of(name, folder_of_run(self.folder, run.app, run.run_id))

        def note(state: str, reason: str) -> None:
            if state != HAS_POINTS:
                reports.pop(FAILS, None)
            reports[state] = reason

        facts = TrackedFacts(str(run.run_id), run.app, run.participant)
        follower = RecordFollower(tracker, run.paths.record, facts, note, _end_of(run))
        with ProcessLock(lock_of(run.paths.record, name), f"a tracker of run {run.id}"):
            try:
                # Two tries: the second one also reads what came in the meantime.
                follower.run(lambda _: True)
            except ImportError as error:
                # The package is there, and broken.
                note(FAILS, f"{type(error).__name__}: {shown_failure(error)}")
        return Delivery(name, follower.sent, reports.get(FAILS, ""), tracker.advice, HAS_POINTS in reports)


def _end_of(run: RecordedRun) -> TrackedEnd | None:
    """Return the end of a run; None for one that has none. A local run does not continue after its process was killed."""
    ended = run.ended or run.updated
    if ended is None or not (
        run.state in {"completed", "failed", "stopped"} or (run.local and run.state == INTERRUPTED)
    ):
        return None
    losses = json.dumps([loss.as_fields() for loss in run.losses]) if run.losses else ""
    return TrackedEnd(run.state, run.cause or run.refusal, losses, ended)
