"""The places of the trackers: a folder for TensorBoard, and a real MLflow server. Skipped where their packages are missing."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
pytest.register_assert_rewrite("trackingkit")

from trackingkit.mlflow_server import MlflowServer  # noqa: E402 - on the path from here on
from trackingkit.places import FolderPlace, Place, ServerPlace  # noqa: E402
from waiting import PATIENCE  # noqa: E402

from syft_flwr.tracking import tracker_process  # noqa: E402


# Before the first test, so that the server is no process that this test leaves running.
@pytest.fixture(scope="session", autouse=True)
def running_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MlflowServer]:
    """Return a server for the tests that do not stop it."""
    with MlflowServer(tmp_path_factory.mktemp("mlflow")) as server:
        yield server


@pytest.fixture(autouse=True)
def no_own_tracker(monkeypatch: pytest.MonkeyPatch) -> None:
    """Remove the tracker of the person who runs the tests."""
    for name in [name for name in os.environ if name.startswith("MLFLOW_")]:
        monkeypatch.delenv(name)


@pytest.fixture
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a tracker have more time at the end of a run: a busy machine must not fail a test of its content."""
    monkeypatch.setattr(tracker_process, "PATIENCE", PATIENCE)
    monkeypatch.setattr(tracker_process, "LITTLE_PATIENCE", {})


@pytest.fixture
def server_place(
    running_server: MlflowServer, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> ServerPlace:
    """Return an experiment of the server for this test alone."""
    return ServerPlace(running_server.uri, request.node.name, monkeypatch)


@pytest.fixture
def folder_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FolderPlace:
    return FolderPlace(tmp_path / "tensorboard", monkeypatch)


@pytest.fixture(params=["folder_place", "server_place"], ids=["tensorboard", "mlflow"])
def place(request: pytest.FixtureRequest) -> Place:
    """Return the place of each tracker in turn."""
    found: Place = request.getfixturevalue(request.param)
    return found
