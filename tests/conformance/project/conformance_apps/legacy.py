"""The legacy API: ``server_fn`` with ``flwr.server.strategy.FedAvg``, and a ``NumPyClient`` from ``client_fn``."""

from typing import Any

from conformance_apps import strategies, task
from conformance_apps.outcome import keep
from flwr.app import Context
from flwr.client import Client, NumPyClient
from flwr.clientapp import ClientApp
from flwr.common import Parameters, parameters_to_ndarrays
from flwr.server import History, Server, ServerAppComponents, ServerConfig, SimpleClientManager
from flwr.server.strategy import FedAvg
from flwr.serverapp import ServerApp


class SiteClient(NumPyClient):
    """The client of one site; it keeps nothing between messages."""

    def __init__(self, context: Context) -> None:
        config = context.run_config
        self._context = context
        self._features = int(config["data.features"])
        self._data = task.load(int(context.node_config["partition-id"]), self._features, int(config["seed"]))

    def get_parameters(self, config: dict[str, Any]) -> task.Model:
        return task.initial_model(self._features)

    def fit(self, parameters: task.Model, config: dict[str, Any]) -> tuple[task.Model, int, dict[str, Any]]:
        own = self._context.run_config
        if strategies.is_last(self._context) and config["server-round"] == own["fails-in-round"]:
            raise RuntimeError("this client was told to drop out")
        model = task.train(
            parameters, self._data, learning_rate=float(own["learning-rate"]), steps=int(own["local-steps"])
        )
        loss, _ = task.evaluate(model, self._data)
        return model, len(self._data[1]), {"loss": loss}

    def evaluate(self, parameters: task.Model, config: dict[str, Any]) -> tuple[float, int, dict[str, Any]]:
        loss, accuracy = task.evaluate(parameters, self._data)
        return loss, len(self._data[1]), {"accuracy": accuracy}


def client_fn(context: Context) -> Client:
    return SiteClient(context).to_client()


client_app = ClientApp(client_fn=client_fn)


def make_strategy(context: Context, clients: int, **options: Any) -> FedAvg:
    """Return a FedAvg over all ``clients`` that also evaluates centrally."""
    config = context.run_config
    held_out = task.load(clients, int(config["data.features"]), int(config["seed"]))

    def evaluate_centrally(
        server_round: int, model: task.Model, config: dict[str, Any]
    ) -> tuple[float, dict[str, Any]]:
        loss, accuracy = task.evaluate(model, held_out)
        return loss, {"accuracy": accuracy}

    return FedAvg(
        min_fit_clients=clients,
        min_evaluate_clients=clients,
        min_available_clients=clients,
        on_fit_config_fn=lambda server_round: {"server-round": server_round},
        fit_metrics_aggregation_fn=average,
        evaluate_metrics_aggregation_fn=average,
        evaluate_fn=evaluate_centrally,
        **options,
    )


def average(metrics: list[tuple[int, dict[str, Any]]]) -> dict[str, Any]:
    total = sum(size for size, _ in metrics)
    return {name: sum(size * found[name] for size, found in metrics) / total for name in metrics[0][1]}


class KeepingServer(Server):
    """Flower's server, extended to keep its history and its model."""

    def __init__(self, context: Context, strategy: FedAvg) -> None:
        super().__init__(client_manager=SimpleClientManager(), strategy=strategy)
        self._context = context

    def fit(self, num_rounds: int, timeout: float | None) -> tuple[History, float]:
        history, elapsed = super().fit(num_rounds, timeout)
        keep(self._context, to_record(self.parameters), vars(history))
        return history, elapsed


def to_record(parameters: Parameters) -> strategies.ArrayRecord:
    return strategies.to_record(parameters_to_ndarrays(parameters))


def server_fn(context: Context) -> ServerAppComponents:
    # Without initial parameters, Flower asks one client for them, in a message type that no other app here uses.
    strategy = make_strategy(context, int(context.run_config["clients"]))
    config = ServerConfig(num_rounds=int(context.run_config["num-server-rounds"]), round_timeout=60)
    return ServerAppComponents(server=KeepingServer(context, strategy), config=config)


server_app = ServerApp(server_fn=server_fn)
