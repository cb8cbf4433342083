"""Features of Flower's public examples: split training, mods, lifespans, a custom strategy, rich configurations.

The history holds each value that an app was given, so it differs where a system gives another value.
"""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from conformance_apps import task
from conformance_apps.outcome import keep
from conformance_apps.strategies import STRATEGIES
from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg

_WIDTH = 4

# Split training: each node keeps its own layer in its state, and the server sends gradients without waiting for replies.

split_server_app = ServerApp()
split_client_app = ClientApp()


@split_server_app.main()
def train_head(grid: Grid, context: Context) -> None:
    nodes = sorted(grid.get_node_ids())
    head = np.ones(_WIDTH * len(nodes))
    steps = []
    for _ in range(int(context.run_config["num-server-rounds"])):
        asked = [Message(RecordDict(), node, "query.embed") for node in nodes]
        replies = list(grid.send_and_receive(asked, timeout=60))
        places = {reply.metadata.src_node_id: int(reply.content["place"]["partition"]) for reply in replies}
        parts = {places[reply.metadata.src_node_id]: reply.content["out"]["embedding"].numpy() for reply in replies}
        joined = np.concatenate([parts[place] for place in sorted(parts)], axis=1)
        error = joined @ head - 1
        head -= 0.01 * joined.T @ error
        gradients = {node: np.outer(error, head[_WIDTH * place :][:_WIDTH]) for node, place in places.items()}
        grid.push_messages(
            Message(RecordDict({"gradients": ArrayRecord([gradient])}), node, "train.apply")
            for node, gradient in gradients.items()
        )
        steps.append(float(error @ error))
    keep(context, ArrayRecord([head]), {"errors": steps, "nodes": nodes})


@split_client_app.query("embed")
def embed(message: Message, context: Context) -> Message:
    place = ConfigRecord({"partition": context.node_config["partition-id"]})
    out = ArrayRecord({"embedding": Array(_measured(context) @ _layer(context))})
    return Message(RecordDict({"out": out, "place": place}), reply_to=message)


@split_client_app.train("apply")
def apply(message: Message, context: Context) -> Message:
    (gradient,) = message.content["gradients"].to_numpy_ndarrays()
    layer = _layer(context) - 0.01 * _measured(context).T @ gradient
    context.state["layer"] = ArrayRecord([layer])
    context.state["optimizer"] = ConfigRecord({"serialized": layer.tobytes()})
    return Message(RecordDict(), reply_to=message)


def _measured(context: Context) -> Any:
    # All nodes have the same rows, as in vertical learning, and each has its own columns.
    return task.load(0, 12, 7)[0][:, int(context.node_config["partition-id"]) :][:, :_WIDTH]


def _layer(context: Context) -> Any:
    if "layer" not in context.state:
        return np.eye(_WIDTH)
    (layer,) = context.state["layer"].to_numpy_ndarrays()
    assert context.state["optimizer"]["serialized"] == layer.tobytes()
    return layer


# A custom strategy, mods and a lifespan.


class Scheduled(FedAvg):
    """Lowers the learning rate, and adds the spread of the metrics to the average."""

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        config["rate"] = float(config["rate"]) / server_round  # type: ignore[arg-type]
        return super().configure_train(server_round, arrays, config, grid)

    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        replies = list(replies)
        arrays, metrics = super().aggregate_train(server_round, replies)
        if metrics is not None:
            seen = [reply.content.metric_records["metrics"] for reply in replies if reply.has_content()]
            metrics["partitions"] = sorted(int(found["partition"]) for found in seen)  # type: ignore[arg-type]
            metrics["rates"] = sorted(float(found["rate"]) for found in seen)  # type: ignore[arg-type]
        return arrays, metrics


rich_server_app = ServerApp()


@rich_server_app.lifespan()
def open_server(context: Context) -> Iterator[None]:
    context.state["opened"] = MetricRecord({"times": 1})
    yield
    context.state["closed"] = MetricRecord({"times": 1})


@rich_server_app.main()
def train_rich(grid: Grid, context: Context) -> None:
    everyone = len(list(grid.get_node_ids()))
    strategy = Scheduled(**dict.fromkeys(("min_train_nodes", "min_evaluate_nodes", "min_available_nodes"), everyone))
    asked = {"rate": 0.5, "names": ["a", "b"], "raw": b"\x00\xff", "layers": [1, 2], "flag": True}
    result = strategy.start(
        grid=grid,
        initial_arrays=ArrayRecord(task.initial_model(_WIDTH)),
        num_rounds=int(context.run_config["num-server-rounds"]),
        timeout=60,
        train_config=ConfigRecord(asked),  # type: ignore[arg-type]
        evaluate_fn=lambda server_round, arrays: MetricRecord({"sum": float(arrays.to_numpy_ndarrays()[0].sum())}),
    )
    history = {
        name: {str(key): dict(value) for key, value in getattr(result, name).items()}
        for name in ("train_metrics_clientapp", "evaluate_metrics_clientapp", "evaluate_metrics_serverapp")
    }
    history["run config"] = dict(context.run_config)
    history["opened"] = dict(context.state["opened"])
    history["folder"] = {"current": str(Path.cwd()), "known strategies": sorted(STRATEGIES)}
    keep(context, result.arrays, history)


Call = Callable[[Message, Context], Message]


def timing_mod(message: Message, context: Context, call_next: Call) -> Message:
    """Count the calls of this node in its state, and add the count to the reply, as a logging mod does."""
    calls = context.state.setdefault("calls", ConfigRecord({"types": []}))
    calls["types"] = [*calls["types"], message.metadata.message_type]
    reply = call_next(message, context)
    reply.content["metrics"]["calls"] = len(calls["types"])
    return reply


def scaling_mod(message: Message, context: Context, call_next: Call) -> Message:
    """Halve the arrays of the reply."""
    reply = call_next(message, context)
    reply.content["arrays"] = ArrayRecord([values / 2 for values in reply.content["arrays"].to_numpy_ndarrays()])
    return reply


rich_client_app = ClientApp(mods=[timing_mod])


@rich_client_app.lifespan()
def open_client(context: Context) -> Iterator[None]:
    record = context.state.setdefault("lifespan", MetricRecord({"opened": 0, "closed": 0}))
    record["opened"] += 1
    yield
    record["closed"] += 1


@rich_client_app.train(mods=[scaling_mod])
def train(message: Message, context: Context) -> Message:
    config, lifespan = message.content["config"], context.state["lifespan"]
    assert (config["names"], config["raw"], config["layers"], config["flag"]) == (["a", "b"], b"\x00\xff", [1, 2], True)
    partition = int(context.node_config["partition-id"])
    data = task.load(partition, _WIDTH, int(context.run_config["seed"]))
    model = message.content["arrays"].to_numpy_ndarrays()
    trained = task.train(model, data, learning_rate=float(config["rate"]), steps=int(context.run_config["local-steps"]))
    found = {
        "num-examples": len(data[1]),
        "partition": partition,
        "rate": config["rate"],
        "run": [float(context.run_config["learning-rate"]), float(context.run_config["data.features"])],
        "lifespan": [lifespan["opened"], lifespan["closed"]],
    }
    content = RecordDict({"arrays": ArrayRecord(trained), "metrics": MetricRecord(found)})
    return Message(content, reply_to=message)


@rich_client_app.evaluate()
def evaluate(message: Message, context: Context) -> Message:
    metrics = {"num-examples": 16, "partitions": [context.node_config["num-partitions"]] * 2}
    return Message(RecordDict({"metrics": MetricRecord(metrics)}), reply_to=message)
