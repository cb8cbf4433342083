"""Over the real SyftBox: the diabetes example trains its model, and private records never leave the data owners."""

import json
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from child_program import ChildProgram
from real_syftbox import RealSyftBox
from realkit.federation import DO1, DO2, DS, OWNERS, Federation, Training, incomplete
from waiting import eventually

from syft_flwr import bootstrap

_EXAMPLE = Path(__file__).parents[2] / "examples" / "diabetes"
_DATA = {DO1: _EXAMPLE / "data" / "hospital_a" / "private", DO2: _EXAMPLE / "data" / "hospital_b" / "private"}
_PATIENCE = 120.0

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]


def test_example_trains_and_keeps_records_private(connect: Callable[..., RealSyftBox], tmp_path: Path) -> None:
    network = connect()
    project = tmp_path / "project"
    shutil.copytree(_EXAMPLE, project, ignore=shutil.ignore_patterns("data", "*.ipynb", "output", ".sandbox"))
    bootstrap(project, aggregator=DS, datasites=OWNERS)
    programs = {email: _participant(network, project, email, tmp_path) for email in (DS, *OWNERS)}
    try:
        for program in programs.values():
            program.start()
        eventually(
            lambda: not any(program.is_running for program in programs.values()), "the end of the training", _PATIENCE
        )
    finally:
        for program in programs.values():
            program.stop()
    assert [program.exit_code for program in programs.values()] == [0, 0, 0], "\n".join(
        program.tail() for program in programs.values()
    )
    results = json.loads((tmp_path / "output" / "results.json").read_text())
    assert results["rounds"][-1]["examination"]["accuracy"] >= 0.72
    _assert_private(network)


def _participant(network: RealSyftBox, project: Path, email: str, tmp_path: Path) -> ChildProgram:
    environment = {
        **os.environ,
        **network.environment(email),
        "DATA_DIR": str(_DATA.get(email, tmp_path)),
        "OUTPUT_DIR": str(tmp_path / "output"),
    }
    return ChildProgram([sys.executable, "main.py"], project, tmp_path / f"{email}.log", environment)


def _assert_private(network: RealSyftBox) -> None:
    """Assert that no synced file contains a line of a data owner's private records."""
    for data in _DATA.values():
        lines = (data / "train.csv").read_bytes().splitlines()[1:]
        for email in (DS, *OWNERS):
            for path in network.datasites(email).rglob("*"):
                content = path.read_bytes() if path.is_file() else b""
                assert not any(line in content for line in lines), path


@pytest.mark.parametrize("size", [4_000, 1_000_000])
def test_training_ends_without_message_files(train: Callable[..., Federation], size: int) -> None:
    federation = train(Training(rounds=3, size=size))
    rounds = federation.finish()
    assert incomplete(rounds) == []
    assert set(federation.calls().values()) == {1}
    eventually(lambda: not federation.message_files(), "the deletion of every message file", _PATIENCE)
