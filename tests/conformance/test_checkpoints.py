"""A resumed training ends with the same result as an uninterrupted one, bit by bit, in both APIs.

The tests use Flower's own FedAvg and loops, on Flower itself and on this package. The clients are those of the
conformance apps.
"""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any, cast

import numpy as np
import pytest
from conformance_apps import legacy, strategies, task
from conformance_apps.outcome import keep
from federations.case import Case, Federation, Outcome
from federations.reference import ReferenceFederation
from flwr.app import ArrayRecord, ConfigRecord, Context, MetricRecord
from flwr.common import ndarrays_to_parameters
from flwr.server import ServerAppComponents, ServerConfig
from flwr.server.strategy import FedAvg as LegacyFedAvg
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import Strategy

from syft_flwr.errors import RunError
from syft_flwr.fl_orchestrator import Checkpoint, Checkpoints

ROUNDS = 4
#: The last of four clients fails in round 3 of the whole training, which Flower counts as 1 or 2 after a restart.
CLIENTS, CONFIG = 4, {"fails-in-round": 3}
MODULE = "checkpointed"


@dataclass(frozen=True)
class Leg:
    """One start of a training: its checkpoint folder or None, its last round, and the round that raises."""

    folder: Path | None
    until: int = ROUNDS
    raises_in: int = -1

    def checkpoints(self) -> Checkpoints | None:
        if self.folder is None:
            return None
        return Checkpoints(self.folder, metric="central/loss", higher_is_better=False, names=task.KEYS)


def raise_if(asked: bool) -> None:
    if asked:
        raise RuntimeError("the evaluation was told to fail")


def message_app(leg: Leg) -> ServerApp:
    app = ServerApp()

    @app.main()
    def main(grid: Grid, context: Context) -> None:
        config = context.run_config
        features, seed = int(config["data.features"]), int(config["seed"])
        held_out = task.load(CLIENTS, features, seed)
        strategy: Strategy = strategies.make_strategy(grid, "fedavg")
        arrays, num_rounds = strategies.to_record(task.initial_model(features)), leg.until
        if checkpoints := leg.checkpoints():
            strategy = checkpoints.keep(strategy)
            arrays, num_rounds = checkpoints.initial(arrays), leg.until - checkpoints.rounds_done

        def evaluate(server_round: int, arrays: ArrayRecord) -> MetricRecord:
            raise_if(server_round == leg.raises_in)
            loss, _ = task.evaluate(strategies.to_model(arrays), held_out)
            return MetricRecord({"loss": loss, "round": server_round})

        settings = ConfigRecord({"learning-rate": config["learning-rate"], "local-steps": config["local-steps"]})
        result = strategy.start(grid, arrays, num_rounds, 60, settings, evaluate_fn=evaluate)
        found = result.evaluate_metrics_serverapp
        keep(context, result.arrays, {"losses": [found[number]["loss"] for number in sorted(found)]})

    return app


def legacy_app(leg: Leg) -> ServerApp:
    def server_fn(context: Context) -> ServerAppComponents:
        checkpoints, num_rounds = leg.checkpoints(), leg.until
        initial = ndarrays_to_parameters(task.initial_model(int(context.run_config["data.features"])))
        if checkpoints:
            initial, num_rounds = checkpoints.initial(initial), leg.until - checkpoints.rounds_done
        strategy = legacy.make_strategy(context, CLIENTS, initial_parameters=initial)
        evaluate = strategy.evaluate_fn
        assert evaluate

        def evaluate_or_raise(server_round: int, model: task.Model, config: dict[str, Any]) -> Any:
            raise_if(server_round == leg.raises_in)
            return evaluate(server_round, model, config)

        strategy.evaluate_fn = evaluate_or_raise
        if checkpoints:
            strategy = cast("LegacyFedAvg", checkpoints.keep(strategy))
        server = legacy.KeepingServer(context, strategy)
        return ServerAppComponents(server=server, config=ServerConfig(num_rounds=num_rounds, round_timeout=60))

    return ServerApp(server_fn=server_fn)


