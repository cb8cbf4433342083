"""A data owner cannot make strategies of Flower build arrays or lists that are far larger than its reply."""

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from faultkit.federation import Federation
from faultkit.storage import MemoryStorage
from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Message, MetricRecord, RecordDict
from flwr.client import NumPyClient
from flwr.clientapp import ClientApp
from flwr.common import ndarrays_to_parameters, parameters_to_ndarrays
from flwr.server import ServerAppComponents, ServerConfig
from flwr.server import strategy as legacy
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAdam, FedAvg, FedAvgM, Strategy

from syft_flwr.errors import RunError
from syft_flwr.fl_orchestrator import syftbox_flwr_server
from syft_flwr.runs.finding import find_run
from syft_flwr.runs.outcome import Loss

BAD, *GOOD = OWNERS = [f"do{number}@hospital-{number}.example" for number in range(3)]
#: A reply has 32 KiB. Its sum with the model would have 256 MiB in NumPy, and counts as 512 MiB.
N = 8192
MODEL = np.ones(N, np.float32)
WRONG = np.ones((N, 1), np.float32)


class OldClient(NumPyClient):
    def __init__(self, array: Any) -> None:
        self._array = array

    def fit(self, parameters: list[Any], config: dict[str, Any]) -> tuple[list[Any], int, dict[str, Any]]:
        return [self._array], 1, {}

    def evaluate(self, parameters: list[Any], config: dict[str, Any]) -> tuple[float, int, dict[str, Any]]:
        return 0.5, 1, {}


def old_client(array: Any) -> ClientApp:
    return ClientApp(client_fn=lambda _: OldClient(array).to_client())


def new_client(array: Any, *, error: bool = False) -> ClientApp:
    app = ClientApp()

    @app.train()
    def train(message: Message, context: Context) -> Message:
        if error:
            raise ValueError("no data today")
        update, metrics = ArrayRecord({"w": Array(array)}), MetricRecord({"num-examples": 1})
        return Message(RecordDict({"update": update, "metrics": metrics}), reply_to=message)

    return app


