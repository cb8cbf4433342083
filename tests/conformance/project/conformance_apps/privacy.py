"""Client mods for privacy, and the strategy wrapper for one of them.

Noise comes from NumPy's global generator, which all threads of a process share. Therefore the server and the clients
seed it and draw from it under one lock, before every use.
"""

import threading
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from conformance_apps import strategies, task
from flwr.app import Array, ArrayRecord, Context, Message, MetricRecord
from flwr.clientapp import ClientApp
from flwr.clientapp.mod import LocalDpMod, arrays_size_mod, fixedclipping_mod, message_size_mod
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import DifferentialPrivacyClientSideFixedClipping

CLIPPING_NORM = 0.25

_generator = threading.Lock()

Call = Callable[[Message, Context], Message]


def seeded(message: Message, context: Context, call_next: Call) -> Message:
    """Call the inner mods with a generator that is seeded from the run's seed, the partition and the round."""
    config = next(iter(message.content.config_records.values()), {})
    server_round = int(config.get("server-round") or message.metadata.group_id or 0)
    with _generator:
        np.random.seed([int(context.run_config["seed"]), int(context.node_config["partition-id"]), server_round])
        return call_next(message, context)


def rounded(message: Message, context: Context, call_next: Call) -> Message:
    """Round the arrays of the reply, including noise, to the grid on which averages are exact."""
    reply = call_next(message, context)
    if reply.has_content():
        for name, record in list(reply.content.array_records.items()):
            reply.content[name] = ArrayRecord({key: Array(task.on_grid(a.numpy())) for key, a in record.items()})
    return reply


class SeededNoise(DifferentialPrivacyClientSideFixedClipping):
    """Flower's wrapper, with the server's noise drawn from a known seed."""

    def __init__(self, seed: int, **options: Any) -> None:
        super().__init__(**options)
        self._seed = seed

    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        with _generator:
            np.random.seed([self._seed, server_round])
            return super().aggregate_train(server_round, replies)


clipping_server_app = ServerApp()


@clipping_server_app.main()
def main(grid: Grid, context: Context) -> None:
    strategy = SeededNoise(
        int(context.run_config["seed"]),
        strategy=strategies.make_strategy(grid, "fedavg"),
        noise_multiplier=0.5,
        clipping_norm=CLIPPING_NORM,
        num_sampled_clients=len(list(grid.get_node_ids())),
    )
    strategies.run(strategy, grid, context)


def _client_app(*mods: Any) -> ClientApp:
    app = ClientApp()
    app.train(mods=list(mods))(strategies.train)
    app.evaluate()(strategies.evaluate)
    return app


clipping_client_app = _client_app(rounded, fixedclipping_mod)
#: Two mods in a row, so that their order is visible: noise is added to the clipped update.
local_dp_client_app = _client_app(
    rounded, seeded, LocalDpMod(clipping_norm=CLIPPING_NORM, sensitivity=0.1, epsilon=10.0, delta=1e-5)
)
sizes_client_app = _client_app(message_size_mod, arrays_size_mod)
