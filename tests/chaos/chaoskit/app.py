"""A training with a result that depends on each message: on its bits, its order and the number of its effects.

A data owner adds noise that depends on the model, its node id, and the number of messages in its state. The final arrays
differ if a message is lost or repeated, or starts from a state that is not the last committed one.
"""

import hashlib
import json
import os
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from flwr.app import ArrayRecord, ConfigRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg

#: Number of values: too large for ``INLINE_TOTAL``, so both directions use objects.
SIZE = 20_000
_PATIENCE = 300.0

client_app = ClientApp()


@client_app.train()
def train(message: Message, context: Context) -> Message:
    """Add noise to the model, with a seed from the model, the node id and the message count."""
    count = int(context.state["seen"]["messages"]) if "seen" in context.state else 0
    context.state["seen"] = MetricRecord({"messages": count + 1})
    [model] = message.content["arrays"].to_numpy_ndarrays()
    seed = hashlib.sha256(model.tobytes() + str((context.node_id, count)).encode()).digest()
    trained = model + np.random.default_rng(list(seed)).normal(size=SIZE)
    metrics = MetricRecord({"num-examples": 1 + context.node_id % 7, "seen": count + 1})
    return Message(RecordDict({"arrays": ArrayRecord([trained]), "metrics": metrics}), reply_to=message)


class Watched(FedAvg):
    """FedAvg that records the replies of each round, and begins a round only when it is permitted."""

    def __init__(self, folder: Path, datasites: int) -> None:
        super().__init__(fraction_evaluate=0.0, min_train_nodes=datasites, min_available_nodes=datasites)
        self._folder = folder
        self.seen: list[list[int]] = []

    def configure_train(  # type: ignore[no-untyped-def]
        self, server_round, arrays, config, grid
    ):
        wait_until(lambda: server_round <= permitted_rounds(self._folder))
        return super().configure_train(server_round, arrays, config, grid)

    def aggregate_train(self, server_round, replies):  # type: ignore[no-untyped-def]
        replies = list(replies)
        self.seen.append(sorted(int(r.content["metrics"]["seen"]) for r in replies if r.has_content()))
        (self._folder / f"round-{server_round}").touch()
        return super().aggregate_train(server_round, replies)


def make_server_app(folder: Path, rounds: int, datasites: int) -> ServerApp:
    """Return a ServerApp that writes its result to ``result.json`` in ``folder``."""
    app = ServerApp()

    @app.main()
    def main(grid: Grid, context: Context) -> None:
        strategy = Watched(folder, datasites)
        start = ArrayRecord([np.zeros(SIZE)])
        result = strategy.start(grid, start, num_rounds=rounds, train_config=ConfigRecord(), timeout=3600)
        [model] = result.arrays.to_numpy_ndarrays()
        write(folder / "result.json", {"model": hashlib.sha256(model.tobytes()).hexdigest(), "seen": strategy.seen})

    return app


def permitted_rounds(folder: Path) -> int:
    try:
        return int((folder / "permitted").read_text())
    except (FileNotFoundError, ValueError):
        return 0


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + _PATIENCE
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError("the test does not permit the next round")
        time.sleep(0.02)


def write(path: Path, value: object) -> None:
    """Write JSON to ``path``. A reader sees the complete file or none."""
    temporary = path.with_suffix(f".{os.getpid()}")
    temporary.write_text(json.dumps(value))
    temporary.rename(path)