@dataclass
class Api:
    """One of Flower's two APIs: its apps, and the central losses in its history."""

    make_app: Callable[[Leg], ServerApp]
    client_app: str
    losses: Callable[[Outcome], list[float]]

    def run(self, federation: Federation, leg: Leg, monkeypatch: pytest.MonkeyPatch) -> Outcome:
        module = ModuleType(MODULE)
        module.server_app = self.make_app(leg)  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, MODULE, module)
        return federation.run(Case(f"{MODULE}:server_app", self.client_app, CLIENTS, CONFIG))


APIS = {
    "message": Api(message_app, "conformance_apps.strategies:client_app", lambda outcome: outcome.history["losses"]),
    "legacy": Api(
        legacy_app,
        "conformance_apps.legacy:client_app",
        lambda outcome: [loss for _, loss in outcome.history["losses_centralized"]],
    ),
}


def assert_same_arrays(found: dict[str, Any], expected: dict[str, Any]) -> None:
    assert list(found) == list(expected)
    for name, array in expected.items():
        assert (found[name].dtype, found[name].shape) == (array.dtype, array.shape)
        assert found[name].tobytes() == array.tobytes(), name


def only(checkpoint: Checkpoint | None) -> Checkpoint:
    assert checkpoint is not None
    return checkpoint


@pytest.fixture(scope="module")
def straight() -> Callable[[str], Outcome]:
    """Return a function that maps an API to the outcome of one uninterrupted training on Flower itself."""

    def run(name: str) -> Outcome:
        with pytest.MonkeyPatch.context() as monkeypatch:
            return APIS[name].run(ReferenceFederation(), Leg(None), monkeypatch)

    return cache(run)


@pytest.mark.parametrize("name", APIS)
@pytest.mark.parametrize("stops", [[2, 4], [1, 3, 4]], ids=str)
def test_resumed_training_gives_the_same_result(
    federation: Federation,
    name: str,
    stops: list[int],
    straight: Callable[[str], Outcome],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    api, folder, expected = APIS[name], tmp_path / "checkpoints", straight(name)
    losses: list[float] = []
    for until in stops:
        outcome = api.run(federation, Leg(folder, until), monkeypatch)
        # Each start first evaluates its initial arrays, which are the last ones of the start before.
        losses = [*losses[:-1], *api.losses(outcome)]
    assert_same_arrays(outcome.arrays, expected.arrays)
    assert losses == api.losses(expected)

    checkpoints = Checkpoints(folder)
    last, best = only(checkpoints.last()), only(checkpoints.best())
    assert last.server_round == ROUNDS
    assert_same_arrays(last.arrays, expected.arrays)
    assert best.metrics["central/loss"] == min(losses[1:])
    assert best.server_round == 1 + int(np.argmin(losses[1:]))


@pytest.mark.parametrize("name", APIS)
def test_failed_evaluation_loses_no_round(
    federation: Federation,
    name: str,
    straight: Callable[[str], Outcome],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    api, folder, expected = APIS[name], tmp_path / "checkpoints", straight(name)
    with pytest.raises((RuntimeError, RunError), match="the evaluation was told to fail"):
        api.run(federation, Leg(folder, raises_in=3), monkeypatch)
    assert Checkpoints(folder).rounds_done == 3

    outcome = api.run(federation, Leg(folder), monkeypatch)
    assert_same_arrays(outcome.arrays, expected.arrays)
    assert api.losses(outcome) == api.losses(expected)[-2:]
    best = only(Checkpoints(folder).best())
    assert best.server_round == 1 + int(np.argmin(api.losses(expected)[1:]))


@pytest.mark.parametrize("name", APIS)
def test_training_without_its_checkpoint_is_refused(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Only on Flower: on this package, such a short run can end before every data owner has joined it.
    api, folder, federation = APIS[name], tmp_path / "checkpoints", ReferenceFederation()
    api.run(federation, Leg(folder, 1), monkeypatch)
    before = (folder / "last.safetensors").read_bytes()
    monkeypatch.setattr(Checkpoints, "initial", lambda _, arrays: arrays)
    with pytest.raises(Exception, match="would overwrite it with round 1"):
        api.run(federation, Leg(folder, 3), monkeypatch)
    assert (folder / "last.safetensors").read_bytes() == before
