"""A project in the form of syft-flwr 0.5 runs over real processes after bootstrap: data, weights and run configuration."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

pytestmark = pytest.mark.e2e

DS, DO1, DO2 = "ds@x.org", "do1@x.org", "do2@x.org"
_COMMAND = str(Path(sys.executable).parent / "syft-flwr")

_PYPROJECT = f"""\
[project]
name = "old-app"
version = "1.0.0"
dependencies = ["syft_flwr==0.5.3"]

[tool.flwr.app]
publisher = "me"

[tool.flwr.app.components]
serverapp = "old_app.server_app:app"
clientapp = "old_app.client_app:app"

[tool.flwr.app.config]
num-server-rounds = 2
partition-id = 0
num-partitions = 1

[tool.syft_flwr]
app_name = "{DS}_old-app_1795667394"
datasites = ["{DO1}", "{DO2}"]
aggregator = "{DS}"
transport = "syftbox"
"""
_SERVER_APP = """\
import os
from pathlib import Path

import numpy as np
from flwr.common import Context, ndarrays_to_parameters
from flwr.server import ServerApp, ServerAppComponents, ServerConfig

from syft_flwr.strategy import FedAvgWithModelSaving


def server_fn(context: Context) -> ServerAppComponents:
    strategy = FedAvgWithModelSaving(
        save_path=Path(os.environ["OUTPUT_DIR"]) / "weights",
        fraction_fit=1.0,
        min_available_clients=2,
        initial_parameters=ndarrays_to_parameters([np.zeros(3), np.zeros((2, 2), dtype="float32")]),
    )
    return ServerAppComponents(strategy=strategy, config=ServerConfig(num_rounds=context.run_config["num-server-rounds"]))


app = ServerApp(server_fn=server_fn)
"""
_CLIENT_APP = """\
import numpy as np
from flwr.client import ClientApp, NumPyClient
from flwr.common import Context


class Client(NumPyClient):
    def __init__(self, number):
        self.number = number

    def fit(self, parameters, config):
        return [array + array.dtype.type(self.number) for array in parameters], 1, {}

    def evaluate(self, parameters, config):
        return 0.5, 1, {"accuracy": 0.5}


def client_fn(context: Context):
    from syft_flwr.utils import get_syftbox_dataset_path, run_syft_flwr

    if not run_syft_flwr():
        raise RuntimeError("the data are missing")
    return Client(int((get_syftbox_dataset_path() / "number").read_text())).to_client()


app = ClientApp(client_fn=client_fn)
"""


def test_project_of_0_5_runs_after_bootstrap(tmp_path: Path) -> None:
    project, package = tmp_path / "old", tmp_path / "old" / "old_app"
    package.mkdir(parents=True)
    (project / "pyproject.toml").write_text(_PYPROJECT)
    (package / "__init__.py").touch()
    (package / "server_app.py").write_text(_SERVER_APP)
    (package / "client_app.py").write_text(_CLIENT_APP)
    data = [tmp_path / name for name in ("one", "two")]
    for path, number in zip(data, (1, 3), strict=True):
        path.mkdir()
        (path / "number").write_text(str(number))

    for command in (
        ["bootstrap", str(project)],
        ["run", str(project), *(f"-m{path}" for path in data), "--output-dir", str(tmp_path / "output")],
    ):
        done = subprocess.run([_COMMAND, *command], capture_output=True, text=True, timeout=110, check=False)
        assert done.returncode == 0, done.stdout + done.stderr

    files = {path.name: load_file(path) for path in (tmp_path / "output" / "weights").iterdir()}
    assert sorted(files) == [f"parameters_round_{number}.safetensors" for number in range(3)]
    for number in range(3):
        arrays = files[f"parameters_round_{number}.safetensors"]
        np.testing.assert_array_equal(arrays["layer_0"], np.full(3, 2.0 * number))
        np.testing.assert_array_equal(arrays["layer_1"], np.full((2, 2), 2.0 * number, dtype="float32"))
