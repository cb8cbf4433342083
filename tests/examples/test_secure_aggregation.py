"""examples/secure-aggregation: the sum of three of four hospitals is right, and no update of one hospital is visible."""

import io
import pickle
from typing import Any

import numpy as np
import pytest
from flwr.app import Context, RecordDict
from numpy.typing import NDArray

from syft_flwr.fl_orchestrator.nodes import node_id_of

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

#: The defaults of SecAggPlusWorkflow.
_CLIPPING = 8.0
_LEVELS = 2**22
_MODULUS = 2**32
_STEP = 2 * _CLIPPING / _LEVELS

#: Runs the ServerApp of the example, and keeps all that the data scientist sends and receives.
_SPY = """
import os
import pickle
from pathlib import Path

from flwr.serverapp import ServerApp

from secure_aggregation.server_app import main

app = ServerApp()


class Spy:
    def __init__(self, grid):
        self.grid, self.seen = grid, []

    def __getattr__(self, name):
        return getattr(self.grid, name)

    def send_and_receive(self, messages, **options):
        sent = list(messages)
        requests = [plain(message, message.metadata.dst_node_id) for message in sent]
        replies = list(self.grid.send_and_receive(sent, **options))
        self.seen.append((requests, [plain(reply, reply.metadata.src_node_id) for reply in replies]))
        return replies


def plain(message, node):
    if message.has_error():
        return {"node": node, "error": message.error.reason}
    content = message.content
    return {
        "node": node,
        "arrays": [array.numpy() for record in content.array_records.values() for array in record.values()],
        "metrics": {name: dict(record) for name, record in content.metric_records.items()},
        "configs": {name: dict(record) for name, record in content.config_records.items()},
    }


@app.main()
def spy(grid, context):
    spy = Spy(grid)
    main(spy, context)
    Path(os.environ["OUTPUT_DIR"], "seen.pickle").write_bytes(pickle.dumps(spy.seen))
"""


class Observed:
    """A run of the example with the messages of its data scientist: four exchanges in each round."""

    def __init__(self, federation: Any) -> None:
        (federation.project / "secure_aggregation" / "spy.py").write_text(_SPY, encoding="utf-8")
        federation.edit("pyproject.toml", "secure_aggregation.server_app:app", "secure_aggregation.spy:app")
        self.result = federation.run()
        self.seen = pickle.loads((federation.output / "seen.pickle").read_bytes())
        with np.load(federation.output / "model.npz", allow_pickle=False) as model:
            self.weights = model["weights"]


def _data(federation: Any, monkeypatch: pytest.MonkeyPatch) -> dict[int, tuple[NDArray[Any], NDArray[Any]]]:
    from secure_aggregation.task import load_tumours

    tables = {}
    for email, folder in zip(federation.emails, federation.data("private"), strict=True):
        monkeypatch.setenv("DATA_DIR", str(folder))
        context = Context(run_id=1, node_id=2, node_config={}, state=RecordDict(), run_config={})
        tables[node_id_of(email)] = load_tumours(context)
    monkeypatch.delenv("DATA_DIR")
    return tables


def _masked(reply: dict[str, Any]) -> NDArray[Any]:
    """Return the vector with the masks; its first part is the weight of the hospital."""
    lists = [value for record in reply["configs"].values() for value in record.values() if isinstance(value, list)]
    (arrays,) = [value for value in lists if value and bytes(value[0]).startswith(b"\x93NUMPY")]
    _, vector = (np.load(io.BytesIO(array), allow_pickle=False) for array in arrays)
    return np.asarray(vector, dtype=np.int64)


def test_sum_is_right_and_no_update_is_visible(trial: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    federation = trial("secure-aggregation")
    # Almost no noise, so that only the quantisation is left.
    federation.edit("secure_aggregation/task.py", "EPSILON = 1.0", "EPSILON = 1e9")
    federation.edit("pyproject.toml", "num-server-rounds = 10", "num-server-rounds = 2")
    from secure_aggregation.task import train_step

    run = Observed(federation)

    *trained, (dropped_node, _) = _data(federation, monkeypatch).items()
    expected = np.zeros(9)
    for _ in range(2):
        expected = np.mean([train_step(expected, *table) for _, table in trained], axis=0)
    np.testing.assert_allclose(run.weights, expected, rtol=0, atol=4 * _STEP)

    assert len(run.seen) == 2 * 4
    for number, (_, replies) in enumerate(run.seen):
        # The hospital that drops out has replied twice in this round.
        assert len(replies) == (3 if number % 4 == 3 else 4)
        failed = [reply for reply in replies if "error" in reply]
        assert [reply["node"] for reply in failed] == ([dropped_node] if number % 4 == 2 else [])
        # All vectors are masked. The only number is the weight, which is 1 for every hospital.
        good = [reply for reply in replies if "error" not in reply]
        assert not any(reply["arrays"] for reply in good)
        numbers = [list(record.values()) for reply in good for record in reply["metrics"].values()]
        assert numbers == ([[1]] * 3 if number % 4 == 2 else [])

    vectors = {reply["node"]: _masked(reply) for reply in run.seen[2][1] if "error" not in reply}
    assert vectors.keys() == dict(trained).keys()
    for node, table in trained:
        update = train_step(np.zeros(9), *table)
        levels = (update + _CLIPPING) / _STEP
        distance = np.abs(vectors[node] - levels) % _MODULUS
        distance = np.minimum(distance, _MODULUS - distance)
        # By chance, a mask is that small once in 10,000 runs.
        assert distance.min() > 10_000
        assert not any(value.tobytes() in pickle.dumps(run.seen) for value in update)
    assert run.result["failures"] == 2


def test_noise_covers_the_sum_and_the_model_is_good(trial: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    federation = trial("secure-aggregation")
    from secure_aggregation import task

    run = Observed(federation)

    tables = [*_data(federation, monkeypatch).values()]
    (after_first_round,) = run.seen[4 + 2][0][0]["arrays"]
    noise = after_first_round - np.mean([task.train_step(np.zeros(9), *table) for table in tables[:3]], axis=0)
    deviation = task.SENSITIVITY * np.sqrt(2 * np.log(1.25 / task.DELTA)) / task.EPSILON / np.sqrt(3)
    assert np.abs(noise).max() < 6 * deviation
    assert np.sqrt(np.mean(noise**2)) > deviation / 5
    assert len({tuple(request["arrays"][0]) for requests, _ in run.seen[2::4] for request in requests}) == 10

    measurements, malignant = (np.concatenate(part) for part in zip(*tables, strict=True))
    assert task.accuracy(run.weights, measurements, malignant) > 0.85
    # The accuracy is only in the log of its hospital.
    assert "accuracy" in federation.log_of(federation.emails[0])
    assert "accuracy" not in federation.log_of("ds@research.org")
    assert "TooFewPatients" in federation.log_of(federation.emails[3])


def test_simulated_node_gets_its_part_of_the_tumours(trial: Any) -> None:
    trial("secure-aggregation")
    from secure_aggregation.task import load_tumours, public_tumours

    sizes = []
    for number in range(4):
        node = {"partition-id": number, "num-partitions": 4}
        context = Context(run_id=1, node_id=2, node_config={**node}, state=RecordDict(), run_config={})
        sizes.append(len(load_tumours(context)[1]))
    assert sum(sizes) == len(public_tumours()) == 569
    assert min(sizes) >= 100
