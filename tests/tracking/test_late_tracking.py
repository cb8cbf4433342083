"""``syft-flwr track``: a recorded run reaches its trackers later, whole, without a doubled point, and with its end."""

import json
import os
import signal
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import psutil
import pytest
from click.testing import Result
from loguru import logger
from trackingkit.failing_server import failing_port, refused_port
from trackingkit.places import FolderPlace, Place, ServerPlace
from trackingkit.written_record import APP, BEGAN, DO1, DS, RUN, WrittenRecord
from typer.testing import CliRunner
from waiting import eventually

from syft_flwr._store.futures import Futures
from syft_flwr._store.states import RunState
from syft_flwr.cli.app import app
from syft_flwr.files import write_private
from syft_flwr.locks import ProcessLock
from syft_flwr.runs.local_run import LocalFacts, LocalRun, LocalSeat, describe_local_run
from syft_flwr.tracking.places import lock_of
from syft_flwr.tracking.tracker_process import TrackerProcess

OWNERS = ["do1_hospital-a.org", "do2_hospital-b.org"]


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Return the folder of the app in the home of the aggregator."""
    monkeypatch.setenv("SYFT_FLWR_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("SYFTBOX_EMAIL", DS)
    # Else the command would set it for later tests.
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    yield tmp_path / "home" / DS / "apps" / APP
    logger.remove()


@pytest.fixture
def record(home: Path) -> WrittenRecord:
    return WrittenRecord(home / "runs")


def note_run(home: Path, state: RunState) -> None:
    """Write the run and its end into the database of the aggregator."""
    with closing(Futures(home / "futures.db")) as database:
        database.runs.begin(RUN, BEGAN, alone=False)
        database.runs.end(RUN, state, "", BEGAN)


def track(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["track", *map(str, arguments)])


def test_ended_run_is_sent_once_with_its_end(place: Place, record: WrittenRecord) -> None:
    record.begin()
    record.round(1)
    record.round(2)
    record.end("failed", "the app raised")

    first = track(RUN, "--tracker", place.name)
    second = track(RUN, "--tracker", place.name, "--format", "json")

    assert first.exit_code == 0, first.output
    assert "it got 6 new points" in first.stdout
    (told,) = json.loads(second.stdout)["trackers"]
    assert (told["tracker"], told["new-points"], told["complete"]) == (place.name, 0, True)
    expected = [(1, 0.5), (2, 0.5)]
    assert place.points() == {"train/loss": expected} | {f"train/loss/{owner}": expected for owner in OWNERS}
    assert place.told()["state"] == "failed"


def test_second_sending_writes_no_file_of_events(folder_place: FolderPlace, record: WrittenRecord) -> None:
    record.begin()
    record.round(1)
    record.end()
    track(RUN, "--tracker", "tensorboard")
    (before,) = folder_place.folder.glob("*/events*")
    content = before.read_bytes()
    track(RUN, "--tracker", "tensorboard")
    assert list(folder_place.folder.glob("*/events*")) == [before]
    assert before.read_bytes() == content


def test_run_that_still_runs_is_sent_until_now(place: Place, record: WrittenRecord) -> None:
    record.begin()
    record.round(1)
    assert track(RUN, "--tracker", place.name).exit_code == 0
    assert place.points()["train/loss"] == [(1, 0.5)]
    assert place.told().get("state", "") == ""
    record.round(2)
    record.end()
    assert track(RUN, "--tracker", place.name).exit_code == 0
    assert place.points()["train/loss"] == [(1, 0.5), (2, 0.5)]
    assert place.told()["state"] == "completed"


def test_end_that_only_the_database_has_is_sent(place: Place, record: WrittenRecord, home: Path) -> None:
    record.begin()
    record.round(1)
    note_run(home, RunState.STOPPED)
    assert track(RUN, "--tracker", place.name).exit_code == 0
    assert place.told()["state"] == "stopped"


def test_killed_local_run_is_sent_as_stopped(server_place: ServerPlace, tmp_path: Path) -> None:
    facts = LocalFacts(
        app=APP,
        transport="syftbox",
        project=tmp_path,
        output=tmp_path,
        seats=(LocalSeat(email=DS, role="aggregator", log=tmp_path / "log"),),
        started=BEGAN,
    )
    local = LocalRun(tmp_path / "home" / "local" / "20261128-093000-0000abcd", facts)
    record = WrittenRecord(local.records(DS))
    record.begin()
    record.round(1)
    write_private(*describe_local_run(local.folder, facts))
    assert track(local.name, "--tracker", "mlflow").exit_code == 0
    # Nothing continues it.
    assert [each.info.status for each in server_place.runs()] == ["KILLED"]
    assert server_place.points()["train/loss"] == [(1, 0.5)]


def test_trackers_and_folder_of_the_run_are_the_default(
    record: WrittenRecord, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    note_run(home, RunState.COMPLETED)
    record.begin(settings={"tracking": "tensorboard", "tensorboard_folder": str(tmp_path / "boards")})
    record.round(1)
    record.end()
    shown = track()
    assert shown.stdout == f"TensorBoard: it got 3 new points: tensorboard --logdir {tmp_path}/boards\n"
    assert FolderPlace(tmp_path / "boards", monkeypatch).points()["train/loss"] == [(1, 0.5)]


def test_tracker_that_fails_is_two_lines_and_stops_no_other(
    folder_place: FolderPlace, record: WrittenRecord, monkeypatch: pytest.MonkeyPatch
) -> None:
    record.begin()
    record.round(1)
    record.end()
    monkeypatch.setenv("SYFT_FLWR_TRACKING", "mlflow,tensorboard")
    with refused_port() as port:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://ann:s3cret@127.0.0.1:{port}")
        shown = track(RUN)
    assert shown.exit_code == 1
    reason, step = shown.stderr.splitlines()
    assert reason == (
        f"Error: trackers miss metrics of run {RUN}: MLflow has none: http://127.0.0.1:{port}: Connection refused"
    )
    assert (
        f"Start the server, or correct MLFLOW_TRACKING_URI or the login. Then start `syft-flwr track {RUN}` again"
        in step
    )
    assert "TensorBoard: it got 3 new points" in shown.stdout
    assert folder_place.points()["train/loss"] == [(1, 0.5)]


def test_refused_login_of_a_later_sending_shows_no_secret(
    record: WrittenRecord, monkeypatch: pytest.MonkeyPatch
) -> None:
    record.begin()
    record.end()
    with failing_port(403, "wrong login ann:s3cret") as port:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://ann:s3cret@127.0.0.1:{port}")
        shown = track(RUN, "--tracker", "mlflow", "--format", "json")
    assert shown.exit_code == 1
    assert "403" in json.loads(shown.stdout)["error"]["message"]
    assert "s3cret" not in shown.output


def test_run_that_its_own_process_sends_is_refused(folder_place: FolderPlace, record: WrittenRecord) -> None:
    record.begin()
    record.round(1)
    with ProcessLock(lock_of(record.path, "tensorboard"), "a tracker"):
        shown = track(RUN, "--tracker", "tensorboard")
    assert shown.exit_code == 1
    assert "another process gives its metrics to TensorBoard at this moment" in shown.stderr
    assert not folder_place.folder.exists()


def test_killed_tracker_that_has_points_misses_some(folder_place: FolderPlace, record: WrittenRecord) -> None:
    record.begin()
    record.round(1)
    folder = folder_place.folder / f"{APP}-{RUN}"
    arguments = ["tensorboard", str(record.path), str(RUN), APP, DS, str(folder)]
    process = TrackerProcess("TensorBoard", "correct it", RUN, Path("metrics.csv"), arguments, dict(os.environ))
    try:
        eventually(lambda: process.has_points, "the tracker has points")
        (child,) = (each for each in psutil.Process().children() if "syft_flwr.tracking" in each.cmdline())
        assert track(RUN, "--tracker", "tensorboard").exit_code == 1
        os.kill(child.pid, signal.SIGKILL)
    finally:
        process.ask_to_end()
        process.end()
    told = f"run {RUN}: some of its metrics did not reach TensorBoard: its process ended with status -9"
    assert process.warning.startswith(told)
    assert process.warning.endswith(f"To send them, `syft-flwr track {RUN}`")
    record.round(2)
    record.end()
    assert track(RUN, "--tracker", "tensorboard").exit_code == 0
    assert folder_place.points()["train/loss"] == [(1, 0.5), (2, 0.5)]


def test_end_of_a_later_sending_is_the_status_in_mlflow(server_place: ServerPlace, record: WrittenRecord) -> None:
    record.begin()
    record.reply(1, DO1, {"loss": 0.5})
    assert track(RUN, "--tracker", "mlflow").exit_code == 0
    assert [each.info.status for each in server_place.runs()] == ["RUNNING"]
    record.end()
    assert track(RUN, "--tracker", "mlflow").exit_code == 0
    assert [each.info.status for each in server_place.runs()] == ["FINISHED"]
