"""Whole runs with trackers, by settings alone: both strategy APIs, and only at the aggregator."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path

import psutil
import pytest
from tiny_project import Tiny
from trackingkit.failing_server import refused_port, silent_port
from trackingkit.places import FolderPlace, Place, ServerPlace
from trackingkit.training import client_app, context, legacy_client_app, legacy_server_app, server_app, train
from trackingkit.written_record import APP, DO1, DS, RUN, WrittenRecord
from waiting import PATIENCE, eventually

from syft_flwr.config import load_settings
from syft_flwr.errors import ConfigError
from syft_flwr.fl_orchestrator import syftbox_flwr_server
from syft_flwr.fl_orchestrator.participant import Participant
from syft_flwr.transport.memory import MemoryNetwork

pytest.importorskip("mlflow", reason="make tracking-test installs MLflow")
pytest.importorskip("tensorboard", reason="make tracking-test installs TensorBoard")

OWNERS = ["do1_hospital-a.org", "do2_hospital-b.org"]


@pytest.mark.usefixtures("patience")
def test_strategy_of_the_message_api_is_tracked(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, logged: list[str]
) -> None:
    monkeypatch.setenv("SYFT_FLWR_TRACKING", place.name)
    run = train(tmp_path / "home", server_app(3), client_app()).run_id
    points = place.points(run)
    assert points["train/loss"] == [(1, 0.5), (2, 0.5), (3, 0.5)]
    assert points["evaluate/accuracy"] == [(1, 0.75), (2, 0.75), (3, 0.75)]
    assert points["central/central-loss"][0] == (0, 1.0)
    for owner in OWNERS:
        assert points[f"train/loss/{owner}"] == [(1, 0.5), (2, 0.5), (3, 0.5)]
        assert points[f"evaluate/num-examples/{owner}"] == [(1, 1.0), (2, 1.0), (3, 1.0)]
    assert [line for line in logged if line.startswith(("WARNING", "ERROR"))] == []


@pytest.mark.usefixtures("patience")
def test_strategy_of_the_older_api_is_tracked(place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SYFT_FLWR_TRACKING", place.name)
    run = train(tmp_path / "home", legacy_server_app(2), legacy_client_app()).run_id
    points = place.points(run)
    assert points["evaluate/loss"] == [(1, 0.25), (2, 0.25)]
    assert points["evaluate/accuracy"] == [(1, 0.75), (2, 0.75)]
    for owner in OWNERS:
        assert points[f"evaluate/loss/{owner}"] == [(1, 0.25), (2, 0.25)]
        assert points[f"evaluate/accuracy/{owner}"] == [(1, 0.75), (2, 0.75)]


@pytest.mark.usefixtures("patience")
@pytest.mark.parametrize(("error", "status"), [(ValueError("no data"), "FAILED"), (KeyboardInterrupt(), "KILLED")])
def test_end_of_a_run_is_the_status_in_mlflow(
    error: BaseException, status: str, server_place: ServerPlace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(server_round: int) -> None:
        if server_round == 1:
            raise error

    monkeypatch.setenv("SYFT_FLWR_TRACKING", "mlflow")
    with suppress(KeyboardInterrupt):
        train(tmp_path / "home", server_app(2, fail), client_app())
    (run,) = server_place.runs()
    assert run.info.status == status
    assert run.info.end_time
    assert run.data.tags["syft_flwr.cause"]


@pytest.mark.usefixtures("patience")
def test_both_trackers_get_the_same_points(
    folder_place: FolderPlace, server_place: ServerPlace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SYFT_FLWR_TRACKING", "tensorboard,mlflow")
    run = train(tmp_path / "home", server_app(2), client_app()).run_id
    in_folder, in_server = folder_place.points(run), server_place.points(run)
    assert in_folder.keys() == in_server.keys()
    for key, points in in_server.items():
        assert dict(in_folder[key]) == pytest.approx(dict(points))


def test_data_owner_with_the_setting_starts_no_tracker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[list[str]] = []

    def look(server_round: int) -> None:
        started.extend(each.cmdline() for each in psutil.Process().children())

    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    train(tmp_path / "home", server_app(2, look), client_app(), owner_tracking=("tensorboard", "mlflow"))
    assert [command for command in started if "syft_flwr.tracking" in command] == []


def test_missing_address_is_an_error_before_anything_is_sent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setenv("SYFT_FLWR_TRACKING", "mlflow")
    aggregator = load_settings(email=DS, home=tmp_path / "home")
    with closing(MemoryNetwork().transport(DS)) as transport, pytest.raises(ConfigError, match="MLFLOW_TRACKING_URI"):
        syftbox_flwr_server(server_app(1), context(), [DO1], APP, client=Participant(aggregator, transport))
    assert not list(tmp_path.rglob("*"))


@pytest.mark.e2e
@pytest.mark.parametrize("chosen", [True, False], ids=["chosen-folder", "default-folder"])
def test_local_run_is_tracked_in_a_folder_that_stays(
    chosen: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny = Tiny(tmp_path)
    project = tiny.folder / "pyproject.toml"
    project.write_text(project.read_text() + 'tracking = ["tensorboard"]\n')
    home = tmp_path / "home"
    environ = os.environ | {"TINY_TASK": "train", "SYFT_FLWR_HOME": str(home)}
    if chosen:
        # A relative path is meant from the folder of the person.
        environ["SYFT_FLWR_TENSORBOARD_FOLDER"] = "boards"
    done = subprocess.run(
        tiny.command("--output-dir", str(tmp_path / "output"), "--format", "json"),
        cwd=tmp_path,
        env=environ,
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (folder,) = (tmp_path / "boards").glob("tiny-*") if chosen else home.glob("local/*/*/apps/tiny/tensorboard/tiny-*")
    told = json.loads(done.stdout)
    assert (told["trackers"], told["warnings"]) == ({"tensorboard": str(folder.parent)}, 0)
    read = FolderPlace(folder.parent, monkeypatch).points(int(folder.name.removeprefix("tiny-")), "tiny")
    assert read["train/loss"] == [(1, 0.5), (2, 0.5)]
    assert read["evaluate/accuracy"] == [(1, 0.75), (2, 0.75)]


@pytest.mark.e2e
def test_local_run_shows_its_trackers_and_their_warning(tmp_path: Path) -> None:
    tiny = Tiny(tmp_path)
    environ = os.environ | {"TINY_TASK": "train", "SYFT_FLWR_HOME": str(tmp_path / "home")}
    with refused_port() as port:
        environ |= {
            "SYFT_FLWR_TRACKING": "tensorboard,mlflow",
            "MLFLOW_TRACKING_URI": f"http://ann:s3cret@127.0.0.1:{port}",
        }
        done = subprocess.run(
            tiny.command(), cwd=tmp_path, env=environ, capture_output=True, text=True, timeout=200, check=False
        )
    assert done.returncode == 0, done.stdout + done.stderr
    (boards,) = tmp_path.glob("home/local/*/*/apps/tiny/tensorboard")
    lines = done.stdout.splitlines()
    assert f"TensorBoard: tensorboard --logdir {boards}" in lines
    assert f"MLflow: http://127.0.0.1:{port}" in lines
    (warning,) = (line for line in lines if line.startswith("1 warning of ds@research.org, the latest: "))
    assert f"its metrics do not reach MLflow: http://127.0.0.1:{port}: Connection refused" in warning
    assert "`syft-flwr track " in warning
    assert "s3cret" not in done.stdout + done.stderr


#: The process of a run, which waits until it is killed.
_SERVER = (
    "import os, sys, time; from pathlib import Path; from syft_flwr.tracking.tracker_process import TrackerProcess; "
    "TrackerProcess('a tracker', '', 1, Path('metrics'), sys.argv[1:], os.environ); time.sleep(600)"
)


def kill_server(arguments: list[str], is_due: Callable[[], object], before: Callable[[], object]) -> float:
    """Kill the server of a run when the time has come; return the seconds until the process of its tracker had ended."""
    server = subprocess.Popen([sys.executable, "-c", _SERVER, *arguments])
    try:
        eventually(lambda: psutil.Process(server.pid).children(), "the tracker has started")
        eventually(is_due, "the time to kill the server")
        children = psutil.Process(server.pid).children()
        before()
    finally:
        server.kill()
        server.wait()
    killed = time.monotonic()
    _, alive = psutil.wait_procs(children, timeout=PATIENCE)
    assert not alive
    return time.monotonic() - killed


def test_tracker_of_a_killed_server_writes_all_and_ends(folder_place: FolderPlace, tmp_path: Path) -> None:
    record = WrittenRecord(tmp_path / "runs")
    record.begin()
    record.round(1)
    arguments = ["tensorboard", str(record.path), str(RUN), APP, DS, str(folder_place.folder / f"{APP}-{RUN}")]
    kill_server(arguments, lambda: list(folder_place.folder.glob("*/events*")), lambda: record.round(2))
    assert folder_place.points()["train/loss"] == [(1, 0.5), (2, 0.5)]


def test_hanging_tracker_of_a_killed_server_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    record = WrittenRecord(tmp_path / "runs")
    record.begin()
    with silent_port() as port:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{port}")
        took = kill_server(["mlflow", str(record.path), str(RUN), APP, DS, ""], lambda: True, lambda: None)
    assert took < 20
