"""A strategy that saves its rounds: it gets the same calls, with the round number of the whole training."""

import inspect
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from checkpointkit.models import MODEL, only, rounds, to_record
from checkpointkit.scripted import NoNodes, Scripted, ScriptedLegacy, of_round, start
from flwr.app import Array, ArrayRecord, MetricRecord
from flwr.common import ndarrays_to_parameters
from flwr.server import SimpleClientManager
from flwr.server.strategy import FedAvg as LegacyFedAvg
from flwr.serverapp import Grid
from flwr.serverapp.strategy import DifferentialPrivacyClientSideFixedClipping, FedAvg, Result, Strategy

from syft_flwr.checkpoints.strategies import KeptStrategy
from syft_flwr.errors import ConfigError
from syft_flwr.fl_orchestrator import Checkpoints


def test_kept_strategy_gets_the_overall_round_number(tmp_path: Path) -> None:
    scripted = Scripted()
    for rounds_before in (0, 2):
        checkpoints = Checkpoints(tmp_path)
        assert checkpoints.rounds_done == rounds_before
        evaluated: list[tuple[int, float]] = []

        def evaluate(number: int, arrays: ArrayRecord, seen: list[tuple[int, float]] = evaluated) -> None:
            seen.append((number, float(arrays["bias"].numpy())))

        scripted.asked.clear()
        result = start(checkpoints.keep(scripted), checkpoints, 2, evaluate_fn=evaluate)
        first, second = rounds_before + 1, rounds_before + 2
        assert scripted.asked == [
            ("summary", 0),
            *[
                (name, number)
                for number in (first, second)
                for name in ("configure_train", "aggregate_train", "configure_evaluate", "aggregate_evaluate")
            ],
        ]
        assert evaluated == [(number, float(number)) for number in (rounds_before, first, second)]
        np.testing.assert_array_equal(result.arrays["weight"].numpy(), of_round(second)["weight"])
        assert rounds(checkpoints) == (second, None)


def test_round_without_arrays_is_not_saved(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path)
    start(checkpoints.keep(Scripted(trained={2: (None, None), 3: (ArrayRecord(), None)})), checkpoints, 3)
    assert rounds(checkpoints) == (1, None)
    checkpoints = Checkpoints(tmp_path)
    start(checkpoints.keep(Scripted()), checkpoints, 1)
    assert rounds(checkpoints) == (2, None)


@pytest.mark.parametrize("source", ["train", "evaluate", "central"])
def test_best_is_chosen_by_the_named_metric(tmp_path: Path, source: str) -> None:
    values = {"train": [3.0, 1.0, 2.0], "evaluate": [1.0, 3.0, 2.0], "central": [1.0, 2.0, 3.0]}
    checkpoints = Checkpoints(tmp_path, metric=f"{source}/accuracy")

    def metrics(of: str, number: int) -> MetricRecord:
        return MetricRecord({"accuracy": values[of][number - 1]})

    scripted = Scripted(
        trained={number: (to_record(of_round(number)), metrics("train", number)) for number in (1, 2, 3)},
        evaluated={number: metrics("evaluate", number) for number in (1, 2, 3)},
    )
    start(
        checkpoints.keep(scripted),
        checkpoints,
        3,
        evaluate_fn=lambda number, _: metrics("central", number) if number else None,
    )
    best = values[source].index(3.0) + 1
    assert rounds(checkpoints) == (3, best)
    found = only(checkpoints.best())
    assert found.metrics[f"{source}/accuracy"] == 3.0
    assert found.metrics["train/accuracy"] == values["train"][best - 1]
    np.testing.assert_array_equal(found.arrays["weight"], of_round(best)["weight"])


def test_round_without_arrays_evaluates_the_saved_ones(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path, metric="evaluate/accuracy")
    evaluated = {number: MetricRecord({"accuracy": value}) for number, value in ((2, 0.5), (3, 0.75), (4, 0.25))}
    start(checkpoints.keep(Scripted(trained={2: (None, None), 3: (None, None)}, evaluated=evaluated)), checkpoints, 4)
    assert rounds(checkpoints) == (4, 1)
    # The first evaluation of these arrays counts.
    assert only(checkpoints.best()).metrics == {"evaluate/accuracy": 0.5}
    np.testing.assert_array_equal(only(checkpoints.best()).arrays["weight"], of_round(1)["weight"])


def test_evaluation_of_unsaved_arrays_chooses_no_best(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path, metric="central/accuracy")
    start(
        checkpoints.keep(Scripted()),
        checkpoints,
        2,
        evaluate_fn=lambda number, _: MetricRecord({"accuracy": 1.0 - number}),
    )
    assert rounds(checkpoints) == (2, 1)


def test_arrays_are_saved_before_their_evaluation(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path, metric="central/accuracy")

    def evaluate(number: int, arrays: ArrayRecord) -> MetricRecord:
        if number == 2:
            raise RuntimeError("the evaluation failed")
        return MetricRecord({"accuracy": 0.5})

    with pytest.raises(RuntimeError, match="the evaluation failed"):
        start(checkpoints.keep(Scripted()), checkpoints, 3, evaluate_fn=evaluate)
    assert rounds(checkpoints) == (2, 1)


def test_interrupted_evaluation_is_repeated(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path, metric="central/accuracy")
    checkpoints.save(1, of_round(1), {"central/accuracy": 0.5})
    checkpoints.save(2, of_round(2))

    again = Checkpoints(tmp_path, metric="central/accuracy")
    start(again.keep(Scripted()), again, 0, evaluate_fn=lambda *_: MetricRecord({"accuracy": 0.75}))
    assert rounds(again) == (2, 2)
    assert only(again.best()).metrics == {"central/accuracy": 0.75}


