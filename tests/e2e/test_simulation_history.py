"""``syft_flwr.run`` returns the rounds and the metrics of each kind of app: the older API and a loop of the app's own."""

from pathlib import Path

import pytest
from tiny_project import DO1, DO2, Tiny

import syft_flwr
from syft_flwr.runs.recorded_run import RecordedRun

pytestmark = pytest.mark.e2e

_LEGACY_SERVER = """\
from flwr.common import ndarrays_to_parameters
from flwr.server import ServerApp, ServerAppComponents, ServerConfig
from flwr.server.strategy import FedAvg
import numpy as np


def mean(metrics):
    return {"accuracy": sum(found["accuracy"] for _, found in metrics) / len(metrics)}


def server_fn(context):
    strategy = FedAvg(
        initial_parameters=ndarrays_to_parameters([np.zeros(2)]),
        evaluate_fn=lambda number, arrays, config: (float(arrays[0][0]), {"norm": float(np.sum(arrays[0]))}),
        evaluate_metrics_aggregation_fn=mean,
    )
    return ServerAppComponents(strategy=strategy, config=ServerConfig(num_rounds=2))


app = ServerApp(server_fn=server_fn)
"""
_LEGACY_CLIENT = """\
from flwr.client import NumPyClient
from flwr.clientapp import ClientApp


class Hospital(NumPyClient):
    def fit(self, parameters, config):
        return [each + 1 for each in parameters], 1, {}

    def evaluate(self, parameters, config):
        return float(parameters[0][0]) / 4, 1, {"accuracy": float(parameters[0][0]) / 2}


app = ClientApp(client_fn=lambda context: Hospital().to_client())
"""
#: A loop over the grid that stores its metrics in Flower's ``Result``, as ``Strategy.start`` does.
_OWN_LOOP = """\
import numpy as np
from flwr.app import ArrayRecord, Message, MetricRecord, RecordDict
from flwr.serverapp import ServerApp
from flwr.serverapp.strategy import Result

app = ServerApp()


@app.main()
def main(grid, context):
    result = Result()
    for number in (1, 2, 3):
        content = RecordDict({"arrays": ArrayRecord([np.zeros(2)])})
        messages = [Message(content, node, "train", group_id=str(number)) for node in grid.get_node_ids()]
        replies = list(grid.send_and_receive(messages, timeout=600))
        losses = [reply.content["metrics"]["loss"] for reply in replies]
        result.train_metrics_clientapp[number] = MetricRecord({"loss": sum(losses) * number})
"""


@pytest.fixture
def tiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Tiny:
    monkeypatch.setenv("SYFT_FLWR_HOME", str(tmp_path / "base"))
    monkeypatch.setenv("TINY_TASK", "")
    # The run writes its output into the current folder.
    monkeypatch.chdir(tmp_path)
    return Tiny(tmp_path)


def test_legacy_history_is_in_the_returned_run(tiny: Tiny) -> None:
    (tiny.folder / "tiny" / "server_app.py").write_text(_LEGACY_SERVER)
    (tiny.folder / "tiny" / "client_app.py").write_text(_LEGACY_CLIENT)

    found = _run(tiny)

    # The round 0 is the evaluation of the initial model.
    assert found.metrics["central"] == {
        "0": {"loss": 0.0, "norm": 0.0},
        "1": {"loss": 1.0, "norm": 2.0},
        "2": {"loss": 2.0, "norm": 4.0},
    }
    assert found.metrics["evaluate"] == {"1": {"loss": 0.25, "accuracy": 0.5}, "2": {"loss": 0.5, "accuracy": 1.0}}
    assert found.total_rounds == 2
    # Each data owner trains and evaluates once in each round.
    assert [(each.number, each.asked, each.answered) for each in found.rounds] == [("1", 4, 4), ("2", 4, 4)]
    assert {email: each.answered for email, each in found.data_owners.items()} == {DO1: 4, DO2: 4}


def test_own_loop_with_a_result_has_rounds_and_metrics(tiny: Tiny) -> None:
    (tiny.folder / "tiny" / "server_app.py").write_text(_OWN_LOOP)

    found = _run(tiny)

    assert found.metrics == {"train": {"1": {"loss": 1.0}, "2": {"loss": 2.0}, "3": {"loss": 3.0}}}
    assert [(each.number, each.asked, each.answered) for each in found.rounds] == [
        ("1", 2, 2),
        ("2", 2, 2),
        ("3", 2, 2),
    ]


def test_own_loop_without_metrics_has_its_rounds(tiny: Tiny) -> None:
    own = _OWN_LOOP.replace("        result.train_metrics_clientapp[number] =", "        metrics =")
    assert own != _OWN_LOOP
    (tiny.folder / "tiny" / "server_app.py").write_text(own)

    found = _run(tiny)

    assert {source for source, rounds in found.metrics.items() if rounds} == set()
    assert [each.number for each in found.rounds] == ["1", "2", "3"]


def _run(tiny: Tiny) -> RecordedRun:
    found = syft_flwr.run(tiny.folder, tiny.data)
    assert isinstance(found, RecordedRun)
    assert found, found.cause
    return found
