"""A whole federation: a data scientist and two hospitals, each a process with its own folder, over emulated SyftBox."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from faithful_settings import faithful_settings
from leftovers import assert_nothing_left, open_participants

from syft_flwr import bootstrap
from syft_flwr.emulators.syftbox import SyftBoxNetwork, SyncOutcome
from syft_flwr.emulators.syftbox.faithful import Window
from syft_flwr.names import may_write

_EXAMPLE = Path(__file__).parents[2] / "examples" / "diabetes"
_DS, _DO1, _DO2 = "ds@research.org", "do1@hospital-a.org", "do2@hospital-b.org"
_DATA = {_DO1: "hospital_a", _DO2: "hospital_b"}
_PATIENCE = 90.0

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(360)]


@pytest.fixture
def network(tmp_path: Path) -> Iterator[SyftBoxNetwork]:
    with SyftBoxNetwork(tmp_path / "machines", [_DS, _DO1, _DO2], settings=faithful_settings(tmp_path)) as network:
        yield network


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    shutil.copytree(_EXAMPLE, folder, ignore=shutil.ignore_patterns("data", "*.ipynb", "output", ".sandbox"))
    bootstrap(folder, aggregator=_DS, datasites=[_DO1, _DO2])
    return folder


def _environment(network: SyftBoxNetwork, email: str, tmp_path: Path) -> dict[str, str]:
    data = _EXAMPLE / "data" / _DATA[email] / "private" if email in _DATA else tmp_path
    return os.environ | {
        "SYFTBOX_CLIENT_CONFIG_PATH": str(network[email].config_path),
        "SYFT_FLWR_HOME": str(tmp_path / "home" / email),
        "SYFT_FLWR_POLL_INTERVAL": "1",
        "DATA_DIR": str(data),
        "OUTPUT_DIR": str(tmp_path / "output"),
    }


def _start(
    command: list[str], network: SyftBoxNetwork, email: str, project: Path, tmp_path: Path
) -> subprocess.Popen[str]:
    return subprocess.Popen(
        command,
        cwd=project,
        env=_environment(network, email, tmp_path),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def _accuracy(tmp_path: Path) -> float:
    """Return the accuracy of the final model on the held-out patients of both hospitals."""
    results = json.loads((tmp_path / "output" / "results.json").read_text())
    return float(results["rounds"][-1]["examination"]["accuracy"])


def _output_of(processes: dict[str, subprocess.Popen[str]]) -> dict[str, str]:
    try:
        return {email: process.communicate(timeout=_PATIENCE)[0] for email, process in processes.items()}
    finally:
        for process in processes.values():
            process.kill()
            process.wait()


def test_private_records_never_leave_the_hospitals(network: SyftBoxNetwork, project: Path, tmp_path: Path) -> None:
    command = [sys.executable, "main.py"]
    # The data scientist starts first: its requests wait for the hospitals' keys.
    processes = {email: _start(command, network, email, project, tmp_path) for email in (_DS, _DO1, _DO2)}
    output = _output_of(processes)
    assert [process.returncode for process in processes.values()] == [0, 0, 0], output
    assert _accuracy(tmp_path) >= 0.72
    assert "Received 2 results and 0 failures" in output[_DS]
    environments = [_environment(network, email, tmp_path) for email in processes]
    with open_participants(environments, peers=[_DO1, _DO2]) as participants:
        assert_nothing_left(network, participants)
    _assert_private(network)


def _assert_private(network: SyftBoxNetwork) -> None:
    """Assert that no synced file contains a line of a hospital's private records."""
    for hospital in _DATA.values():
        lines = (_EXAMPLE / "data" / hospital / "private" / "train.csv").read_bytes().splitlines()[1:]
        for email in (_DS, _DO1, _DO2):
            for path in network[email].datasites.rglob("*"):
                content = path.read_bytes() if path.is_file() else b""
                assert not any(line in content for line in lines), path


def test_training_messages_stay_small(network: SyftBoxNetwork, project: Path, tmp_path: Path) -> None:
    command = [str(Path(sys.executable).parent / "syft-flwr")]
    processes = {
        email: _start([*command, role, str(project)], network, email, project, tmp_path)
        for email, role in ((_DO1, "client"), (_DO2, "client"), (_DS, "server"))
    }
    output = _output_of(processes)
    assert [process.returncode for process in processes.values()] == [0, 0, 0], output
    carried = network.traffic.records("*.request") + network.traffic.records("*.response")
    assert len(carried) > 20
    assert all(record.size < 100_000 for record in carried)
    # SyftBox can take a received file for one of its user, and the server then refuses it.
    refused = network.traffic.records(outcome=SyncOutcome.REFUSED)
    assert [record for record in refused if may_write(record.sender, record.name)] == []


def test_outage_loses_no_reply(network: SyftBoxNetwork, project: Path, tmp_path: Path) -> None:
    command = [sys.executable, "main.py"]
    processes = {email: _start(command, network, email, project, tmp_path) for email in (_DO1, _DO2, _DS)}
    try:
        assert network.traffic.wait_for(lambda record: record.name.endswith(".response"), _PATIENCE)
        with network.link.outage(_DO2):
            for _ in range(3):
                network.scan()
        # The connection breaks in a round, and the push that is under way is lost.
        with network.faithful.hold(_DO2, Window.FRAME, "*/messages/*.response") as held:
            held.wait(timeout=_PATIENCE)
            network.faithful.cut(_DO2)
    finally:
        output = _output_of(processes)
    assert [process.returncode for process in processes.values()] == [0, 0, 0], output
    assert _accuracy(tmp_path) >= 0.72
    assert "1 failures" not in output[_DS]
