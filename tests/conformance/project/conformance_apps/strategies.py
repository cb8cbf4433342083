"""The message API: ``@app.main()`` with a strategy of ``flwr.serverapp.strategy`` from the run config."""

from typing import Any

from conformance_apps import task
from conformance_apps.outcome import keep
from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAdam, FedAvg, FedProx, Krum, Result, Strategy

STRATEGIES: dict[str, tuple[type[FedAvg], dict[str, Any]]] = {
    "fedavg": (FedAvg, {}),
    "fedadam": (FedAdam, {"eta": 0.25, "beta_1": 0.9, "beta_2": 0.99}),
    "fedprox": (FedProx, {"proximal_mu": 0.25}),
    "krum": (Krum, {"num_malicious_nodes": 1}),
}

server_app = ServerApp()
client_app = ClientApp()


def to_record(model: task.Model) -> ArrayRecord:
    return ArrayRecord({key: Array(values) for key, values in zip(task.KEYS, model, strict=True)})


def to_model(record: ArrayRecord) -> task.Model:
    return [record[key].numpy() for key in task.KEYS]


def make_strategy(grid: Grid, name: str) -> FedAvg:
    """Return a strategy that waits for every node and samples every node."""
    everyone = len(list(grid.get_node_ids()))
    kind, options = STRATEGIES[name]
    return kind(min_train_nodes=everyone, min_evaluate_nodes=everyone, min_available_nodes=everyone, **options)


def run(strategy: Strategy, grid: Grid, context: Context) -> None:
    """Train for the configured rounds and keep every number of the result."""
    config = context.run_config
    features, seed = int(config["data.features"]), int(config["seed"])
    held_out = task.load(len(list(grid.get_node_ids())), features, seed)

    def evaluate_centrally(server_round: int, arrays: ArrayRecord) -> MetricRecord:
        loss, accuracy = task.evaluate(to_model(arrays), held_out)
        return MetricRecord({"loss": loss, "accuracy": accuracy, "round": server_round})

    result = strategy.start(
        grid=grid,
        initial_arrays=to_record(task.initial_model(features)),
        num_rounds=int(config["num-server-rounds"]),
        timeout=60,
        train_config=ConfigRecord({"learning-rate": config["learning-rate"], "local-steps": config["local-steps"]}),
        evaluate_fn=evaluate_centrally,
    )
    keep(context, result.arrays, to_history(result))


def to_history(result: Result) -> dict[str, Any]:
    return {
        name: {str(server_round): dict(metrics) for server_round, metrics in getattr(result, name).items()}
        for name in ("train_metrics_clientapp", "evaluate_metrics_clientapp", "evaluate_metrics_serverapp")
    }


@server_app.main()
def main(grid: Grid, context: Context) -> None:
    run(make_strategy(grid, str(context.run_config["strategy"])), grid, context)


def is_last(context: Context) -> bool:
    """Return whether this is the last node, which a case can make fail or send a false model."""
    return int(context.node_config["partition-id"]) == int(context.node_config["num-partitions"]) - 1


def train(message: Message, context: Context) -> Message:
    asked = message.content["config"]
    server_round = asked["server-round"]
    if is_last(context) and server_round == context.run_config["fails-in-round"]:
        raise RuntimeError("this client was told to fail")
    data = _data(context)
    received = to_model(message.content["arrays"])
    trained = task.train(
        received,
        data,
        learning_rate=asked["learning-rate"],
        steps=asked["local-steps"],
        proximal_mu=asked.get("proximal-mu", 0.0),
    )
    if is_last(context) and context.run_config["strategy"] == "krum":
        trained = [task.on_grid(-8 * values) for values in trained]
    loss, _ = task.evaluate(trained, data)
    metrics = MetricRecord(
        {
            "num-examples": len(data[1]),
            "loss": loss,
            "visits": _count_visit(context),
            "addressed": int(
                (context.run_id, context.node_id) == (message.metadata.run_id, message.metadata.dst_node_id)
            ),
        }
    )
    return Message(RecordDict({"arrays": to_record(trained), "metrics": metrics}), reply_to=message)


def evaluate(message: Message, context: Context) -> Message:
    data = _data(context)
    loss, accuracy = task.evaluate(to_model(message.content["arrays"]), data)
    metrics = MetricRecord({"num-examples": len(data[1]), "loss": loss, "accuracy": accuracy})
    return Message(RecordDict({"metrics": metrics}), reply_to=message)


client_app.train()(train)
client_app.evaluate()(evaluate)


def _data(context: Context) -> task.Data:
    config = context.run_config
    return task.load(int(context.node_config["partition-id"]), int(config["data.features"]), int(config["seed"]))


def _count_visit(context: Context) -> int:
    """Count the calls in the node's own state, so that the metrics show a state that was lost."""
    visits = context.state.setdefault("visits", MetricRecord({"train": 0}))
    visits["train"] += 1
    return visits["train"]
