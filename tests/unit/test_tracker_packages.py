"""A tracker that cannot be used is one error at the start, with the next step; no tracker costs no import."""

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from tiny_project import DS, Tiny

import syft_flwr
from syft_flwr.config import load_settings
from syft_flwr.errors import ConfigError
from syft_flwr.fl_orchestrator import run_server
from syft_flwr.tracking.tracker_packages import require_trackers

_URI = {"MLFLOW_TRACKING_URI": "http://127.0.0.1:5000"}


@pytest.mark.parametrize(
    ("name", "package"), [("tensorboard", "tensorboardX"), ("mlflow", "mlflow")], ids=["tensorboard", "mlflow"]
)
def test_missing_package_is_an_error_with_its_extra(name: str, package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # As on a machine without it, whether this one has it or not.
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ConfigError, match=f"needs the Python package {package}, which is not installed") as raised:
        require_trackers([name], _URI)
    assert f'pip install ".[{name}]"' in raised.value.hint


def test_local_run_without_the_package_starts_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    monkeypatch.setenv("SYFT_FLWR_TRACKING", "tensorboard")
    tiny = Tiny(tmp_path)
    monkeypatch.setenv("SYFT_FLWR_HOME", str(tmp_path / "home"))
    with pytest.raises(ConfigError, match="tracking with TensorBoard needs"):
        syft_flwr.run(tiny.folder, tiny.data, output_dir=tmp_path / "output")
    assert not (tmp_path / "home").exists()
    assert not (tmp_path / "output").exists()


def test_server_without_the_package_writes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    tiny = Tiny(tmp_path)
    project = tiny.folder / "pyproject.toml"
    project.write_text(project.read_text() + 'tracking = ["tensorboard"]\n')
    data_dir = tmp_path / "SyftBox"
    data_dir.mkdir()
    for name, value in {"SYFTBOX_EMAIL": DS, "SYFTBOX_FOLDER": data_dir, "SYFT_FLWR_HOME": tmp_path / "home"}.items():
        monkeypatch.setenv(name, str(value))
    with pytest.raises(ConfigError, match="tracking with TensorBoard needs"):
        run_server(tiny.folder)
    assert not (tmp_path / "home").exists()
    assert not list(data_dir.iterdir())


@pytest.mark.skipif(find_spec("mlflow") is None, reason="mlflow is not installed")
@pytest.mark.parametrize("environ", [{}, {"MLFLOW_TRACKING_URI": " "}])
def test_missing_address_of_mlflow_is_an_error(environ: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match="MLFLOW_TRACKING_URI is not set"):
        require_trackers(["mlflow"], environ)


def test_unknown_tracker_is_an_error_with_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"tracking \(environment SYFT_FLWR_TRACKING\): 'wandb' is not allowed"
    ) as raised:
        load_settings(environ={"HOME": str(tmp_path), "SYFT_FLWR_TRACKING": "mlflow,wandb"})
    assert "tensorboard, mlflow" in raised.value.hint


@pytest.mark.parametrize("value", ["3", '[["mlflow"]]', '{ mlflow = "yes" }', "true"])
def test_tracking_that_is_no_list_of_names_is_an_error(value: str, tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text(f"[tool.syft_flwr]\ntracking = {value}\n")
    with pytest.raises(ConfigError, match=r"tracking \(.*\): .* is not allowed"):
        load_settings(tmp_path, environ={"HOME": str(tmp_path)})


def test_project_can_name_the_trackers(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text('[tool.syft_flwr]\ntracking = ["tensorboard", "mlflow", "mlflow"]\n')
    assert load_settings(tmp_path, environ={"HOME": str(tmp_path)}).tracking == ("tensorboard", "mlflow")


def test_calls_of_a_run_import_no_package_of_a_tracker() -> None:
    code = (
        "import sys; from syft_flwr.fl_orchestrator import syftbox_flwr_client, syftbox_flwr_server; "
        "print(sorted({'mlflow', 'tensorboardX', 'tensorboard', 'requests'} & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "[]\n"
