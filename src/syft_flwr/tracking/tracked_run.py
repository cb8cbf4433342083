"""The trackers of the run that a server begins."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from syft_flwr.log import logger
from syft_flwr.runs.metric_files import metric_paths
from syft_flwr.runs.record import record_path, runs_folder
from syft_flwr.tracking.failure_text import shown_address
from syft_flwr.tracking.mlflow_tracker import ENVIRONMENT, URI, MlflowTracker
from syft_flwr.tracking.tensorboard_tracker import TensorBoardTracker
from syft_flwr.tracking.tracker_process import TrackerProcess

_TENSORBOARD = "tensorboard"


class TrackedRun:
    """Starts a process for each tracker when the run begins, and ends them after the run.

    Args:
        names: the trackers, as in the setting ``tracking``.
        app_home: the folder of the app in the home of the aggregator.
        app: the name of the app.
        aggregator: the email of the aggregator.
        folder: the setting ``tensorboard_folder``; by default a folder beside those of the records.
        environ: the environment of this process.
    """

    def __init__(
        self,
        names: Sequence[str],
        app_home: Path,
        app: str,
        aggregator: str,
        folder: Path | None,
        environ: Mapping[str, str],
    ) -> None:
        self._names = names
        self._app = app
        self._aggregator = aggregator
        self._records = runs_folder(app_home)
        # Beside the folder of the records, which is kept also for a local run.
        self._folder = folder or self._records.parent / _TENSORBOARD
        self._environ = environ
        self._processes: list[TrackerProcess] = []

    def begin(self, run: int) -> None:
        """Start the trackers of a run."""
        for name in self._names:
            self._start(name, run)

    def _start(self, name: str, run: int) -> None:
        record = record_path(self._records, run, "aggregator")
        _, metrics = metric_paths(self._records, run)
        folder = self._folder / f"{self._app}-{run}"
        is_tensorboard = name == _TENSORBOARD
        kind = TensorBoardTracker if is_tensorboard else MlflowTracker
        arguments = [name, str(record), str(run), self._app, self._aggregator, str(folder)]
        environ = dict(self._environ) if is_tensorboard else {**ENVIRONMENT, **self._environ}
        try:
            process = TrackerProcess(kind.title, kind.advice, run, metrics, arguments, environ)
        except OSError as error:
            text = "run {}: the process for {} cannot be started: {}; the run continues without it"
            logger.warning(text, run, kind.title, error.strerror or error)
            return
        self._processes.append(process)
        place = f"tensorboard --logdir {self._folder}" if is_tensorboard else shown_address(self._environ.get(URI, ""))
        logger.info("run {}: its metrics go to {}: {}", run, kind.title, place)

    def end(self) -> None:
        """Wait for the last points of all trackers, and end their processes."""
        processes, self._processes = self._processes, []
        for each in processes:
            each.ask_to_end()
        with ExitStack() as ends:
            # All of them end, also if a person interrupts the wait for one.
            for each in processes:
                ends.callback(each.end)


@contextmanager
def tracking(run: TrackedRun) -> Iterator[None]:
    """End the trackers of a run after the block."""
    try:
        yield
    finally:
        run.end()
