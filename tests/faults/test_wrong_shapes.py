"""Shows that a round that cannot be aggregated names the data owner with the wrong arrays, and each record and key."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from faultkit.federation import OWNERS, Federation
from faultkit.storage import MemoryStorage
from flwr.app import Array, ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.client import NumPyClient
from flwr.clientapp import ClientApp
from flwr.server import ServerAppComponents, ServerConfig
from flwr.server.strategy import FedAvg as LegacyFedAvg
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAdam, FedAvg, FedMedian, Strategy

from syft_flwr.errors import RunError
from syft_flwr.fl_orchestrator import syftbox_flwr_server
from syft_flwr.runs.finding import find_run

GOOD, BAD = OWNERS
MODEL = {"w": np.zeros((2, 3), np.float32), "b": np.zeros(2, np.float32)}
Arrays = dict[str, "np.ndarray[Any, Any]"]


def with_(**changes: "np.ndarray[Any, Any]") -> Arrays:
    return {**MODEL, **changes}


#: The wrong arrays of one data owner, and the text about them.
WRONG: dict[str, tuple[Arrays, str]] = {
    "another shape": (
        with_(w=np.zeros((5, 3), np.float32)),
        "key 'w' is float32 of shape (5, 3) instead of float32 of",
    ),
    "texts": (with_(b=np.array(["a", "b"])), "key 'b' is <U1 of shape (2,) instead of float32 of shape (2,)"),
    "a missing key": ({"w": MODEL["w"]}, "key 'b' is missing"),
    "no record": ({}, "0 array records instead of 1"),
    "an unknown key": (with_(extra=np.zeros(1)), "key 'extra' is in no other reply"),
}


def record_of(arrays: Arrays) -> ArrayRecord:
    return ArrayRecord({key: Array(array) for key, array in arrays.items()})


def message_client(arrays: Arrays, metrics: dict[str, Any]) -> ClientApp:
    app = ClientApp()

    @app.train()
    def train(message: Message, context: Context) -> Message:
        records = {"update": record_of(arrays), "metrics": MetricRecord(metrics)}
        if not arrays:
            del records["update"]
        return Message(RecordDict(records), reply_to=message)

    @app.evaluate()
    def evaluate(message: Message, context: Context) -> Message:
        return Message(RecordDict({"metrics": MetricRecord(metrics)}), reply_to=message)

    return app


class OldClient(NumPyClient):
    def __init__(self, arrays: Arrays) -> None:
        self._arrays = arrays

    def fit(self, parameters: list[Any], config: dict[str, Any]) -> tuple[list[Any], int, dict[str, Any]]:
        return list(self._arrays.values()), 1, {}

    def get_parameters(self, config: dict[str, Any]) -> list[Any]:
        return list(MODEL.values())


def legacy_client(arrays: Arrays) -> ClientApp:
    return ClientApp(client_fn=lambda _: OldClient(arrays).to_client())


def server_of(main: Callable[[Grid, Context], None]) -> ServerApp:
    app = ServerApp()
    app.main()(main)
    return app


def training(strategy: Strategy) -> ServerApp:
    return server_of(lambda grid, _: strategy.start(grid, record_of(MODEL), num_rounds=2) and None)


class Run:
    """Runs a federation in memory. Afterwards, it has the cause, the state and the error of the run."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def __call__(self, server: ServerApp, clients: list[ClientApp]) -> "Run":
        with Federation(self._root, MemoryStorage()) as federation:
            for email, app in zip(OWNERS, clients, strict=True):
                federation[email].client_app = app
                federation[email].start()
            context = Context(run_id=0, node_id=0, node_config={}, state=RecordDict(), run_config={})
            self.error = self.hint = ""
            try:
                options = {"client": federation.participant, "raise_on_error": True}
                syftbox_flwr_server(server, context, OWNERS, federation.app, **options)
            except RunError as error:
                self.error, self.hint = str(error), error.hint
            for email in OWNERS:
                federation[email].join()
            found = find_run(federation.participant.settings, context.run_id)
            self.state, self.cause = found.state, found.cause
        return self


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run(tmp_path / "homes")


def require_named(found: Run, text: str, logged: list[str]) -> None:
    """Check that the cause, the error and the traceback name the data owner, the record and the key, and no other owner."""
    assert found.state == "failed"
    assert "or ask each named data owner to correct its app, then" in found.hint
    for told in (found.cause, found.error, "\n".join(line for line in logged if "Traceback" in line), logged[-1]):
        assert f"the replies do not fit together: {BAD}: " in told
        assert text in told
        assert f"{GOOD}:" not in told


