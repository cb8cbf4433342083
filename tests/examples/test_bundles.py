"""The bundle that Flower makes of each example has its code, and no data of a participant."""

import tomllib
from pathlib import Path
from typing import Any

import pytest
from flower_bundle import files_in_bundle

pytestmark = pytest.mark.e2e

_NAMES = ("federated-analytics", "pytorch", "secure-aggregation", "xgboost")
_ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("name", _NAMES)
def test_flower_bundle_contains_no_data(trial: Any, tmp_path: Path, name: str) -> None:
    files = files_in_bundle(trial(name).project, tmp_path)
    assert any(file.endswith("/client_app.py") for file in files)
    assert not any(file.startswith(("data/", "scripts/")) for file in files)


@pytest.mark.parametrize("name", _NAMES)
def test_example_is_a_plain_flower_project(name: str) -> None:
    folder = _ROOT / "examples" / name
    tables = tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))["tool"]
    assert "syft_flwr" not in tables
    assert not (folder / "main.py").exists()


@pytest.mark.parametrize("name", _NAMES)
def test_private_and_mock_data_differ(trial: Any, name: str) -> None:
    federation = trial(name)
    for private, mock in zip(federation.data("private"), federation.data("mock"), strict=True):
        (one,), (other,) = private.iterdir(), mock.iterdir()
        assert one.name == other.name
        assert one.read_bytes() != other.read_bytes()
