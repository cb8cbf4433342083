"""Writes the metrics of a run to an MLflow server, with the package mlflow-skinny (extra ``mlflow``).

MLflow's own environment variables name the server, the login and the experiment.
"""

import contextlib
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from syft_flwr.tracking.failure_text import shown_address, shown_failure
from syft_flwr.tracking.metric_keys import parameter_key
from syft_flwr.tracking.metric_points import MetricPoint
from syft_flwr.tracking.probe import require_answer
from syft_flwr.tracking.tracker import TrackedEnd, TrackedFacts, TrackerError

URI, EXPERIMENT, EXPERIMENT_ID = "MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_NAME", "MLFLOW_EXPERIMENT_ID"
#: For the process of the tracker, unless the person has set them: it repeats calls itself, and is ended at the end of a run.
ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
}
#: The tag with the id of the run, by which a process that continues the run finds it.
RUN_TAG = "syft_flwr.run"
_STATUS = {"completed": "FINISHED", "failed": "FAILED", "stopped": "KILLED", "interrupted": "KILLED"}
#: Limits of MLflow for one call, and for one value.
_MOST_METRICS, _MOST_OTHERS = 1_000, 100
_MOST_PARAMETER, _MOST_TAG = 500, 5_000


class MlflowTracker:
    """A run of an MLflow server.

    Args:
        environ: the environment of this process.
    """

    title = "MLflow"
    advice = f"start the server, or correct {URI} or the login"

    def __init__(self, environ: Mapping[str, str] = os.environ) -> None:
        self._uri = environ.get(URI, "")
        self._experiment = environ.get(EXPERIMENT, "")
        self._experiment_id = environ.get(EXPERIMENT_ID, "")
        self._client: Any = None
        self._run = ""
        #: The keys of which the server had points when the run began here.
        self._old: frozenset[str] = frozenset()

    def seek(self) -> None:
        with self._calls():
            require_answer(self._uri)

    def begin(self, facts: TrackedFacts) -> None:
        with self._calls():
            if self._client is None:
                from mlflow.tracking import MlflowClient

                self._client = MlflowClient(tracking_uri=self._uri)
            experiment = self._experiment_id or self._find_experiment(self._experiment or facts.app)
            run = self._find_run(experiment, facts.run) or self._create_run(experiment, facts)
            self._run, self._old = run.info.run_id, frozenset(run.data.metrics)
            if run.info.status != "RUNNING":
                # A person may have ended the run of a process that was killed.
                self._client.update_run(self._run, status="RUNNING")
            self._log_parameters(facts.parameters, known=run.data.params)

    def held(self, key: str) -> Mapping[int, int]:
        if key not in self._old:
            return {}
        with self._calls():
            return Counter(metric.step for metric in self._client.get_metric_history(self._run, key))

    def log(self, points: Sequence[MetricPoint]) -> None:
        from mlflow.entities import Metric, RunTag

        metrics = [
            Metric(point.key, point.value, _milliseconds(point.time), point.step)
            for point in points
            if not isinstance(point.value, str)
        ]
        # MLflow has no texts over steps: the tag of a text has the latest one.
        texts = {point.key: point.value[:_MOST_TAG] for point in points if isinstance(point.value, str)}
        with self._calls():
            # The end of this process would lose values that MLflow sends later.
            for batch in _parts(metrics, _MOST_METRICS):
                self._client.log_batch(self._run, metrics=batch, synchronous=True)
            for batch in _parts([RunTag(key, text) for key, text in texts.items()], _MOST_OTHERS):
                self._client.log_batch(self._run, tags=batch, synchronous=True)

    def end(self, end: TrackedEnd) -> None:
        from mlflow.entities import RunTag

        told = {"syft_flwr.cause": end.cause, "syft_flwr.losses": end.losses}
        with self._calls():
            tags = [RunTag(name, text[:_MOST_TAG]) for name, text in told.items() if text]
            if tags:
                self._client.log_batch(self._run, tags=tags, synchronous=True)
            self._client.set_terminated(self._run, _STATUS.get(end.state, "FAILED"), _milliseconds(end.time))

    def close(self) -> None:
        """Do nothing: MLflow keeps no connection that needs an end."""

    def _find_experiment(self, name: str) -> str:
        from mlflow.exceptions import MlflowException

        found = self._client.get_experiment_by_name(name)
        if found is None:
            try:
                return str(self._client.create_experiment(name))
            except MlflowException:
                # Another run may have created it at the same moment.
                found = self._client.get_experiment_by_name(name)
                if found is None:
                    raise
        if found.lifecycle_stage != "active":
            raise TrackerError(f"the experiment {name!r} was deleted: restore it, or set {EXPERIMENT} to another name")
        return str(found.experiment_id)

    def _find_run(self, experiment: str, run: str) -> Any:
        found = self._client.search_runs([experiment], f"tags.`{RUN_TAG}` = '{run}'", max_results=1)
        return found[0] if found else None

    def _create_run(self, experiment: str, facts: TrackedFacts) -> Any:
        tags = {
            RUN_TAG: facts.run,
            "syft_flwr.app": facts.app,
            "syft_flwr.aggregator": facts.aggregator,
            **{f"syft_flwr.version.{parameter_key(name)}": text for name, text in facts.versions.items()},
        }
        started = _milliseconds(facts.started) if facts.started else None
        return self._client.create_run(experiment, started, tags, f"{facts.app} {facts.run}")

    def _log_parameters(self, parameters: Mapping[str, str], known: Mapping[str, str]) -> None:
        """Log the parameters that the run does not have. MLflow refuses another value of one that it has."""
        from mlflow.entities import Param

        keys = {parameter_key(name): text[:_MOST_PARAMETER] for name, text in parameters.items()}
        for batch in _parts([Param(key, text) for key, text in keys.items() if key not in known], _MOST_OTHERS):
            self._client.log_batch(self._run, params=batch, synchronous=True)

    @contextlib.contextmanager
    def _calls(self) -> Iterator[None]:
        """Raise a TrackerError for each error of a call inside the block."""
        try:
            yield
        except (TrackerError, ImportError):
            raise
        except Exception as error:  # noqa: BLE001 - MLflow passes on the errors of its parts, such as those of a database
            raise TrackerError(f"{shown_address(self._uri)}: {shown_failure(error)}") from None


def _milliseconds(time: datetime) -> int:
    return round(time.timestamp() * 1_000)


def _parts(items: Sequence[Any], most: int) -> Iterable[Sequence[Any]]:
    return [items[start : start + most] for start in range(0, len(items), most)]
