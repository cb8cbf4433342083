"""``syft-flwr track`` without any package of a tracker: the runs that it refuses."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import Result
from loguru import logger
from synthetic_runs import DS, RUN, SyntheticHome, begun, serving
from typer.testing import CliRunner

from syft_flwr.cli.app import app
from syft_flwr.runs.events import RunEnded


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SyntheticHome]:
    monkeypatch.setenv("SYFT_FLWR_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("SYFTBOX_EMAIL", DS)
    monkeypatch.chdir(tmp_path)
    yield SyntheticHome(tmp_path / "state")
    logger.remove()


def track(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["track", *map(str, arguments)])


def test_run_of_a_data_owner_is_not_tracked(home: SyntheticHome) -> None:
    home.serve(role="datasite")
    home.record(serving(1), "datasite")

    result = track(RUN, "--tracker", "tensorboard")

    assert result.exit_code == 2
    assert f"run {RUN} is that of the data owner {DS}, and only an aggregator has trackers" in result.stderr


def test_run_without_a_record_is_not_tracked(home: SyntheticHome) -> None:
    home.serve()

    result = track(RUN, "--tracker", "tensorboard")

    assert result.exit_code == 1
    assert f"run {RUN} has no metrics that a tracker can get" in result.stderr


def test_run_without_a_tracker_needs_a_name(home: SyntheticHome) -> None:
    home.serve()
    home.record([begun(), RunEnded("completed")])

    result = track()

    assert result.exit_code == 2
    reason, step = result.stderr.splitlines()
    assert reason == f"Error: no tracker is named, and run {RUN} had none"
    assert f"syft-flwr track {RUN} --tracker tensorboard" in step


def test_unknown_tracker_of_the_option_is_refused(home: SyntheticHome) -> None:
    result = track(RUN, "--tracker", "mlflow,wandb")

    assert result.exit_code == 2
    assert "--tracker: 'wandb' is not allowed" in result.stderr
    assert "tensorboard, mlflow" in result.stderr
