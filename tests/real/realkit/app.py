"""A Flower app that sends a new model to each data owner in every round, and checks that every reply is correct.

The ServerApp writes one line for each round into its report. The ClientApp notes each call in its journal before it
works. The environment of each process names its file, ``RECORDS``, so a test can follow the run and count the calls.
"""

import hashlib
import json
import os
import time
from pathlib import Path
from typing import Any

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Message, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid, ServerApp

client_app = ClientApp()
server_app = ServerApp()


def record(**facts: Any) -> None:
    """Append one line of JSON to the records of this process."""
    with Path(os.environ["RECORDS"]).open("a") as file:
        file.write(json.dumps(facts) + "\n")


@client_app.query()
def query(message: Message, context: Context) -> Message:
    """Work for some seconds, then reply with the digest of the arrays, and with the arrays if the request says so."""
    work = message.content["work"]
    assert isinstance(work, ConfigRecord)
    record(round=int(str(message.metadata.group_id)))
    time.sleep(float(str(work["seconds"])))
    arrays = message.content["arrays"]
    assert isinstance(arrays, ArrayRecord)
    reply = RecordDict({"digest": ConfigRecord({"sha256": _digest(arrays)})})
    if work["echo"]:
        reply["arrays"] = arrays
    return Message(reply, reply_to=message)


@server_app.main()
def train(grid: Grid, context: Context) -> None:
    """Run a small round, which waits until every process has started, then the rounds of the plan."""
    plan = context.run_config
    run_round(grid, 0, 1_000, seconds=0.0, echo=True, timeout=float(str(plan["timeout"])))
    for number in range(1, int(str(plan["rounds"])) + 1):
        run_round(
            grid,
            number,
            int(str(plan["size"])),
            seconds=float(str(plan["seconds"])),
            echo=bool(plan["echo"]),
            timeout=float(str(plan["timeout"])),
        )


def run_round(grid: Grid, number: int, size: int, *, seconds: float, echo: bool, timeout: float) -> None:
    """Send a model of ``size`` bytes to every data owner, and record how many replies are correct."""
    # A resumed run must send the same bytes.
    model = ArrayRecord({"model": Array(np.random.default_rng(number).integers(0, 256, size, dtype=np.uint8))})
    content = RecordDict({"arrays": model, "work": ConfigRecord({"seconds": seconds, "echo": echo})})
    messages = [Message(content, node, "query", group_id=str(number)) for node in grid.get_node_ids()]
    started = time.monotonic()
    replies = list(grid.send_and_receive(messages, timeout=timeout))
    took = time.monotonic() - started
    good = sum(reply.has_content() and _is_correct(reply, model, echo=echo) for reply in replies)
    failed = [reply.error.reason for reply in replies if reply.has_error()]
    record(round=number, seconds=round(took, 3), good=good, failed=failed)


def _is_correct(reply: Message, model: ArrayRecord, *, echo: bool) -> bool:
    found: Any = reply.content
    same = not echo or _bytes(found["arrays"]) == _bytes(model)
    return same and found["digest"]["sha256"] == _digest(model)


def _bytes(arrays: ArrayRecord) -> list[bytes]:
    return [array.data for array in arrays.values()]


def _digest(arrays: ArrayRecord) -> str:
    return hashlib.sha256(b"".join(_bytes(arrays))).hexdigest()
