"""Flower's own examples run as they are: each message is equal, bit by bit, to that under Flower's in-memory grid."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from flowerkit.examples import EXAMPLES, Example

_HERE = Path(__file__).parent
_CONFORMANCE = _HERE.parent / "conformance"
_AGGREGATOR = "ds@university.example"
_LIMIT = 400

RUNS = [(name, clients) for name, example in EXAMPLES.items() for clients in example.clients]

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(2 * _LIMIT)]


class Run:
    """A run of a copy of an example, in a folder of its own."""

    def __init__(self, folder: Path, example: Example, source: Path, data: Path) -> None:
        self.folder, self.example, self.data = folder, example, data
        self.project = folder / "project"
        self.work = folder / "work"
        shutil.copytree(source / "examples" / example.name, self.project)
        # The data sets are found by their names in the current folder.
        shutil.copytree(data, self.work)

    def start(self, *command: str) -> None:
        """Run a command in the folder of the data, and show its output if it fails."""
        environ = os.environ | {
            "FLOWER_TRACE": str(self.folder / "trace"),
            "PYTHONPATH": os.pathsep.join([str(_HERE / "stand_ins"), str(_HERE), str(_CONFORMANCE)]),
            # The results of PyTorch and of linear algebra depend on the number of threads.
            "OMP_NUM_THREADS": "1",
            "HF_HOME": str(self.folder / "hub"),
            "HF_HUB_OFFLINE": "1",
            "WANDB_MODE": "offline",
            "FLWR_TELEMETRY_ENABLED": "0",
        }
        done = subprocess.run(
            command, cwd=self.work, env=environ, capture_output=True, text=True, timeout=_LIMIT, check=False
        )
        logs = "".join(f"\n--- {log.name}\n{log.read_text()[-4000:]}" for log in self.folder.glob("logs/*.log"))
        assert done.returncode == 0, f"{done.stdout[-3000:]}{done.stderr[-6000:]}{logs}"

    def trace(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in (self.folder / "trace").read_text().splitlines()]

    def result(self, name: str) -> Any:
        """Return the content of a file that the server left in the current folder."""
        path = self.work / name
        if path.suffix == ".pt":
            import torch

            return {key: value.numpy().tobytes() for key, value in torch.load(path).items()}
        return path.read_bytes()


def run_flower(run: Run, clients: int) -> Run:
    package = run.example.package
    order = {
        "project": str(run.project),
        "server_app": f"{package}.server_app:app",
        "client_app": f"{package}.client_app:app",
        "clients": clients,
        "run_config": run.example.run_config,
        "node_configs": run.example.node_configs(clients, run.data),
    }
    run.start(sys.executable, "-m", "flowerkit.reference_run", json.dumps(order))
    return run


def run_ours(run: Run, clients: int) -> Run:
    owners = [f"do{partition}@hospital-{partition}.example" for partition in range(clients)]
    ours = str(Path(sys.executable).parent / "syft-flwr")
    run.start(ours, "bootstrap", str(run.project), "-a", _AGGREGATOR, *(f"-d{owner}" for owner in owners))
    options = [f"-m{run.data}" for _ in owners]
    for config in run.example.node_configs(clients, run.data):
        options += ["--node-config", _as_text(config)]
    if run.example.run_config:
        options += ["--run-config", _as_text(run.example.run_config)]
    run.start(ours, "run", str(run.project), *options, "--log-dir", str(run.folder / "logs"))
    return run


def _as_text(config: dict[str, Any]) -> str:
    return " ".join(f"{key}={json.dumps(value)}" for key, value in config.items())


@pytest.mark.parametrize(("name", "clients"), RUNS)
def test_example_gives_the_messages_of_flower(
    name: str, clients: int, flower_source: Path, example_data: Path, tmp_path: Path
) -> None:
    example = EXAMPLES[name]
    theirs = run_flower(Run(tmp_path / "theirs", example, flower_source, example_data), clients)
    ours = run_ours(Run(tmp_path / "ours", example, flower_source, example_data), clients)

    trace = theirs.trace()
    assert ours.trace() == trace
    assert not any("error" in message for message in trace)
    # A loop of push without pull has no replies in the trace.
    assert {message["way"] for message in trace} >= {"send", "reply"}
    for result in example.results:
        assert ours.result(result) == theirs.result(result)
