"""The folder with Flower's sources, and the data of its examples."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

_HERE = Path(__file__).parent
sys.path[:0] = [str(_HERE)]

_FOLDER = "SYFT_FLWR_TEST_FLOWER"
_PACKAGES = (
    "torch",
    "torchvision",
    "flwr_datasets",
    "pandas",
    "sklearn",
    "xgboost",
    "sqlalchemy",
    "wandb",
    "tensorboard",
)


@pytest.fixture(scope="session")
def flower_source() -> Path:
    """Return the checkout of Flower's repository that the environment names."""
    if not os.environ.get(_FOLDER):
        pytest.skip(f"{_FOLDER} does not name a checkout of Flower's repository")
    return Path(os.environ[_FOLDER]).absolute()


@pytest.fixture(scope="session")
def example_data(flower_source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with data for all examples."""
    missing = [name for name in _PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        pytest.skip(f"these packages are not installed: {', '.join(missing)}; use `make test-flower`")
    folder = tmp_path_factory.mktemp("data")
    command = [sys.executable, "-m", "flowerkit.data", str(folder)]
    subprocess.run(command, check=True, cwd=folder, env=os.environ | {"PYTHONPATH": str(_HERE)}, timeout=300)
    return folder
