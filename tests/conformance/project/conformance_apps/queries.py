"""Messages without a strategy: custom types, every kind of record, and the metadata that a Grid must set."""

import time
from typing import Any

import numpy as np
from conformance_apps import task
from conformance_apps.outcome import keep
from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid, ServerApp

TTL = 300.0
TIMEOUT = 60

server_app = ServerApp()
client_app = ClientApp()


@client_app.query("stats")
def stats(message: Message, context: Context) -> Message:
    config = context.run_config
    measured, _ = task.load(int(context.node_config["partition-id"]), int(config["data.features"]), int(config["seed"]))
    column = measured[:, message.content["ask"]["column"]]
    found = MetricRecord({"count": len(column), "sum": float(column.sum()), "squares": float((column**2).sum())})
    return Message(RecordDict({"found": found}), reply_to=message)


@client_app.query("echo")
def echo(message: Message, context: Context) -> Message:
    return Message(message.content, reply_to=message)


@server_app.main()
def main(grid: Grid, context: Context) -> None:
    nodes = sorted(grid.get_node_ids())
    history: dict[str, Any] = {"nodes": nodes}

    asked = RecordDict({"ask": ConfigRecord({"column": 1})})
    sent = [Message(asked, node, "query.stats", ttl=TTL, group_id="statistics") for node in nodes]
    replies = grid.send_and_receive(sent, timeout=TIMEOUT)
    # Flower's strategies test `if replies` and iterate several times, so the replies must be a collection.
    history["replies are a list"] = isinstance(replies, list)
    history["stats"] = {str(m.metadata.src_node_id): dict(m.content["found"]) for m in replies}
    history["metadata"] = _describe(context, sent, list(replies))

    everything = RecordDict(_one_of_everything())
    echoes = _push_and_pull(grid, [Message(everything, node, "query.echo") for node in nodes])
    history["echoed"] = {str(m.metadata.src_node_id): _differences(everything, m.content) for m in echoes}

    unknown = grid.send_and_receive([Message(asked, node, "query.unknown") for node in nodes], timeout=TIMEOUT)
    history["unknown"] = {str(m.metadata.src_node_id): m.error.code for m in unknown}
    history["nothing sent"] = list(grid.send_and_receive([], timeout=TIMEOUT))

    keep(context, ArrayRecord(), history)


def _describe(context: Context, sent: list[Message], replies: list[Message]) -> list[list[Any]]:
    destinations = {message.metadata.message_id: message.metadata.dst_node_id for message in sent}
    # The grid set all ids, and they differ.
    assert len(destinations) == len(sent)
    assert "" not in destinations
    described = []
    for reply in replies:
        metadata = reply.metadata
        described.append(
            [
                metadata.src_node_id,
                destinations[metadata.reply_to_message_id] == metadata.src_node_id,
                metadata.run_id == context.run_id,
                metadata.dst_node_id == context.node_id,
                metadata.message_type,
                metadata.group_id,
                0 < metadata.ttl <= TTL,
            ]
        )
    return sorted(described)


def _push_and_pull(grid: Grid, messages: list[Message]) -> list[Message]:
    """Send and receive in separate calls, as apps do that work while they wait."""
    waiting = set(grid.push_messages(messages))
    assert len(waiting) == len(messages)
    found: list[Message] = []
    deadline = time.monotonic() + TIMEOUT
    while waiting and time.monotonic() < deadline:
        arrived = list(grid.pull_messages(waiting))
        found += arrived
        waiting -= {message.metadata.reply_to_message_id for message in arrived}
        time.sleep(0.005)
    return found


def _one_of_everything() -> dict[str, Any]:
    arrays = {
        "zero-dimensional": np.array(1.5),
        "empty": np.zeros((0, 3), dtype=np.int8),
        "column order": np.asfortranarray(np.arange(6, dtype=np.float32).reshape(2, 3)),
        "flags": np.array([True, False]),
        "not numbers": np.array([np.nan, np.inf, -0.0]),
        "complex": np.array([1 + 2j]),
        "big endian": np.arange(3, dtype=">i4"),
    }
    record = ArrayRecord({key: Array(value) for key, value in arrays.items()})
    # Legacy strategies send arbitrary bytes without type and shape, and a model without arrays.
    record["opaque"] = Array(dtype="", shape=(), stype="my.format", data=bytes(range(256)))
    record["nothing"] = Array(dtype="", shape=(), stype="", data=b"")
    return {
        "z comes first": ConfigRecord(
            {
                "text": "naïve ✓\x00",
                "bytes": b"\x00\xff",
                "flag": True,
                "lowest": -(2**63),
                "highest": 2**64 - 1,
                "float": 0.1,
                "none of it": "",
                "texts": ["a", ""],
                "flags": [True, False],
                "blobs": [b"", b"\x01"],
                "no items": [],
            }
        ),
        "arrays": record,
        "metrics": MetricRecord({"int": -1, "float": -0.0, "ints": [1, 2**63 - 1], "floats": [0.1, 1e300]}),
        "empty arrays": ArrayRecord(),
        "empty metrics": MetricRecord(),
        "an empty name follows": ConfigRecord(),
        "": ConfigRecord({"": 1}),
    }


def _differences(sent: RecordDict, received: RecordDict) -> list[str]:
    """Return the names of all differences between two record dictionaries: names, order, types, values, bytes."""
    if list(sent) != list(received):
        return [f"records {list(received)}"]
    found = []
    for name, record in sent.items():
        other = received[name]
        if type(other) is not type(record) or list(other) != list(record):
            found.append(f"{name}: {type(other).__name__} {list(other)}")
        found += [f"{name}/{key}" for key in record if _exact(record[key]) != _exact(other.get(key))]
    return found


def _exact(value: Any) -> Any:
    if isinstance(value, Array):
        return value.dtype, tuple(value.shape), value.stype, bytes(value.data)
    # repr distinguishes True from 1 and -0.0 from 0.0.
    return repr(value)