class Run:
    """Runs a federation in memory. Afterwards, it has the state, the cause and the losses of the run."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def __call__(self, server: ServerApp, clients: list[ClientApp]) -> "Run":
        with Federation(self._root, MemoryStorage(), emails=OWNERS) as federation:
            for email, app in zip(OWNERS, clients, strict=True):
                federation[email].client_app = app
                federation[email].start()
            context = Context(run_id=0, node_id=0, node_config={}, state=RecordDict(), run_config={})
            with contextlib.suppress(RunError):
                client = federation.participant
                syftbox_flwr_server(server, context, OWNERS, federation.app, client=client, raise_on_error=True)
            for email in OWNERS:
                federation[email].join()
            found = find_run(federation.participant.settings, context.run_id)
            self.state, self.cause, self.losses = found.state, found.cause, tuple(found.losses)
        return self


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run(tmp_path / "homes")


LEGACY: dict[str, Callable[..., legacy.Strategy]] = {
    "FedAvg": lambda **options: legacy.FedAvg(inplace=False, **options),
    "FedAvgM": legacy.FedAvgM,
    "QFedAvg": legacy.QFedAvg,
    "MultiKrum": lambda **options: legacy.Krum(num_clients_to_keep=3, **options),
}


@pytest.mark.parametrize("name", LEGACY)
def test_legacy_strategy_builds_no_grown_array(run: Run, logged: list[str], name: str) -> None:
    shapes: list[tuple[int, ...]] = []

    def evaluate(server_round: int, arrays: list[Any], config: dict[str, Any]) -> tuple[float, dict[str, Any]]:
        shapes.append(arrays[0].shape)
        return 0.0, {}

    initial = ndarrays_to_parameters([MODEL])
    strategy = LEGACY[name](initial_parameters=initial, fraction_evaluate=0.0, evaluate_fn=evaluate)

    def server_fn(_: Context) -> ServerAppComponents:
        return ServerAppComponents(strategy=strategy, config=ServerConfig(num_rounds=1))

    found = run(ServerApp(server_fn=server_fn), [old_client(WRONG), *[old_client(MODEL)] * 2])
    assert len(shapes) >= 2
    assert set(shapes) == {(N,)}
    require_named(found, logged, "fitres.parameters", "0")


def require_named(found: Run, logged: list[str], record: str, key: str) -> None:
    """Check that only the wrong reply is a loss, and that the log names its data owner, record and key."""
    assert (found.state, found.losses) == ("completed", (Loss(BAD, "train", "invalid", 1),))
    (line,) = [line for line in logged if f"{BAD} has failed in train of round 1: invalid: " in line]
    assert (
        f"record '{record}', key '{key}': NumPy would add arrays of the shapes ({N}, 1) and ({N},) as one of " in line
    )


def test_legacy_replies_without_a_model_are_settled_together(run: Run, logged: list[str]) -> None:
    sums: list[Any] = []

    class Sum(legacy.FedAvg):
        def aggregate_fit(self, server_round: int, results: Any, failures: Any) -> Any:
            aggregated, metrics = super().aggregate_fit(server_round, results, failures)
            sums.append((len(failures), parameters_to_ndarrays(aggregated)[0].shape))
            return None, metrics

    def server_fn(_: Context) -> ServerAppComponents:
        strategy = Sum(inplace=False, initial_parameters=ndarrays_to_parameters([]), fraction_evaluate=0.0)
        return ServerAppComponents(strategy=strategy, config=ServerConfig(num_rounds=2))

    found = run(ServerApp(server_fn=server_fn), [old_client(WRONG), *[old_client(MODEL)] * 2])
    assert found.state == "completed"
    assert sums == [(1, (N,)), (1, (N,))]
    lines = [line for line in logged if f"the reply of {BAD} in round " in line]
    assert ["is not used: record 'fitres.parameters', key '0': NumPy would add" in line for line in lines] == [True] * 2


def strategy_app(strategy: Strategy, shapes: list[tuple[int, ...]]) -> ServerApp:
    app = ServerApp()

    @app.main()
    def main(grid: Grid, context: Context) -> None:
        result = strategy.start(grid, ArrayRecord({"w": Array(MODEL)}), num_rounds=1)
        shapes.extend(tuple(array.shape) for array in result.arrays.values())

    return app


@pytest.mark.parametrize("kind", [FedAvg, FedAdam])
def test_strategy_goes_on_with_the_other_replies(run: Run, logged: list[str], kind: type[FedAvg]) -> None:
    shapes: list[tuple[int, ...]] = []
    strategy = kind(fraction_evaluate=0.0)
    found = run(strategy_app(strategy, shapes), [new_client(WRONG), *[new_client(MODEL)] * 2])
    assert shapes == [(N,)]
    require_named(found, logged, "update", "w")


@pytest.mark.parametrize("kind", [FedAdam, FedAvgM])
def test_only_reply_cannot_grow_with_the_model(run: Run, kind: type[FedAvg]) -> None:
    shapes: list[tuple[int, ...]] = []
    strategy = kind(fraction_evaluate=0.0)
    found = run(strategy_app(strategy, shapes), [new_client(WRONG), *[new_client(MODEL, error=True)] * 2])
    assert (found.state, shapes) == ("failed", [])
    assert f"{BAD}: 1 train invalid" in found.cause


def test_shape_that_all_data_owners_change_is_no_loss(run: Run) -> None:
    shapes: list[tuple[int, ...]] = []
    found = run(strategy_app(FedAvg(fraction_evaluate=0.0), shapes), [new_client(WRONG)] * 3)
    assert (found.state, found.losses, shapes) == ("completed", (), [(N, 1)])


@pytest.mark.parametrize(
    ("record", "key"), [("evaluateres.loss", "loss"), ("evaluateres.num_examples", "num_examples")]
)
def test_list_in_a_legacy_result_is_refused(run: Run, logged: list[str], record: str, key: str) -> None:
    """Flower multiplies the loss with the number of examples. A list would become that many times longer."""

    def hostile(message: Message, context: Context) -> Message:
        numbers = {"loss": 0.5, "num_examples": 2**31}
        records: dict[str, Any] = {
            f"evaluateres.{name}": MetricRecord({name: [value] if name == key else value})
            for name, value in numbers.items()
        }
        records["evaluateres.metrics"] = ConfigRecord()
        records["evaluateres.status"] = ConfigRecord({"code": 0, "message": ""})
        return Message(RecordDict(records), reply_to=message)

    bad = ClientApp()
    bad.evaluate()(hostile)
    losses: list[float | None] = []

    class Kept(legacy.FedAvg):
        def aggregate_evaluate(self, server_round: int, results: Any, failures: Any) -> Any:
            aggregated = super().aggregate_evaluate(server_round, results, failures)
            losses.append(aggregated[0])
            return aggregated

    def server_fn(_: Context) -> ServerAppComponents:
        strategy = Kept(initial_parameters=ndarrays_to_parameters([MODEL]), fraction_fit=0.0, min_fit_clients=0)
        return ServerAppComponents(strategy=strategy, config=ServerConfig(num_rounds=1))

    found = run(ServerApp(server_fn=server_fn), [bad, *[old_client(MODEL)] * 2])
    assert losses == [0.5]
    assert found.losses == (Loss(BAD, "evaluate", "invalid", 1),)
    lines = [line for line in logged if f"{BAD} has failed in evaluate" in line]
    assert f"record '{record}', key '{key}' is a list in the place of a number" in lines[0]
