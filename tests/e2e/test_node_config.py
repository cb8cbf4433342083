"""The node configuration of real processes: each data owner finds its own part of the data."""

import json
import math
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
from tiny_project import DO1, DO2, DS, Tiny

import syft_flwr
from syft_flwr.errors import ConfigError
from syft_flwr.fl_orchestrator.nodes import node_id_of

pytestmark = pytest.mark.e2e

SECRET = "user:pass@host"
DEFAULTS = [{"partition-id": 0, "num-partitions": 2}, {"partition-id": 1, "num-partitions": 2}]


@pytest.fixture
def tiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Tiny:
    monkeypatch.setenv("TINY_TASK", "node")
    monkeypatch.setenv("SYFT_FLWR_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("SYFT_FLWR_NODE_CONFIG", "of-the-caller=1")
    monkeypatch.chdir(tmp_path)
    return Tiny(tmp_path)


def reports(folder: Path) -> list[dict[str, Any]]:
    """Return the facts that the apps of both data owners sent, of the last message."""
    found = json.loads((folder / "reports.json").read_text())
    return [found[str(node_id_of(email))] for email in (DO1, DO2)]


def configs(folder: Path) -> list[dict[str, Any]]:
    return [
        {key: value for key, value in report.items() if key not in ("commands", "mode")} for report in reports(folder)
    ]


def require_success(command: list[str], **options: Any) -> None:
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=120, **options)
    assert done.returncode == 0, done.stdout + done.stderr


def test_two_data_owners_get_partitions_0_and_1(tiny: Tiny, tmp_path: Path) -> None:
    require_success(tiny.command("--output-dir", str(tmp_path / "output")))
    assert configs(tmp_path / "output") == DEFAULTS


def test_values_for_each_data_owner_stay_private(tiny: Tiny, tmp_path: Path) -> None:
    file = tmp_path / "node.toml"
    file.write_text(f"partition-id = 7\nlimit = inf\ndb.url = '{SECRET} \"b\"'\n")
    require_success(
        tiny.command("--output-dir", str(tmp_path / "output"), "--node-config", str(file), "--node-config", "")
    )

    assert configs(tmp_path / "output") == [
        {"partition-id": 7, "num-partitions": 2, "limit": math.inf, "db.url": f'{SECRET} "b"'},
        DEFAULTS[1],
    ]
    first, second = reports(tmp_path / "output")
    assert (first["mode"], second["mode"]) == ("0o600", "")
    assert SECRET not in str(first["commands"])
    kept = [path for top in ("home", "tiny") for path in (tmp_path / top).rglob("*") if path.is_file()]
    assert {path.name for path in kept} >= {"run.json", f"{DO1}.log"}
    assert [path for path in kept if SECRET in path.read_text(errors="replace")] == []
    assert any("db.url" in path.read_text() for path in kept if path.suffix == ".jsonl")


def test_values_of_python_reach_each_data_owner(tiny: Tiny, tmp_path: Path) -> None:
    given = [{"db": {"port": 5432}, "on": True}, None]
    assert syft_flwr.run(tiny.folder, tiny.data, output_dir=tmp_path / "output", node_configs=given)
    assert configs(tmp_path / "output") == [DEFAULTS[0] | {"db.port": 5432, "on": True}, DEFAULTS[1]]


@pytest.mark.parametrize(
    ("given", "named"),
    [
        (["a=1"], "1 for 2 datasites"),
        (["a=1", "b = 2"], f"node configuration of {DO2}: the text at or after 'b'"),
        ([{"a": None}, None], f"node configuration of {DO1}: 'a'"),
        ([3, None], f"node configuration of {DO1}: a int"),
        ({DO1: "a=1"}, "expected a list"),
        ("a=1", "expected a list"),
    ],
)
def test_bad_configurations_start_nothing(given: Any, named: str, tiny: Tiny, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=named):
        syft_flwr.run(tiny.folder, tiny.data, output_dir=tmp_path / "output", node_configs=given)
    assert not (tmp_path / "output").exists()
    assert not (tiny.folder / "logs").exists()


def test_client_takes_its_own_values(tiny: Tiny, tmp_path: Path) -> None:
    command = tiny.command()[0]
    environments = {}
    for email, data in zip((DS, DO1, DO2), (tmp_path, *tiny.data), strict=True):
        config = tmp_path / f"{email}.json"
        config.write_text(json.dumps({"email": email, "data_dir": str(tmp_path / "SyftBox"), "server_url": ""}))
        environments[email] = os.environ | {
            "SYFTBOX_CLIENT_CONFIG_PATH": str(config),
            "OUTPUT_DIR": str(tmp_path),
            "DATA_DIR": str(data),
            "SYFT_FLWR_NODE_CONFIG": "" if email == DO1 else "partition-id=5 size=2.5",
        }
    first = ["--node-config", "partition-id=3", "--node-config", "name='small net'"]
    clients = [
        subprocess.Popen([command, "client", str(tiny.folder), *options], env=environments[email])
        for email, options in ((DO1, first), (DO2, []))
    ]
    try:
        require_success([command, "server", str(tiny.folder)], env=environments[DS])
        assert [client.wait(60) for client in clients] == [0, 0]
    finally:
        for client in clients:
            client.kill()
            client.wait()
    assert configs(tmp_path) == [
        {"partition-id": 3, "num-partitions": 2, "name": "small net"},
        {"partition-id": 5, "num-partitions": 2, "size": 2.5},
    ]
