"""The ClientApp and ServerApp of all measurements, the same for syft_flwr and for Flower's own deployment.

* The model of each round has new random bytes, so that no cache helps.
* The replies of a round are checked after the time measurement.
* Replies are freed before the next model is created. The apps access records by name, because
  ``RecordDict.array_records`` creates a reference cycle, which keeps a reply until the next garbage collection. FedAvg
  itself does create such cycles.
"""

import hashlib
import io
import math
import os
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from flwr.app import (
    Array,
    ArrayRecord,
    ConfigRecord,
    Context,
    Message,
    MetricRecord,
    RecordDict,
)
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg

from measuring.plan import Plan, load, save
from measuring.processes import MeasurementError

_CHUNK = 1 << 18
_WARM_UP = 250
#: Number of values at each end of an aggregated model that are compared with the expected ones.
_COMPARED = 1000

client = ClientApp()


def _arrays(message: Message) -> ArrayRecord:
    found = message.content["arrays"]
    if not isinstance(found, ArrayRecord):
        raise TypeError(f'content["arrays"] is a {type(found).__name__}, not an ArrayRecord')
    return found


@client.query()
def echo(message: Message, context: Context) -> Message:  # noqa: ARG001 - Flower's signature
    """Return the content of the message."""
    return Message(message.content, reply_to=message)


@client.query("digest")
def digest(message: Message, context: Context) -> Message:  # noqa: ARG001 - Flower's signature
    """Return the SHA-256 of the received arrays."""
    found = _sha256(_arrays(message))
    return Message(RecordDict({"found": ConfigRecord({"sha256": found})}), reply_to=message)


@client.train()
def add_one(message: Message, context: Context) -> Message:  # noqa: ARG001 - Flower's signature
    """Return arrays of the same shapes with one added to each value, in place of training."""
    weights = _arrays(message).to_numpy_ndarrays()
    trained = ArrayRecord([array + np.float32(1) for array in weights])
    return Message(RecordDict({"arrays": trained, "metrics": MetricRecord({"num-examples": 1})}), reply_to=message)


@dataclass(slots=True)
class Rounds:
    """The measurements of the ServerApp.

    Attributes:
        seconds: the round times.
        memory_early: resident memory in bytes, after a tenth of the rounds.
        memory_late: resident memory in bytes, after all rounds.
        error: traceback of the ServerApp; empty if it succeeded.
    """

    seconds: list[float] = field(default_factory=list)
    #: Number of correct replies.
    good: int = 0
    memory_early: int = 0
    memory_late: int = 0
    error: str = ""


def read_rounds(path: Path) -> Rounds:
    """Return the measurements that the ServerApp of :func:`make_server` wrote.

    Raises:
        MeasurementError: the ServerApp failed.
    """
    rounds = load(path, Rounds)
    if rounds.error:
        raise MeasurementError(f"the ServerApp failed\n{rounds.error}")
    return rounds


def random_model(elements: int, seed: int) -> ArrayRecord:
    """Return a model of one random array. It is built without a second copy, to save memory."""
    generator = np.random.default_rng(seed)
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(file, {"descr": "<f4", "fortran_order": False, "shape": (elements,)})
    for start in range(0, elements, _CHUNK):
        file.write(generator.random(min(_CHUNK, elements - start), dtype=np.float32).data)
    return ArrayRecord({"0": Array(dtype="float32", shape=(elements,), stype="numpy.ndarray", data=file.getvalue())})


def _ends(model: ArrayRecord) -> np.ndarray:
    (array,) = model.values()
    values = np.frombuffer(array.data, np.float32, offset=len(array.data) - 4 * math.prod(array.shape))
    return np.concatenate([values[:_COMPARED], values[-_COMPARED:]])


def _sha256(model: ArrayRecord) -> str:
    found = hashlib.sha256()
    for array in model.values():
        found.update(array.data)
    return found.hexdigest()


def _equal(one: ArrayRecord, other: ArrayRecord) -> bool:
    return [array.data for array in one.values()] == [array.data for array in other.values()]


