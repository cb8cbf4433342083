"""The node configuration of real processes: each data owner finds its own part of the data."""

import json
import math
import subprocess
from pathlib import Path

import pytest
from tiny_project import DO1, DO2, Tiny

from syft_flwr.fl_orchestrator.nodes import node_id_of


def configs(tiny: Tiny, folder: Path, *options: str) -> list[dict[str, object]]:
    """Return the node configuration that the app of each data owner found in a run."""
    command = tiny.command("--output-dir", str(folder / "output"), "--log-dir", str(folder / "logs"), *options)
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    reports = json.loads((folder / "output" / "reports.json").read_text())
    found = [reports[str(node_id_of(email))] for email in (DO1, DO2)]
    return [{key: value for key, value in report.items() if key != "text"} for report in found]


@pytest.fixture
def tiny(tmp_path, monkeypatch) -> Tiny:
    monkeypatch.setenv("TINY_TASK", "node")
    monkeypatch.setenv("SYFT_FLWR_HOME", str(tmp_path / "home"))
    return Tiny(tmp_path)


def test_node_config_replaces_the_defaults(tiny, tmp_path):
    secrets = tmp_path / "node.toml"
    secrets.write_text('partition-id = 7\nlimit = inf\ndb.url = "a \\"b\\"\'"\n')
    assert configs(tiny, tmp_path, "--node-config", str(secrets), "--node-config", "") == [
        {"partition-id": 7, "num-partitions": 2, "limit": math.inf, "db.url": 'a "b"\''},
        {"partition-id": 1, "num-partitions": 2},
    ]


def test_two_data_owners_get_partitions_0_and_1(tiny, tmp_path):
    assert configs(tiny, tmp_path) == [
        {"partition-id": 0, "num-partitions": 2},
        {"partition-id": 1, "num-partitions": 2},
    ]
