"""The places of the trackers: their folder or address, and the lock that keeps two processes from giving one the same run."""

import shlex
from collections.abc import Mapping
from pathlib import Path

from syft_flwr.tracking.failure_text import shown_address
from syft_flwr.tracking.mlflow_tracker import URI, MlflowTracker
from syft_flwr.tracking.tensorboard_tracker import TensorBoardTracker
from syft_flwr.tracking.tracker import Tracker

_TENSORBOARD = "tensorboard"
#: The names of trackers, for people.
TITLES = {_TENSORBOARD: TensorBoardTracker.title, "mlflow": MlflowTracker.title}


def tracker_of(name: str, folder: Path) -> Tracker:
    """Return the tracker of a name.

    Args:
        name: as in the setting ``tracking``.
        folder: the folder of the run, for TensorBoard.
    """
    return TensorBoardTracker(folder) if has_folder(name) else MlflowTracker()


def folder_of_app(records: Path, chosen: Path | None) -> Path:
    """Return the folder with the event files of an app.

    Args:
        records: the folder of the records, which is kept also for a local run.
        chosen: the setting ``tensorboard_folder``; by default a folder beside that of the records.
    """
    return chosen or records.parent / _TENSORBOARD


def folder_of_run(folder: Path, app: str, run: int) -> Path:
    """Return the folder with the event files of one run."""
    return folder / f"{app}-{run}"


def has_folder(name: str) -> bool:
    """Return whether the place of a tracker is a folder of this machine."""
    return name == _TENSORBOARD


def place_of(name: str, folder: Path, environ: Mapping[str, str]) -> str:
    """Return the folder or the address of a tracker, without a login.

    Args:
        name: as in the setting ``tracking``.
        folder: the folder of the app, for TensorBoard.
        environ: the environment of the tracker.
    """
    return str(folder) if has_folder(name) else shown_address(environ.get(URI, ""))


def shown_place(name: str, place: str) -> str:
    """Return the place of a tracker as a person uses it: a command for TensorBoard, an address for MLflow."""
    return shlex.join(["tensorboard", "--logdir", place]) if has_folder(name) else place


def lock_of(record: Path, name: str) -> Path:
    """Return the lock file of a tracker for the run of this record."""
    return record.with_suffix(f".{name}.lock")
