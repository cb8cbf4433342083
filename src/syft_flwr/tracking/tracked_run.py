"""The trackers of the run that a server begins."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path

from syft_flwr.clock import Clock
from syft_flwr.log import logger
from syft_flwr.runs.events import LoggedWarning
from syft_flwr.runs.metric_files import metric_paths
from syft_flwr.runs.record import record_path, runs_folder
from syft_flwr.runs.record_reader import read_entries
from syft_flwr.runs.stream import EventStream
from syft_flwr.tracking.mlflow_tracker import ENVIRONMENT
from syft_flwr.tracking.places import folder_of_app, folder_of_run, place_of, shown_place, tracker_of
from syft_flwr.tracking.tracker_process import TrackerProcess

#: Characters by which the warning of a tracker is known: it begins with the run and the tracker.
_HEAD = 80


class TrackedRun:
    """Starts a process for each tracker when the run begins, and ends them after the run.

    Args:
        names: the trackers, as in the setting ``tracking``.
        app_home: the folder of the app in the home of the aggregator.
        app: the name of the app.
        aggregator: the email of the aggregator.
        folder: the setting ``tensorboard_folder``; by default a folder beside those of the records.
        environ: the environment of this process.
        clock: the clock of the record.
    """

    def __init__(
        self,
        names: Sequence[str],
        app_home: Path,
        app: str,
        aggregator: str,
        folder: Path | None,
        environ: Mapping[str, str],
        clock: Clock,
    ) -> None:
        self._names = names
        self._app = app
        self._aggregator = aggregator
        self._records = runs_folder(app_home)
        self._folder = folder_of_app(self._records, folder)
        self._environ = environ
        self._clock = clock
        self._run = 0
        self._processes: list[TrackerProcess] = []

    def begin(self, run: int) -> None:
        """Start the trackers of a run."""
        self._run = run
        for name in self._names:
            self._start(name, run)

    def _start(self, name: str, run: int) -> None:
        record = record_path(self._records, run, "aggregator")
        _, metrics = metric_paths(self._records, run)
        folder = folder_of_run(self._folder, self._app, run)
        kind = tracker_of(name, folder)
        arguments = [name, str(record), str(run), self._app, self._aggregator, str(folder)]
        environ = {**ENVIRONMENT, **self._environ}
        try:
            process = TrackerProcess(kind.title, kind.advice, run, metrics, arguments, environ)
        except OSError as error:
            text = "run {}: the process for {} cannot be started: {}; the run continues without it"
            logger.warning(text, run, kind.title, error.strerror or error)
            return
        self._processes.append(process)
        place = shown_place(name, place_of(name, self._folder, self._environ))
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
        self._record([each.warning for each in processes if each.warning])

    def _record(self, warnings: Sequence[str]) -> None:
        """Add the warnings to the record of the run that came after its process had closed it."""
        if not warnings:
            return
        path = record_path(self._records, self._run, "aggregator")
        known: set[str] = set()
        # Why it cannot be read was logged before.
        with suppress(OSError):
            known = {entry.text("text")[:_HEAD] for entry in read_entries(path) if entry.event == LoggedWarning.name}
        if late := [text for text in warnings if text[:_HEAD] not in known]:
            with closing(EventStream(self._records, "aggregator", self._clock)) as stream:
                for text in late:
                    stream.emit(self._run, LoggedWarning("warning", text))


@contextmanager
def tracking(run: TrackedRun) -> Iterator[None]:
    """End the trackers of a run after the block."""
    try:
        yield
    finally:
        run.end()
