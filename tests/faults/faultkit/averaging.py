"""Trainings whose model depends on each random number and on the order of each sum, in both of Flower's APIs.

The ServerApp seeds nothing. Its process kills itself in the middle of the training, once.
"""

import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
from flwr.app import ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.client import NumPyClient
from flwr.clientapp import ClientApp
from flwr.common import ndarrays_to_parameters
from flwr.server import ServerAppComponents, ServerConfig
from flwr.server.strategy import FedAvg as LegacyFedAvg
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg

ROUNDS = 5
#: The round in which the ServerApp kills its process, after the replies of the training.
LAST_ROUND = 3
SIZE = 200


def trained(model: Any, node: int) -> Any:
    """Return the model of a data owner. Its numbers have many sizes, so another order of a sum changes the last bits."""
    noise = np.random.default_rng(node).normal(size=SIZE)
    return model / 3 + noise * 10.0 ** (np.arange(SIZE) % 7)


def examples_of(node: int) -> int:
    return 1 + node % 7


client_app = ClientApp()


@client_app.train()
def train(message: Message, context: Context) -> Message:
    [model] = message.content["arrays"].to_numpy_ndarrays()
    metrics = MetricRecord({"num-examples": examples_of(context.node_id)})
    return Message(
        RecordDict({"arrays": ArrayRecord([trained(model, context.node_id)]), "metrics": metrics}), reply_to=message
    )


@client_app.evaluate()
def evaluate(message: Message, context: Context) -> Message:
    [model] = message.content["arrays"].to_numpy_ndarrays()
    metrics = MetricRecord({"num-examples": examples_of(context.node_id), "loss": float(model.sum())})
    return Message(RecordDict({"metrics": metrics}), reply_to=message)


class LegacyOwner(NumPyClient):
    """A data owner of the legacy API."""

    def __init__(self, node: int) -> None:
        self._node = node

    def fit(self, parameters: Any, config: Any) -> Any:
        return [trained(parameters[0], self._node)], examples_of(self._node), {}

    def evaluate(self, parameters: Any, config: Any) -> Any:
        return float(parameters[0].sum()), examples_of(self._node), {}


legacy_client_app = ClientApp(client_fn=lambda context: LegacyOwner(context.node_id).to_client())


def die_once(context: Context, server_round: int) -> None:
    """Kill this process in the chosen round of its first life."""
    mark = Path(str(context.run_config["journal"])).with_suffix(".killed")
    if server_round == LAST_ROUND and not mark.exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)


def fraction() -> float:
    """Return the part of the data owners that a round asks, from the environment."""
    return float(os.environ["FRACTION"])


server_app = ServerApp()


@server_app.main()
def main(grid: Grid, context: Context) -> None:
    class Mortal(FedAvg):
        def aggregate_train(self, server_round: int, replies: Any) -> Any:
            die_once(context, server_round)
            return super().aggregate_train(server_round, replies)

    start = ArrayRecord([np.random.normal(size=SIZE)])
    strategy = Mortal(fraction_train=fraction(), fraction_evaluate=fraction(), min_available_nodes=3)
    strategy.start(grid, start, num_rounds=ROUNDS)


def make_components(context: Context) -> ServerAppComponents:
    class Mortal(LegacyFedAvg):
        def aggregate_fit(self, server_round: int, results: Any, failures: Any) -> Any:
            die_once(context, server_round)
            return super().aggregate_fit(server_round, results, failures)

    start = ndarrays_to_parameters([np.random.normal(size=SIZE)])
    strategy = Mortal(
        fraction_fit=fraction(), fraction_evaluate=fraction(), min_available_clients=3, initial_parameters=start
    )
    return ServerAppComponents(strategy=strategy, config=ServerConfig(num_rounds=ROUNDS))


legacy_server_app = ServerApp(server_fn=make_components)