@pytest.mark.parametrize("num_rounds", [1, 3])
def test_missing_metric_is_logged_once(tmp_path: Path, num_rounds: int, logged: list[str]) -> None:
    checkpoints = Checkpoints(tmp_path, metric="evaluate/accuracy")
    scripted = Scripted(evaluated=dict.fromkeys(range(9), MetricRecord({"loss": 1.0})))
    start(checkpoints.keep(scripted), checkpoints, num_rounds)
    warnings = [line for line in logged if line.startswith("WARNING")]
    assert len(warnings) == 1
    assert "round 1 has no number 'evaluate/accuracy', only evaluate/loss" in warnings[0]
    assert rounds(checkpoints) == (num_rounds, None)


def test_training_over_an_older_checkpoint_is_refused(tmp_path: Path) -> None:
    Checkpoints(tmp_path).save(7, of_round(7))
    checkpoints = Checkpoints(tmp_path)
    scripted = Scripted()
    strategy = checkpoints.keep(scripted)
    with pytest.raises(ConfigError, match=r"is already of round 7; this training would overwrite it with round 1"):
        strategy.start(cast("Grid", NoNodes()), to_record(of_round(0)), 2)
    assert scripted.asked == [("summary", 0)]

    start(strategy, checkpoints, 1)
    assert rounds(checkpoints) == (8, None)
    with pytest.raises(ConfigError, match="is already of round 8"):
        strategy.start(cast("Grid", NoNodes()), to_record(of_round(8)), 1)


def test_unsupported_arrays_are_refused_before_round_one(tmp_path: Path) -> None:
    scripted = Scripted()
    strategy = Checkpoints(tmp_path).keep(scripted)
    with pytest.raises(ConfigError, match="complex64"):
        strategy.start(cast("Grid", NoNodes()), ArrayRecord({"a": Array(np.zeros(1, np.complex64))}), 2)
    assert scripted.asked == [("summary", 0)]

    legacy = Checkpoints(tmp_path, names=["weight"]).keep(LegacyFedAvg())
    with pytest.raises(ConfigError, match="1 names for 2 arrays"):
        legacy.configure_fit(1, ndarrays_to_parameters(list(MODEL.values())), SimpleClientManager())


class OwnLoop(FedAvg):
    """A strategy with its own start(), as in one of Flower's examples."""

    def start(self, *_: Any, **__: Any) -> Result:
        return Result()


@pytest.mark.parametrize(
    ("strategy", "options", "what"),
    [
        (FedAvg(), {"metric": "accuracy"}, "does not start with its source"),
        (FedAvg(), {"metric": "test/accuracy"}, "does not start with its source"),
        (LegacyFedAvg(), {}, "names: not set"),
        (OwnLoop(), {}, r"OwnLoop overrides start\(\)"),
        ("fedavg", {}, "str is not a strategy"),
    ],
)
def test_unsupported_strategy_is_refused(tmp_path: Path, strategy: Any, options: dict[str, Any], what: str) -> None:
    with pytest.raises(ConfigError, match=what):
        Checkpoints(tmp_path, **options).keep(strategy)


def test_kept_strategy_is_accessible_and_kept_only_once(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path, names=list(MODEL))
    inner = DifferentialPrivacyClientSideFixedClipping(FedAvg(), 1.0, 1.0, 2)
    kept = checkpoints.keep(inner)
    assert kept.strategy is inner
    for strategy in (kept, checkpoints.keep(LegacyFedAvg())):
        with pytest.raises(ConfigError, match=r"already passed to checkpoints\.keep"):
            checkpoints.keep(cast("Strategy", strategy))


def test_start_has_the_signature_of_flower() -> None:
    ours, flowers = inspect.signature(KeptStrategy.start), inspect.signature(Strategy.start)
    assert list(ours.parameters) == list(flowers.parameters)
    assert [one.default for one in ours.parameters.values()] == [one.default for one in flowers.parameters.values()]


@pytest.mark.parametrize(("metric", "best"), [("central/loss", 1), ("evaluate/loss", 1), ("train/loss", 1)])
def test_legacy_strategy_saves_last_and_best_round(tmp_path: Path, metric: str, best: int) -> None:
    asked: list[tuple[str, int]] = []
    manager = SimpleClientManager()
    for rounds_before in (0, 1):
        checkpoints = Checkpoints(tmp_path, metric=metric, higher_is_better=False, names=["weight", "bias"])
        initial = checkpoints.initial(None)
        strategy = checkpoints.keep(ScriptedLegacy(asked, initial_parameters=initial))
        asked.clear()
        # The calls of flwr.server.Server.fit, in the same order.
        parameters = strategy.initialize_parameters(manager)
        assert parameters is initial
        strategy.evaluate(0, parameters or ndarrays_to_parameters([]))
        strategy.configure_fit(1, ndarrays_to_parameters(list(of_round(0).values())), manager)
        made, _ = strategy.aggregate_fit(1, [], [])
        assert made is not None
        strategy.evaluate(1, made)
        strategy.configure_evaluate(1, made, manager)
        assert strategy.aggregate_evaluate(1, [], []) == (1.0, {"loss": 9.0, "accuracy": 0.5})
        number = rounds_before + 1
        assert asked == [
            ("evaluate", rounds_before),
            ("configure_fit", number),
            ("aggregate_fit", number),
            ("evaluate", number),
            ("configure_evaluate", number),
            ("aggregate_evaluate", number),
        ]
    assert rounds(checkpoints) == (2, best)
    assert only(checkpoints.best()).metrics[metric] == {"central": 1.0, "evaluate": 1.0, "train": 2.0}[metric[:-5]]
    assert only(checkpoints.last()).metrics == {"train/loss": 2.0}
    np.testing.assert_array_equal(only(checkpoints.last()).arrays["weight"], of_round(2)["weight"])
