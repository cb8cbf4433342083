"""A tracker that refuses, hangs, fails or dies delays no run, and is one warning with the reason and the file of all metrics."""

import os
import re
import signal
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from pathlib import Path

import psutil
import pytest
from tcp_relay import TcpRelay
from trackingkit.failing_server import black_hole, failing_port, refused_port, silent_port
from trackingkit.mlflow_server import MlflowServer
from trackingkit.places import FolderPlace, ServerPlace
from trackingkit.training import client_app, server_app, train
from trackingkit.written_record import DS
from waiting import eventually

from syft_flwr import open_run
from syft_flwr.tracking.tracker_process import LITTLE_PATIENCE, PATIENCE

pytest.importorskip("mlflow", reason="make tracking-test installs MLflow")
pytest.importorskip("tensorboard", reason="make tracking-test installs TensorBoard")

_SECRET = "s3cret-of-ann"
#: Seconds that a busy machine may add to the end of a run.
_MARGIN = 4.0


class Clock:
    """Notes when the last round of a run was over."""

    def __init__(self) -> None:
        self._over = 0.0

    def note(self, _: int) -> None:
        self._over = time.monotonic()

    @property
    def since(self) -> float:
        return time.monotonic() - self._over


def warnings(logged: list[str]) -> list[str]:
    return [line for line in logged if line.startswith(("WARNING", "ERROR"))]


def metrics_file(home: Path) -> str:
    (table,) = home.glob("*/apps/*/runs/*.aggregator.metrics.csv")
    assert "loss" in table.read_text()
    return str(table)


def track(monkeypatch: pytest.MonkeyPatch, port: int, login: str = "") -> None:
    monkeypatch.setenv("SYFT_FLWR_TRACKING", "mlflow")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://{login}127.0.0.1:{port}")


@pytest.mark.parametrize(
    ("server", "patience", "reason"),
    [
        (refused_port, LITTLE_PATIENCE["fails"], "Connection refused"),
        (black_hole, LITTLE_PATIENCE["sought"], "it did not answer before the end of the run"),
        (silent_port, LITTLE_PATIENCE["sought"], "it did not answer before the end of the run"),
        (lambda: failing_port(500, "no database"), LITTLE_PATIENCE["fails"], "500"),
    ],
    ids=["refused", "black-hole", "silent", "500"],
)
def test_unreachable_tracker_is_one_warning_and_no_delay(
    server: Callable[[], AbstractContextManager[int]],
    patience: float,
    reason: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    logged: list[str],
) -> None:
    clock = Clock()
    with server() as port:
        track(monkeypatch, port)
        context = train(tmp_path / "home", server_app(3, clock.note), client_app())
        assert clock.since < patience + _MARGIN
    assert context.run_id
    (warning,) = warnings(logged)
    assert "MLflow" in warning
    assert reason in warning
    assert metrics_file(tmp_path / "home") in warning
    assert f"run {context.run_id}: its metrics d" in warning
    assert f"`syft-flwr track {context.run_id}`" in warning
    # Also one that came after the end of the run.
    recorded = open_run(context.run_id, email=DS, home=tmp_path / "home")
    assert [each.text for each in recorded.warnings] == [warning.removeprefix("WARNING ")]
    assert recorded.state == "completed"


def test_refused_login_shows_no_secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, logged: list[str]) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", f"token-{_SECRET}")
    with failing_port(403, f"wrong login ann:{_SECRET} and token-{_SECRET}") as port:
        track(monkeypatch, port, f"ann:{_SECRET}@")
        train(tmp_path / "home", server_app(2, lambda _: eventually_warned(logged)), client_app())
    (warning,) = warnings(logged)
    assert "403" in warning
    assert f"http://127.0.0.1:{port}" in warning
    assert not any(_SECRET in line for line in logged)
    records = [path.read_text(errors="replace") for path in (tmp_path / "home").rglob("*.aggregator.*")]
    assert records
    assert not any(_SECRET in text for text in records)


def eventually_warned(logged: list[str]) -> None:
    eventually(lambda: warnings(logged), "a warning")