class Echo:
    """A workload that sends the model to every data owner and expects the same bytes back."""

    def __init__(self, plan: Plan, grid: Grid) -> None:
        self._plan = plan
        self._grid = grid

    def run(self, number: int) -> tuple[float, int]:
        """Run one round; return its time in seconds and the number of correct replies."""
        return exchange(self._grid, random_model(self._plan.elements, number), number, self._plan.timeout)


class Digest:
    """A workload that sends the model to every data owner and expects only its SHA-256 back."""

    def __init__(self, plan: Plan, grid: Grid) -> None:
        self._plan = plan
        self._grid = grid

    def run(self, number: int) -> tuple[float, int]:
        model = random_model(self._plan.elements, number)
        expected = _sha256(model)
        messages = _messages(self._grid, model, "query.digest", number)
        # From here on only the grid holds the model, so that it can free it early.
        del model
        start = time.perf_counter()
        replies = list(self._grid.send_and_receive(messages, timeout=self._plan.timeout))
        elapsed = time.perf_counter() - start
        found = [reply.content["found"]["sha256"] for reply in replies if reply.has_content()]
        return elapsed, found.count(expected)


class Average:
    """A workload with Flower's FedAvg; the round time includes its messages, one training step and the aggregation."""

    def __init__(self, plan: Plan, grid: Grid) -> None:
        self._plan = plan
        self._grid = grid
        count = plan.datasites
        self._strategy = FedAvg(fraction_evaluate=0.0, min_train_nodes=count, min_available_nodes=count)
        self._model = random_model(plan.elements, 0)

    def run(self, number: int) -> tuple[float, int]:
        start = time.perf_counter()
        messages = self._strategy.configure_train(number, self._model, ConfigRecord(), self._grid)
        replies = list(self._grid.send_and_receive(messages, timeout=self._plan.timeout))
        model, _ = self._strategy.aggregate_train(number, replies)
        elapsed = time.perf_counter() - start
        good = 0
        if model is not None:
            right = np.allclose(_ends(model), _ends(self._model) + 1, atol=1e-3)
            good = sum(reply.has_content() for reply in replies) if right else 0
            self._model = model
        return elapsed, good


WORKLOADS: dict[str, Callable[[Plan, Grid], Echo | Digest | Average]] = {
    "echo": Echo,
    "average": Average,
    "digest": Digest,
}


def _messages(grid: Grid, model: ArrayRecord, kind: str, number: int) -> list[Message]:
    content = RecordDict({"arrays": model})
    return [Message(content, node, kind, group_id=str(number)) for node in grid.get_node_ids()]


def exchange(grid: Grid, model: ArrayRecord, number: int, timeout: float) -> tuple[float, int]:
    """Send a model to every data owner; return the seconds until all replies arrived, and how many equal the model."""
    messages = _messages(grid, model, "query", number)
    start = time.perf_counter()
    replies = list(grid.send_and_receive(messages, timeout=timeout))
    elapsed = time.perf_counter() - start
    good = [r for r in replies if r.has_content() and _equal(_arrays(r), model)]
    return elapsed, len(good)


def _resident() -> int:
    pages = Path("/proc/self/statm").read_text(encoding="ascii").split()[1]
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


def drive(grid: Grid, plan: Plan) -> Rounds:
    """Run all rounds of a plan, after a small round that waits until every process has started."""
    while len(list(grid.get_node_ids())) < plan.datasites:
        time.sleep(0.1)
    exchange(grid, random_model(_WARM_UP, 0), 0, plan.timeout)
    workload = WORKLOADS[plan.workload](plan, grid)
    rounds = Rounds()
    for number in range(1, plan.rounds + 1):
        elapsed, good = workload.run(number)
        rounds.seconds.append(elapsed)
        rounds.good += good
        if number == max(1, plan.rounds // 10):
            rounds.memory_early = _resident()
    rounds.memory_late = _resident()
    return rounds


def make_server(plan: Plan, result: Path) -> ServerApp:
    """Return a ServerApp that runs the plan and writes its :class:`Rounds` to ``result``."""
    app = ServerApp()

    @app.main()
    def main(grid: Grid, context: Context) -> None:  # noqa: ARG001 - Flower's signature
        try:
            rounds = drive(grid, plan)
        except Exception:
            save(result, Rounds(error=traceback.format_exc()))
            raise
        save(result, rounds)

    return app