@pytest.mark.parametrize("kind", WRONG)
def test_wrong_arrays_name_their_data_owner(run: Run, logged: list[str], kind: str) -> None:
    arrays, text = WRONG[kind]
    good = {"num-examples": 1, "loss": 0.5}
    found = run(training(FedAvg()), [message_client(MODEL, good), message_client(arrays, good)])
    require_named(found, text, logged)
    assert ("record 'update', " in found.cause) is bool(arrays)


@pytest.mark.parametrize("strategy", [FedMedian, FedAdam])
def test_other_strategies_name_the_data_owner_too(run: Run, logged: list[str], strategy: type[Strategy]) -> None:
    arrays, text = WRONG["another shape"]
    good = {"num-examples": 1}
    found = run(training(strategy()), [message_client(MODEL, good), message_client(arrays, good)])
    require_named(found, text, logged)


@pytest.mark.parametrize("kind", ["another shape", "texts"])
def test_legacy_strategy_names_the_data_owner(run: Run, logged: list[str], kind: str) -> None:
    arrays, text = WRONG[kind]

    def server_fn(_: Context) -> ServerAppComponents:
        return ServerAppComponents(strategy=LegacyFedAvg(), config=ServerConfig(num_rounds=1))

    clients = [legacy_client(sent) for sent in (MODEL, arrays)]
    found = run(ServerApp(server_fn=server_fn), clients)
    require_named(found, text.partition(" is ")[2], logged)


@pytest.mark.parametrize(
    ("metrics", "text"),
    [
        ({"loss": 0.5}, "key 'num-examples' is missing"),
        ({"num-examples": 1, "loss": [0.5]}, "key 'loss' is a list of 1 numbers instead of a number"),
    ],
)
def test_wrong_metrics_name_the_data_owners(run: Run, metrics: dict[str, Any], text: str) -> None:
    clients = [message_client(MODEL, {"num-examples": 1, "loss": 0.5}), message_client(MODEL, metrics)]
    found = run(training(FedAvg()), clients)
    # Without a third reply, none of the two is the usual one.
    assert f"{BAD}: record 'metrics', {text}" in found.cause
    assert f"{GOOD}: record 'metrics', " in found.cause


@pytest.mark.parametrize("shape", [(4, 2), (1,), ()])
def test_stretched_array_names_its_data_owner(run: Run, logged: list[str], shape: tuple[int, ...]) -> None:
    """NumPy adds such arrays without an error. The good replies are then the ones that differ from the model."""

    class WrongFirst(FedAvg):
        def aggregate_train(self, server_round: int, replies: Any) -> Any:
            found = sorted(replies, key=lambda reply: (reply.content["update"]["b"].shape == (2,)) is (shape == (4, 2)))
            return super().aggregate_train(server_round, found)

    good = {"num-examples": 1}
    wrong = with_(b=np.ones(shape, np.float32))
    found = run(training(WrongFirst()), [message_client(MODEL, good), message_client(wrong, good)])
    (line,) = [line for line in logged if "NumPy stretches such an array" in line]
    assert f"{BAD}: record 'update', key 'b' is float32 of shape {shape} instead of float32 of shape (2,)" in line
    assert found.state == "completed"


def test_replies_that_differ_on_purpose_are_no_failure(run: Run, logged: list[str]) -> None:
    class Parts(FedAvg):
        def aggregate_train(self, server_round: int, replies: Any) -> Any:
            assert len(list(replies)) == len(OWNERS)
            return None, None

    arrays, _ = WRONG["another shape"]
    good = {"num-examples": 1}
    found = run(training(Parts()), [message_client(MODEL, good), message_client(arrays, good)])
    assert (found.state, found.error) == ("completed", "")
    assert "fit together" not in "\n".join(logged)


def test_other_error_of_an_app_blames_no_data_owner(run: Run, logged: list[str]) -> None:
    def ask(grid: Grid, _: Context) -> None:
        content = RecordDict({"arrays": record_of(MODEL)})
        messages = [Message(content, node, "train", group_id="1") for node in grid.get_node_ids()]
        assert len(list(grid.send_and_receive(messages))) == len(OWNERS)
        raise ValueError("a defect of the own loop")

    arrays, _ = WRONG["another shape"]
    good = {"num-examples": 1}
    found = run(server_of(ask), [message_client(MODEL, good), message_client(arrays, good)])
    assert found.cause == "the ServerApp raised ValueError"
    assert "fit together" not in "\n".join(logged)
