"""The content of a tracker, read back by the programs of its users: TensorBoard's reader, and MLflow's client."""

from pathlib import Path
from typing import Any, Protocol

import pytest

from syft_flwr.tracking.mlflow_tracker import ENVIRONMENT, EXPERIMENT, RUN_TAG, URI, MlflowTracker
from syft_flwr.tracking.tensorboard_tracker import TensorBoardTracker
from syft_flwr.tracking.tracker import Tracker
from trackingkit.written_record import APP, RUN

#: Steps with their values, by key.
Points = dict[str, list[tuple[int, float]]]


class Place(Protocol):
    """The place of one tracker. Its environment is that of the process."""

    name: str

    def open(self) -> Tracker:
        """Return the tracker of another process that serves the run."""

    def points(self, run: int = RUN, app: str = APP) -> Points:
        """Return all points of a run."""

    def told(self) -> dict[str, str]:
        """Return the texts about the run, by a short name."""


class FolderPlace:
    """A folder with the event files of runs."""

    name = "tensorboard"

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        monkeypatch.setenv("SYFT_FLWR_TENSORBOARD_FOLDER", str(folder))

    def open(self) -> Tracker:
        return TensorBoardTracker(self.folder / f"{APP}-{RUN}")

    def _read(self, run: int, app: str) -> Any:
        from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

        # 0 is for all points in place of a sample.
        accumulator = EventAccumulator(str(self.folder / f"{app}-{run}"), {"scalars": 0, "tensors": 0})
        accumulator.Reload()
        return accumulator

    def points(self, run: int = RUN, app: str = APP) -> Points:
        read = self._read(run, app)
        return {key: [(each.step, each.value) for each in read.Scalars(key)] for key in read.Tags()["scalars"]}

    def told(self) -> dict[str, str]:
        read = self._read(RUN, APP)
        found: dict[str, str] = {}
        for key in read.Tags()["tensors"]:
            text = read.Tensors(key)[-1].tensor_proto.string_val[0].decode()
            name = key.removesuffix("/text_summary")
            if name in {"run", "end"}:
                lines = [line.strip().partition(": ") for line in text.splitlines()]
                found |= {head: rest.strip('"') for head, _, rest in lines}
            else:
                found[name] = text.strip()
        return found


class ServerPlace:
    """An experiment of an MLflow server."""

    name = "mlflow"

    def __init__(self, uri: str, experiment: str, monkeypatch: pytest.MonkeyPatch) -> None:
        for variable, value in {**ENVIRONMENT, URI: uri, EXPERIMENT: experiment}.items():
            monkeypatch.setenv(variable, value)
        self.uri = uri
        self._experiment = experiment

    def open(self) -> Tracker:
        return MlflowTracker()

    @property
    def client(self) -> Any:
        from mlflow.tracking import MlflowClient

        return MlflowClient(tracking_uri=self.uri)

    def runs(self) -> list[Any]:
        """Return all runs of the experiment."""
        experiment = self.client.get_experiment_by_name(self._experiment)
        return list(self.client.search_runs([experiment.experiment_id])) if experiment else []

    def _only_run(self, run: int) -> Any:
        (found,) = self.client.search_runs(
            [self.client.get_experiment_by_name(self._experiment).experiment_id], f"tags.`{RUN_TAG}` = '{run}'"
        )
        return found

    def points(self, run: int = RUN, app: str = APP) -> Points:
        found = self._only_run(run)
        history = {key: self.client.get_metric_history(found.info.run_id, key) for key in found.data.metrics}
        return {key: [(each.step, each.value) for each in metrics] for key, metrics in history.items()}

    def told(self) -> dict[str, str]:
        found = self._only_run(RUN)
        tags = {
            name.removeprefix("syft_flwr.").removeprefix("version."): text for name, text in found.data.tags.items()
        }
        states = {"FINISHED": "completed", "FAILED": "failed", "KILLED": "stopped", "RUNNING": ""}
        return {**tags, **found.data.params, "state": states[found.info.status]}
