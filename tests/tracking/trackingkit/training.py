"""A training of two data owners in threads of this process, over memory, by the calls that a user makes."""

import threading
from collections.abc import Callable
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import numpy as np
from flwr.app import ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.client import Client
from flwr.clientapp import ClientApp
from flwr.common import Code, EvaluateRes, FitRes, Status, ndarrays_to_parameters
from flwr.server import ServerAppComponents, ServerConfig
from flwr.server.strategy import FedAvg as LegacyFedAvg
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg

from syft_flwr.config import load_settings
from syft_flwr.fl_orchestrator import syftbox_flwr_client, syftbox_flwr_server
from syft_flwr.fl_orchestrator.participant import Participant
from syft_flwr.transport.memory import MemoryNetwork
from trackingkit.written_record import APP, DO1, DO2, DS

_PATIENCE = 60.0


def server_app(rounds: int, after_round: Callable[[int], object] = lambda _: None) -> ServerApp:
    """Return an app of the Message API. ``after_round`` is called before the evaluation of each round."""
    app = ServerApp()

    def look(server_round: int, arrays: ArrayRecord) -> MetricRecord:
        after_round(server_round)
        return MetricRecord({"central-loss": 1.0 / (server_round + 1)})

    @app.main()
    def main(grid: Grid, context: Context) -> None:
        FedAvg().start(grid, ArrayRecord([np.zeros(2)]), num_rounds=rounds, evaluate_fn=look)

    return app


def legacy_server_app(rounds: int) -> ServerApp:
    """Return an app with a strategy of the older API."""

    def mean(results: list[tuple[int, dict[str, Any]]]) -> dict[str, Any]:
        return {"accuracy": sum(metrics["accuracy"] for _, metrics in results) / len(results)}

    def components(context: Context) -> ServerAppComponents:
        strategy = LegacyFedAvg(
            initial_parameters=ndarrays_to_parameters([np.zeros(2)]), evaluate_metrics_aggregation_fn=mean
        )
        return ServerAppComponents(config=ServerConfig(num_rounds=rounds), strategy=strategy)

    return ServerApp(server_fn=components)


def client_app() -> ClientApp:
    """Return an app whose metrics are the same in each round."""
    app = ClientApp()

    @app.train()
    def train(message: Message, context: Context) -> Message:
        metrics = MetricRecord({"loss": 0.5, "num-examples": 1})
        return Message(RecordDict({"arrays": message.content["arrays"], "metrics": metrics}), reply_to=message)

    @app.evaluate()
    def evaluate(message: Message, context: Context) -> Message:
        metrics = MetricRecord({"accuracy": 0.75, "num-examples": 1})
        return Message(RecordDict({"metrics": metrics}), reply_to=message)

    return app


class LegacyClient(Client):
    """A client of the older API."""

    def fit(self, ins: Any) -> FitRes:
        return FitRes(Status(Code.OK, ""), ins.parameters, 1, {"loss": 0.5})

    def evaluate(self, ins: Any) -> EvaluateRes:
        return EvaluateRes(Status(Code.OK, ""), 0.25, 1, {"accuracy": 0.75})


def legacy_client_app() -> ClientApp:
    return ClientApp(client_fn=lambda _: LegacyClient())


def context() -> Context:
    return Context(run_id=0, node_id=0, node_config={}, state=RecordDict(), run_config={"lr": 0.1})


def train(
    home: Path, server: ServerApp, client: ClientApp, owner_tracking: tuple[str, ...] = (), **arguments: Any
) -> Context:
    """Run a training to its end, and return the context of the aggregator, whose settings come from the environment."""
    network = MemoryNetwork()
    with ExitStack() as stack:
        threads = []
        for owner in (DO1, DO2):
            settings = load_settings(environ={}, email=owner, home=home, datasites=[DO1, DO2], tracking=owner_tracking)
            transport = stack.enter_context(closing(network.transport(owner)))
            participant = Participant(settings, transport, in_process=True)
            call = (client, context(), APP)
            threads.append(
                threading.Thread(
                    target=syftbox_flwr_client, args=call, kwargs={"client": participant, "aggregator": DS}, daemon=True
                )
            )
        transport = stack.enter_context(closing(network.transport(DS)))
        aggregator = Participant(load_settings(email=DS, home=home), transport)
        for thread in threads:
            thread.start()
        try:
            return syftbox_flwr_server(
                server, context(), [DO1, DO2], APP, client=aggregator, display=False, **arguments
            )
        finally:
            for thread in threads:
                thread.join(_PATIENCE)
                assert not thread.is_alive()