def test_tracker_that_comes_back_gets_all_points(
    server_place: ServerPlace,
    running_server: MlflowServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    logged: list[str],
    patience: None,
) -> None:
    def has_in_place(run_round: int) -> bool:
        runs = server_place.runs()
        return bool(runs) and any(step == run_round for step, _ in history(runs[0].info.run_id))

    def history(run: str) -> list[tuple[int, float]]:
        return [(each.step, each.value) for each in server_place.client.get_metric_history(run, "train/loss")]

    with TcpRelay(running_server.port) as relay, refused_port() as nothing:

        def disturb(server_round: int) -> None:
            if server_round == 1:
                eventually(lambda: has_in_place(1), "the tracker has the first round")
                relay.target = nothing
                relay.cut()
            if server_round == 3:
                eventually_warned(logged)
                relay.target = running_server.port
                eventually(lambda: any("has all metrics so far" in line for line in logged), "the tracker is back")

        monkeypatch.setenv("SYFT_FLWR_TRACKING", "mlflow")
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{relay.port}")
        run = train(tmp_path / "home", server_app(4, disturb), client_app()).run_id
    assert len(warnings(logged)) == 1
    assert server_place.points(run)["train/loss"] == [(1, 0.5), (2, 0.5), (3, 0.5), (4, 0.5)]
    (found,) = server_place.runs()
    assert found.info.status == "FINISHED"


def test_slow_tracker_delays_no_round(
    server_place: ServerPlace,
    running_server: MlflowServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    logged: list[str],
    patience: None,
) -> None:
    rounds: list[float] = []
    with TcpRelay(running_server.port, rate=4_000) as relay:
        monkeypatch.setenv("SYFT_FLWR_TRACKING", "mlflow")
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{relay.port}")
        began = time.monotonic()
        run = train(tmp_path / "home", server_app(5, lambda _: rounds.append(time.monotonic())), client_app()).run_id
        ended = time.monotonic()
    # The tracker needed longer for the whole than the run for its rounds.
    assert rounds[-1] - began < ended - rounds[-1]
    assert warnings(logged) == []
    assert len(server_place.points(run)["train/loss"]) == 5


def test_tracker_that_takes_too_long_is_left_at_the_end(
    running_server: MlflowServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, logged: list[str]
) -> None:
    clock = Clock()
    with TcpRelay(running_server.port, rate=100) as relay:
        track(monkeypatch, relay.port)
        train(tmp_path / "home", server_app(2, clock.note), client_app())
        assert clock.since < PATIENCE + _MARGIN
    (warning,) = warnings(logged)
    assert metrics_file(tmp_path / "home") in warning


def test_killed_process_of_a_tracker_is_one_warning(
    folder_place: FolderPlace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, logged: list[str]
) -> None:
    def kill(server_round: int) -> None:
        if server_round == 1:
            tracker = eventually(trackers, "the process of the tracker")
            os.kill(tracker[0].pid, signal.SIGKILL)

    monkeypatch.setenv("SYFT_FLWR_TRACKING", "tensorboard")
    train(tmp_path / "home", server_app(2, kill), client_app())
    (warning,) = warnings(logged)
    assert re.search(r"did not reach TensorBoard: its process ended with status -9", warning)


def trackers() -> list[psutil.Process]:
    """Return the processes of trackers of this process."""
    return [each for each in psutil.Process().children() if "syft_flwr.tracking" in each.cmdline()]


def test_folder_that_cannot_be_made_is_one_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, logged: list[str], patience: None
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("SYFT_FLWR_TRACKING", "tensorboard")
    monkeypatch.setenv("SYFT_FLWR_TENSORBOARD_FOLDER", str(tmp_path / "file" / "boards"))
    train(tmp_path / "home", server_app(2), client_app())
    (warning,) = warnings(logged)
    assert "file cannot be written: Not a directory" in warning


def test_full_disk_is_one_warning_and_leaves_whole_events(
    small_disk: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, logged: list[str], patience: None
) -> None:
    place = FolderPlace(small_disk / "boards", monkeypatch)

    def disturb(server_round: int) -> None:
        if server_round == 1:
            eventually(lambda: list(place.folder.glob("*/events*")), "the file of the events")
            with (small_disk / "filler").open("wb", buffering=0) as filler, suppress(OSError):
                while filler.write(bytes(4096)):
                    pass
        # More rounds than the last page of the file has room for.
        if server_round == 30:
            eventually_warned(logged)
            (small_disk / "filler").unlink()

    monkeypatch.setenv("SYFT_FLWR_TRACKING", "tensorboard")
    run = train(tmp_path / "home", server_app(40, disturb), client_app()).run_id
    (warning,) = warnings(logged)
    assert "No space left on device" in warning
    assert place.points(run)["train/loss"] == [(number, 0.5) for number in range(1, 41)]
