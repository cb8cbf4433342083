"""The hook into Flower's strategies: real strategies of both APIs, run without a network, are reported and not changed."""

import copy
import dataclasses
import inspect
import pickle
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, cast

import cloudpickle
import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Message, MetricRecord, RecordDict
from flwr.common import (
    Code,
    EvaluateRes,
    FitIns,
    FitRes,
    GetParametersRes,
    Status,
    ndarrays_to_parameters,
    parameters_to_ndarrays,
)
from flwr.server import History, Server, ServerConfig, SimpleClientManager
from flwr.server import strategy as legacy
from flwr.server.client_proxy import ClientProxy
from flwr.serverapp import Grid, ServerApp, strategy
from flwr.serverapp.strategy import FedAvg, Result, Strategy

from syft_flwr.fl_orchestrator import Checkpoints
from syft_flwr.flower import SUPERLINK_NODE_ID, Run, TaskIdentity, set_task_identity
from syft_flwr.strategy_hook import following_strategies

TRAINED, EVALUATED = {"loss": 0.5}, {"accuracy": 0.75}
#: The reports of each round of ``FedAvg``; the grid answers the same in each round.
ROUND = [("train", TRAINED), ("evaluate", EVALUATED)]
PATCHED = (Strategy, Server, Result, History, SimpleClientManager, legacy.Strategy)


@pytest.fixture(autouse=True)
def identity() -> Iterator[None]:
    """Set the identity of the aggregator, which each message needs, and reset it after the test."""
    set_task_identity(7, SUPERLINK_NODE_ID)
    yield
    for name in ("task_id", "run_id", "node_id"):
        setattr(TaskIdentity, name, None)


@pytest.fixture(autouse=True)
def nothing_left() -> Iterator[None]:
    """Check that Flower's classes are the same after the test as before it."""
    before = [contents_of(place) for place in PATCHED]
    yield
    assert [contents_of(place) for place in PATCHED] == before
    assert Strategy.__getattribute__ is object.__getattribute__
    assert Server.__getattribute__ is object.__getattribute__
    assert legacy.Strategy.__getattribute__ is object.__getattribute__


def contents_of(place: type) -> dict[str, Any]:
    """Return all names in a class, without the one that ``pickle`` adds to each class that it has seen."""
    return {name: value for name, value in vars(place).items() if name != "__slotnames__"}


class FunctionGrid(Grid):
    """Two nodes whose replies a function makes."""

    def set_run(self, run: Run) -> None:
        raise NotImplementedError

    @property
    def run(self) -> Run:
        return Run.create_empty(7)

    def create_message(self, *_: Any, **__: Any) -> Message:
        raise NotImplementedError

    def get_node_ids(self) -> Iterable[int]:
        return [3, 5]

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        raise NotImplementedError

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        raise NotImplementedError

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> Iterable[Message]:
        return [self._answer(message) for message in messages]

    def _answer(self, message: Message) -> Message:
        training = message.metadata.message_type == "train"
        content = RecordDict({"metrics": MetricRecord({**(TRAINED if training else EVALUATED), "num-examples": 4})})
        if training:
            weight = message.content.array_records["arrays"]["weight"].numpy()
            content["arrays"] = ArrayRecord({"weight": Array(weight + 1)})
        set_task_identity(7, message.metadata.dst_node_id)
        reply = Message(content, reply_to=message)
        set_task_identity(7, SUPERLINK_NODE_ID)
        return reply


class FunctionProxy(ClientProxy):
    """A client of the legacy API that replies without a network."""

    def get_parameters(self, *_: Any, **__: Any) -> GetParametersRes:
        return GetParametersRes(Status(Code.OK, ""), make_parameters())

    def fit(self, ins: FitIns, *_: Any, **__: Any) -> FitRes:
        trained = [weight + 1 for weight in parameters_to_ndarrays(ins.parameters)]
        return FitRes(Status(Code.OK, ""), ndarrays_to_parameters(trained), 4, dict(TRAINED))

    def evaluate(self, *_: Any, **__: Any) -> EvaluateRes:
        return EvaluateRes(Status(Code.OK, ""), 1.5, 4, dict(EVALUATED))

    def get_properties(self, *_: Any, **__: Any) -> Any:
        raise NotImplementedError

    def reconnect(self, *_: Any, **__: Any) -> Any:
        raise NotImplementedError


class Recorded:
    """The reports in their order: the number of rounds, or round, source and values."""

    def __init__(self) -> None:
        self.totals: list[int] = []
        self.metrics_of: list[tuple[int, str, dict[str, Any]]] = []

    def rounds(self, total: int) -> None:
        self.totals.append(total)

    def metrics(self, server_round: int, source: str, values: Mapping[str, Any]) -> None:
        self.metrics_of.append((server_round, source, dict(values)))


@pytest.fixture
def record() -> Recorded:
    return Recorded()


def make_arrays() -> ArrayRecord:
    return ArrayRecord({"weight": Array(np.ones(3, dtype=np.float32))})


def make_parameters() -> Any:
    return ndarrays_to_parameters([np.ones(3, dtype=np.float32)])


def in_rounds(*numbers: int) -> list[tuple[int, str, dict[str, Any]]]:
    """Return the reports of these rounds of ``FedAvg``, in their order."""
    return [(number, source, values) for number in numbers for source, values in ROUND]


def start(followed: Any, num_rounds: int = 2, **options: Any) -> Any:
    return followed.start(FunctionGrid(), make_arrays(), num_rounds=num_rounds, **options)


def first_metrics(metrics: list[tuple[int, dict[str, Any]]]) -> dict[str, Any]:
    return metrics[0][1]


def make_legacy(**options: Any) -> legacy.FedAvg:
    return legacy.FedAvg(
        initial_parameters=make_parameters(),
        fit_metrics_aggregation_fn=first_metrics,
        evaluate_metrics_aggregation_fn=first_metrics,
        **options,
    )


def make_server(kind: type[Server] = Server, of: legacy.Strategy | None = None) -> Server:
    manager = SimpleClientManager()
    for cid in ("3", "5"):
        manager.register(FunctionProxy(cid))
    return kind(client_manager=manager, strategy=of or make_legacy())


LEGACY_ROUND = [("train", TRAINED), ("evaluate", {"loss": 1.5}), ("evaluate", EVALUATED)]


def in_legacy_rounds(*numbers: int) -> list[tuple[int, str, dict[str, Any]]]:
    return [(number, source, values) for number in numbers for source, values in LEGACY_ROUND]


# Results that must not be aggregated


@pytest.mark.parametrize("by_name", [False, True])
def test_refused_result_is_a_failure_of_the_aggregation(record: Recorded, by_name: bool) -> None:
    seen: list[tuple[list[str], list[str]]] = []
    asked: list[int] = []

    class Own(legacy.FedAvg):
        def aggregate_fit(self, server_round: int, results: Any, failures: Any) -> Any:
            seen.append(([client.cid for client, _ in results], [str(failure) for failure in failures]))
            return super().aggregate_fit(server_round, results, failures)

    def settle(server_round: int) -> dict[str, Exception]:
        asked.append(server_round)
        return {"5": ValueError("too large")} if server_round == 2 else {}

    own = Own()
    results = [(FunctionProxy(cid), FunctionProxy(cid).fit(FitIns(make_parameters(), {}))) for cid in ("3", "5")]
    with following_strategies(record, settle=settle):
        for server_round in (1, 2):
            if by_name:
                own.aggregate_fit(failures=[ValueError("absent")], results=results, server_round=server_round)
            else:
                own.aggregate_fit(server_round, results, [ValueError("absent")])
    own.aggregate_fit(2, results, [])
    assert asked == [1, 2]
    assert seen == [(["3", "5"], ["absent"]), (["3"], ["absent", "too large"]), (["3", "5"], [])]


@pytest.mark.parametrize("name", ["aggregate_fit", "aggregate_evaluate"])
def test_legacy_results_come_in_the_order_of_nodes(record: Recorded, name: str) -> None:
    seen: list[Any] = []

    class Own(legacy.FedAvg):
        def aggregate_fit(self, server_round: int, results: Any, failures: Any) -> Any:
            seen.append(results)
            return None, {}

        aggregate_evaluate = aggregate_fit

    results: list[Any] = [(FunctionProxy(cid), object()) for cid in ("5", "3", "4")]
    own: list[Any] = [{"b": 1}, {"a": 2}]
    with following_strategies(record):
        for given in (results, own):
            getattr(Own(), name)(1, given, [])

    assert seen == [[results[1], results[2], results[0]], own]
    assert [client.cid for client, _ in results] == ["5", "3", "4"]


# Flower's own strategies


def test_each_metric_is_reported_when_it_is_made(record: Recorded) -> None:
    seen = []

    def evaluate(server_round: int, arrays: ArrayRecord) -> MetricRecord | None:
        seen.append(len(record.metrics_of))
        return None if server_round == 1 else MetricRecord({"auc": server_round / 4})

    with following_strategies(record):
        start(FedAvg(), evaluate_fn=evaluate)

    central = [(0, "central", {"auc": 0.0}), (2, "central", {"auc": 0.5})]
    assert record.totals == [2]
    assert record.metrics_of == [central[0], *in_rounds(1, 2), central[1]]
    assert seen == [0, 3, 5]


def test_default_number_of_rounds_is_reported(record: Recorded) -> None:
    with following_strategies(record):
        FedAvg().start(FunctionGrid(), make_arrays())

    assert record.totals == [3]


def test_legacy_server_reports_rounds_and_metrics(record: Recorded) -> None:
    def evaluate(server_round: int, *_: Any) -> tuple[float, dict[str, Any]]:
        return server_round / 2, {"auc": 0.5, "loss": 9.0}

    with following_strategies(record):
        history, _ = make_server(of=make_legacy(evaluate_fn=evaluate)).fit(num_rounds=1, timeout=None)

    central = [[(number, "central", {"loss": number / 2}), (number, "central", {"auc": 0.5})] for number in (0, 1)]
    trained, *evaluated = in_legacy_rounds(1)
    assert record.totals == [1]
    # The metric of the strategy with the name of the loss is not reported a second time.
    assert record.metrics_of == [*central[0], trained, *central[1], *evaluated]
    assert history.metrics_centralized["loss"] == [(0, 9.0), (1, 9.0)]


def test_legacy_server_app_is_reported(record: Recorded) -> None:
    app = ServerApp(config=ServerConfig(num_rounds=4), server=make_server())
    context = Context(run_id=7, node_id=1, node_config={}, state=RecordDict(), run_config={})

    class NoNodes(FunctionGrid):
        def get_node_ids(self) -> Iterable[int]:
            return []

    with following_strategies(record):
        app(NoNodes(), context)

    assert record.totals == [4]
    assert record.metrics_of == in_legacy_rounds(1, 2, 3, 4)


# Wrappers and own strategies


def wrapped_for_privacy(inner: Strategy) -> Strategy:
    return strategy.DifferentialPrivacyServerSideFixedClipping(inner, 0.0, 10.0, 2)


def test_privacy_wrapper_reports_once(record: Recorded) -> None:
    with following_strategies(record):
        start(wrapped_for_privacy(FedAvg()))

    assert record.totals == [2]
    assert record.metrics_of == in_rounds(1, 2)


def test_legacy_privacy_wrapper_reports_once(record: Recorded) -> None:
    wrapper = legacy.DifferentialPrivacyServerSideFixedClipping(make_legacy(), 0.0, 10.0, 2)

    with following_strategies(record):
        make_server(of=wrapper).fit(2, None)

    assert record.totals == [2]
    assert record.metrics_of == in_legacy_rounds(1, 2)


def test_kept_strategies_report_once(record: Recorded, tmp_path: Path) -> None:
    with following_strategies(record):
        start(Checkpoints(tmp_path / "new").keep(FedAvg()))
        kept = Checkpoints(tmp_path / "legacy", names=["weight"]).keep(make_legacy())
        make_server(of=kept).fit(2, None)

    assert record.totals == [2, 2]
    assert record.metrics_of == in_rounds(1, 2) + in_legacy_rounds(1, 2)


def run_rounds(self: Strategy, grid: Grid, arrays: ArrayRecord, rounds: int, result: Result | None = None) -> Result:
    """Train as a strategy with a loop of its own, with the dicts of Flower's ``Result``."""
    result = Result() if result is None else result
    for number in range(1, rounds + 1):
        train = self.configure_train(number, arrays, ConfigRecord(), grid)
        found, metrics = self.aggregate_train(number, grid.send_and_receive(train))
        result.arrays = arrays = found or arrays
        result.train_metrics_clientapp[number] = cast("MetricRecord", metrics)
        evaluate = self.configure_evaluate(number, arrays, ConfigRecord(), grid)
        evaluated = self.aggregate_evaluate(number, grid.send_and_receive(evaluate))
        result.evaluate_metrics_clientapp[number] = cast("MetricRecord", evaluated)
    return result


class OwnLoop(FedAvg):
    def start(self, grid: Grid, initial_arrays: ArrayRecord, num_rounds: int = 3, **_: Any) -> Result:  # type: ignore[override]
        return run_rounds(self, grid, initial_arrays, num_rounds)


class Forwards(FedAvg):
    def start(self, *args: Any, **kwargs: Any) -> Result:
        return super().start(*args, **kwargs)


class OwnOptions(FedAvg):
    def start(self, grid: Grid, *args: Any, **options: Any) -> Result:  # type: ignore[override]
        return run_rounds(self, grid, args[0], options["num_rounds"])


class OwnMixin:
    def start(self, grid: Grid, initial_arrays: ArrayRecord, num_rounds: int = 3) -> Result:
        return run_rounds(cast("Strategy", self), grid, initial_arrays, num_rounds)


class WithMixin(OwnMixin, FedAvg):  # type: ignore[misc]
    pass


class Copies(FedAvg):
    """Copies the metrics of Flower's loop into a result of its own."""

    def start(self, *args: Any, **kwargs: Any) -> Result:
        inner = super().start(*args, **kwargs)
        mine = Result()
        for number, metrics in inner.train_metrics_clientapp.items():
            mine.train_metrics_clientapp[number] = MetricRecord(dict(metrics))
        mine.evaluate_metrics_clientapp.update(inner.evaluate_metrics_clientapp)
        return mine


class OneByOne(FedAvg):
    """Starts Flower's loop once for each round."""

    def start(self, grid: Grid, initial_arrays: ArrayRecord, num_rounds: int = 3) -> Result:  # type: ignore[override]
        mine = Result()
        for number in range(1, num_rounds + 1):
            one = super().start(grid, initial_arrays, num_rounds=1)
            mine.train_metrics_clientapp[number] = one.train_metrics_clientapp[1]
        return mine


class Delegates:
    """Passes each call to a strategy, but is no subclass of one."""

    def __init__(self, inner: Strategy) -> None:
        self._inner = inner

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


class MakesDicts(FedAvg):
    """Makes the dicts of the result itself."""

    def start(self, grid: Grid, initial_arrays: ArrayRecord, num_rounds: int = 3) -> Result:  # type: ignore[override]
        made = run_rounds(self, grid, initial_arrays, num_rounds, Extended())
        return Result(made.arrays, dict(made.train_metrics_clientapp), dict(made.evaluate_metrics_clientapp))


@dataclasses.dataclass
class Extended(Result):
    """A result whose ``__init__`` does not call that of Flower."""

    notes: str = ""


@pytest.mark.parametrize(
    "make",
    [
        OwnLoop,
        OwnOptions,
        Forwards,
        WithMixin,
        Copies,
        lambda: Delegates(OwnLoop()),
        lambda: wrapped_for_privacy(Forwards()),
    ],
    ids=["own-loop", "options", "forwards", "mixin", "copies", "delegates", "wrapper"],
)
def test_strategy_with_its_own_start_reports_once(make: Callable[[], Any], record: Recorded) -> None:
    with following_strategies(record):
        result = start(make())
        assert all(type(found) is dict for found in all_dicts(result))

    assert record.totals == [2]
    assert record.metrics_of == in_rounds(1, 2)


def test_strategy_defined_in_main_is_reported(record: Recorded) -> None:
    app = ServerApp()

    @app.main()
    def main(grid: Grid, context: Context) -> None:
        class Local(FedAvg):
            def start(self, grid: Grid, initial_arrays: ArrayRecord, num_rounds: int = 3) -> Result:  # type: ignore[override]
                return run_rounds(self, grid, initial_arrays, num_rounds)

        Local().start(grid, make_arrays(), 2)

    with following_strategies(record):
        app(FunctionGrid(), Context(run_id=7, node_id=1, node_config={}, state=RecordDict(), run_config={}))

    assert record.totals == [2]
    assert record.metrics_of == in_rounds(1, 2)


def test_function_as_start_of_an_object_is_reported(record: Recorded) -> None:
    followed = FedAvg()
    own: Any = followed
    own.start = lambda grid, num_rounds: run_rounds(followed, grid, make_arrays(), num_rounds)

    with following_strategies(record):
        own.start(FunctionGrid(), num_rounds=2)

    assert record.totals == [2]
    assert record.metrics_of == in_rounds(1, 2)


def test_start_with_other_arguments_reports_no_total(record: Recorded) -> None:
    class Other(FedAvg):
        def start(self, grid: Grid, epochs: int) -> Result:  # type: ignore[override]
            return run_rounds(self, grid, make_arrays(), epochs)

    with following_strategies(record):
        Other().start(FunctionGrid(), 2)
        with pytest.raises(TypeError, match="epochs"):
            Other().start(FunctionGrid())  # type: ignore[call-arg]

    assert record.totals == []
    assert record.metrics_of == in_rounds(1, 2)


def test_inner_total_is_reported_if_it_differs(record: Recorded) -> None:
    with following_strategies(record):
        start(OneByOne())

    assert record.totals == [2, 1, 1]
    # Each call of Flower's loop counts its rounds from 1.
    assert record.metrics_of == in_rounds(1, 1)


def test_metrics_in_dicts_of_the_app_are_reported(record: Recorded) -> None:
    with following_strategies(record):
        start(MakesDicts())

    assert record.totals == [2]
    assert sorted(record.metrics_of, key=lambda found: found[0]) == in_rounds(1, 2)


def test_added_metric_is_reported_without_the_known_ones(record: Recorded) -> None:
    class Adds(FedAvg):
        def start(self, *args: Any, **kwargs: Any) -> Result:
            result = super().start(*args, **kwargs)
            metrics = result.train_metrics_clientapp[1]
            result.train_metrics_clientapp[1] = MetricRecord({**metrics, "fairness": 0.1})
            return result

    with following_strategies(record):
        start(Adds(), 1)

    assert record.metrics_of == [*in_rounds(1), (1, "train", {"fairness": 0.1})]


def test_each_training_of_a_run_is_reported(record: Recorded) -> None:
    constant = MetricRecord({"auc": 0.5})

    with following_strategies(record):
        first = start(FedAvg(), 1, evaluate_fn=lambda *_: constant)
        second = start(OwnLoop(), 2)
        third = start(FedAvg(), 1, evaluate_fn=lambda *_: constant)
        first.train_metrics_clientapp.update(second.train_metrics_clientapp)
        Result().evaluate_metrics_serverapp.update(third.evaluate_metrics_serverapp)
        make_server().fit(1, None)

    central = [(number, "central", {"auc": 0.5}) for number in (0, 1)]
    whole = [central[0], *in_rounds(1), central[1]]
    assert record.totals == [1, 2, 1, 1]
    assert record.metrics_of == [*whole, *in_rounds(1, 2), *whole, *in_legacy_rounds(1)]


def test_result_of_two_trainings_reports_each_metric_once(record: Recorded) -> None:
    class Keeps(FedAvg):
        def __init__(self) -> None:
            super().__init__()
            self.result = Result()

        def start(self, grid: Grid, initial_arrays: ArrayRecord, num_rounds: int = 3) -> Result:  # type: ignore[override]
            return run_rounds(self, grid, initial_arrays, num_rounds, self.result)

    with following_strategies(record):
        keeps = Keeps()
        start(keeps, 2)
        start(keeps, 1)

    assert record.metrics_of == in_rounds(1, 2, 1)


# Own servers and histories of the legacy API


class OwnServer(Server):
    def fit(self, num_rounds: int, timeout: float | None) -> tuple[History, float]:
        history = OwnHistory()
        for number in range(1, num_rounds + 1):
            found = self.fit_round(number, timeout)
            history.add_metrics_distributed_fit(metrics=found[1] if found else {}, server_round=number)
            history.add_loss_distributed(number, 1.5)
            history.metrics_distributed.setdefault("accuracy", []).append((number, 0.75))
        return history, 0.0


class OwnHistory(History):
    def add_loss_distributed(self, server_round: int, loss: float) -> None:
        super().add_loss_distributed(server_round, loss)

    def add_metrics_distributed_fit(self, server_round: int, metrics: dict[str, Any]) -> None:
        for name, value in metrics.items():
            self.metrics_distributed_fit.setdefault(name, []).append((server_round, value))


def test_own_server_and_history_are_reported(record: Recorded) -> None:
    with following_strategies(record):
        make_server(OwnServer).fit(1, None)

    assert record.totals == [1]
    assert record.metrics_of == [
        (1, "evaluate", {"loss": 1.5}),
        (1, "train", TRAINED),
        (1, "evaluate", EVALUATED),
    ]


def test_history_outside_of_a_server_is_reported(record: Recorded) -> None:
    with following_strategies(record):
        for _ in range(2):
            History().add_loss_centralized(1, loss=0.25)
            History().add_metrics_centralized(1, {})

    assert record.metrics_of == [(1, "central", {"loss": 0.25})] * 2


# The app notices nothing


class Watches(FedAvg):
    """Notes all views of a result while its training runs."""

    def start(self, *args: Any, **kwargs: Any) -> Result:
        inside = run_rounds(self, args[0], args[1], 1)
        self.seen = [inside, *views_of(inside)]
        return inside


def views_of(result: Result) -> list[Any]:
    metrics = result.train_metrics_clientapp
    return [
        repr(result),
        repr(metrics),
        dataclasses.asdict(result),
        pickle.loads(pickle.dumps(result)),
        cloudpickle.loads(cloudpickle.dumps(result)),
        copy.deepcopy(result),
        copy.copy(metrics),
        metrics.copy(),
        metrics | {9: metrics[1]},
        type(metrics)(metrics),
    ]


def all_dicts(value: Any) -> list[Any]:
    if isinstance(value, Result):
        return [value.train_metrics_clientapp, value.evaluate_metrics_clientapp, value.evaluate_metrics_serverapp]
    return [value] if isinstance(value, dict) else []


def test_result_looks_like_that_of_flower(record: Recorded) -> None:
    plain = Watches()
    start(plain)
    followed = Watches()

    with following_strategies(record):
        after = start(followed)
        afterwards = views_of(after)

    assert record.metrics_of == in_rounds(1)
    assert followed.seen == plain.seen
    assert afterwards == plain.seen[1:]
    for value in [*followed.seen, after, *afterwards]:
        assert all(type(found) is dict for found in all_dicts(value))


def test_result_is_a_plain_one_after_the_hook(record: Recorded) -> None:
    with following_strategies(record):
        result = Result()
        shared = dataclasses.replace(result)
        result.train_metrics_clientapp[1] = MetricRecord({"a": 1})

    result.train_metrics_clientapp[2] = MetricRecord({"a": 1})
    assert shared.train_metrics_clientapp is result.train_metrics_clientapp
    assert all(type(found) is dict for found in all_dicts(result))
    assert record.metrics_of == [(1, "train", {"a": 1})]


def test_dict_of_the_app_stays_in_the_result(record: Recorded) -> None:
    mine: dict[int, MetricRecord] = {}

    with following_strategies(record):
        result = Result(make_arrays(), mine)

        assert result.train_metrics_clientapp is mine


def test_each_way_to_set_an_entry_reports(record: Recorded) -> None:
    with following_strategies(record):
        metrics: Any = Result().train_metrics_clientapp
        metrics[1] = MetricRecord({"a": 1})
        metrics.update({2: MetricRecord({"a": 2})})
        metrics |= {3: MetricRecord({"a": 3})}
        assert metrics.setdefault(4, MetricRecord({"a": 4})) == {"a": 4}
        metrics.setdefault(4, MetricRecord({"a": 5}))

    assert metrics == {number: {"a": number} for number in (1, 2, 3, 4)}
    assert record.metrics_of == [(number, "train", {"a": number}) for number in (1, 2, 3, 4)]


def test_history_looks_like_that_of_flower(record: Recorded) -> None:
    plain, _ = make_server().fit(2, None)

    with following_strategies(record):
        followed, _ = make_server().fit(2, None)
        copies = [followed, copy.deepcopy(followed), pickle.loads(pickle.dumps(followed))]

    assert all(vars(found) == vars(plain) and repr(found) == repr(plain) for found in copies)
    assert all(type(found) is History for found in copies)


def test_methods_look_like_those_of_flower(record: Recorded) -> None:
    signatures = [inspect.signature(OwnLoop().start), inspect.signature(FedAvg().start)]

    with following_strategies(record):
        followed = [OwnLoop().start, FedAvg().start]
        assert [inspect.signature(method) for method in followed] == signatures
        assert [method.__name__ for method in followed] == ["start", "start"]
        assert FedAvg.start is Strategy.start
        assert followed[1].__func__ is Strategy.start
        assert isinstance(followed[0].__self__, OwnLoop)
        with pytest.raises(AttributeError, match="nothing"):
            _ = FedAvg().nothing  # type: ignore[attr-defined]


def test_class_of_the_app_can_be_pickled_in_a_hook(record: Recorded) -> None:
    with following_strategies(record):

        class Local(FedAvg):
            def start(self, *args: Any, **kwargs: Any) -> Result:
                return super().start(*args, **kwargs)

        pickled = cloudpickle.dumps(Local())

    again = pickle.loads(pickled)
    assert start(again, 1).train_metrics_clientapp == {1: TRAINED}
    assert record.totals == []


# The end of a hook


def test_method_that_the_app_replaced_stays(record: Recorded) -> None:
    original = Strategy.start
    called = []
    with following_strategies(record):
        followed = Strategy.start

        def replacement(*args: Any, **kwargs: Any) -> Result:
            called.append(kwargs["num_rounds"])
            return followed(*args, **kwargs)

        Strategy.start = replacement  # type: ignore[method-assign]
        start(FedAvg(), 1)

    assert Strategy.start is replacement
    start(FedAvg(), 2)
    Strategy.start = original  # type: ignore[method-assign]
    assert called == [1, 2]
    assert record.totals == [1]
    assert record.metrics_of == in_rounds(1)


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_exception_of_the_app_ends_the_hook(error: type[BaseException], record: Recorded) -> None:
    def evaluate(server_round: int, arrays: ArrayRecord) -> None:
        if server_round:
            raise error("of the app")

    def run() -> None:
        with following_strategies(record):
            start(FedAvg(), evaluate_fn=evaluate)

    with pytest.raises(error, match="of the app"):
        run()

    start(FedAvg())
    assert record.totals == [2]
    assert record.metrics_of == in_rounds(1)


def test_training_after_a_failed_one_is_reported(record: Recorded) -> None:
    def fail(*_: Any) -> None:
        raise ValueError("of the app")

    with following_strategies(record):
        with pytest.raises(ValueError, match="of the app"):
            start(FedAvg(), evaluate_fn=fail)
        start(FedAvg())

    assert record.totals == [2, 2]
    assert record.metrics_of == in_rounds(1, 2)


def test_inner_hook_reports_in_place_of_the_outer_one(record: Recorded) -> None:
    inner = Recorded()

    with following_strategies(record):
        result = Result()
        wrapper = Strategy.start
        with following_strategies(inner):
            assert Strategy.start is wrapper
            start(FedAvg(), 1)
            result.train_metrics_clientapp[5] = MetricRecord({"a": 1})
        start(FedAvg(), 2)

    assert inner.totals == [1]
    assert inner.metrics_of == in_rounds(1)
    assert record.totals == [2]
    assert record.metrics_of == [(5, "train", {"a": 1}), *in_rounds(1, 2)]


# Threads


def in_threads(*calls: Callable[[], None]) -> None:
    """Run the calls at the same time, and raise the first error."""
    errors: list[BaseException] = []

    def run(call: Callable[[], None]) -> None:
        try:
            call()
        except BaseException as error:  # noqa: BLE001 - raised below
            errors.append(error)

    threads = [threading.Thread(target=run, args=(call,)) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not [thread for thread in threads if thread.is_alive()]
    for error in errors:
        raise error


def test_two_servers_in_two_threads_are_not_mixed_up() -> None:
    records = [Recorded(), Recorded()]
    in_step = threading.Barrier(2, timeout=60)

    def serve(own: Recorded, name: str, rounds: int) -> None:
        def evaluate(server_round: int, arrays: ArrayRecord) -> MetricRecord:
            # Each training has three evaluations, so the two go through their rounds together.
            in_step.wait()
            return MetricRecord({name: server_round})

        class Quiet(FedAvg):
            def configure_train(self, *_: Any) -> list[Message]:
                return []

            configure_evaluate = configure_train  # type: ignore[assignment]

        with following_strategies(own):
            in_step.wait()
            start(Quiet(), rounds, evaluate_fn=evaluate)

    in_threads(lambda: serve(records[0], "a", 3), lambda: serve(records[1], "b", 3))

    for own, name in zip(records, "ab", strict=True):
        assert own.totals == [3]
        assert own.metrics_of == [(number, "central", {name: number}) for number in range(4)]


def test_hook_that_ends_first_leaves_the_other_one(record: Recorded) -> None:
    opened, closed = threading.Event(), threading.Event()
    other = Recorded()

    def short() -> None:
        with following_strategies(other):
            opened.wait(60)
        closed.set()

    def long() -> None:
        with following_strategies(record):
            opened.set()
            closed.wait(60)
            make_server().fit(1, None)

    in_threads(short, long)

    assert record.totals == [1]
    assert record.metrics_of == in_legacy_rounds(1)
    assert other.totals == []
    assert other.metrics_of == []


def test_thread_of_the_app_does_not_report(record: Recorded) -> None:
    with following_strategies(record):
        result = Result()

        def work() -> None:
            result.train_metrics_clientapp[1] = MetricRecord({"a": 1})
            make_server().fit(1, None)

        in_threads(work)

    assert result.train_metrics_clientapp == {1: {"a": 1}}
    assert record.totals == []
    assert record.metrics_of == []


# A separate process, because a fork of this one would have its other threads' locks.
FORKS = """
import os
from flwr.app import MetricRecord
from flwr.serverapp.strategy import FedAvg, Result
from syft_flwr.strategy_hook import following_strategies

class Own(FedAvg):
    def start(self, num_rounds):
        pass

class Prints:
    def rounds(self, total):
        print(total, flush=True)

    def metrics(self, server_round, source, values):
        print(server_round, source, dict(values), flush=True)

with following_strategies(Prints()):
    result = Result()
    child = os.fork()
    result.train_metrics_clientapp[1 if child else 2] = MetricRecord({"a": 1})
    Own().start(5 if child else 6)
    if not child:
        Result().train_metrics_clientapp[3] = MetricRecord({"a": 1})
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
"""


def test_fork_of_the_app_does_not_report() -> None:
    done = subprocess.run([sys.executable, "-c", FORKS], capture_output=True, text=True, timeout=60, check=True)

    assert done.stdout == "1 train {'a': 1}\n5\n"


# Errors of a report


class Raises(Recorded):
    def rounds(self, total: int) -> None:
        raise OSError("disk is full")

    def metrics(self, server_round: int, source: str, values: Mapping[str, Any]) -> None:
        super().metrics(server_round, source, values)
        raise ValueError("not a number")


def test_error_of_a_report_is_logged_once(logged: list[str]) -> None:
    reports = Raises()
    plain = start(FedAvg())

    with following_strategies(reports):
        followed = start(FedAvg())
        history, _ = make_server().fit(2, None)

    assert followed == plain
    assert len(history.losses_distributed) == 2
    assert reports.metrics_of == in_rounds(1, 2) + in_legacy_rounds(1, 2)
    warnings = [line for line in logged if line.startswith("WARNING")]
    assert warnings == ["WARNING metrics or the number of rounds were not recorded: OSError: disk is full"]


@pytest.mark.parametrize("entry", [("first", MetricRecord({"a": 1})), (1, None), (1, 5)])
def test_odd_entry_of_the_app_is_logged_and_kept(entry: Any, record: Recorded, logged: list[str]) -> None:
    class Odd(FedAvg):
        def start(self, num_rounds: Any = None) -> Result:  # type: ignore[override]
            result: Any = Result()
            result.train_metrics_clientapp[entry[0]] = entry[1]
            return cast("Result", result)

    with following_strategies(record):
        result = Odd().start(num_rounds="many")

    assert dict(result.train_metrics_clientapp) == dict([entry])
    assert record.totals == []
    assert record.metrics_of == []
    assert len([line for line in logged if line.startswith("WARNING")]) == 1


def test_wait_of_a_client_manager_asks_before_it_waits(record: Recorded) -> None:
    asked: list[int] = []

    def refuse(minimum: int) -> AbstractContextManager[None]:
        asked.append(minimum)
        raise ValueError("fewer clients than that")

    with following_strategies(record, refuse), pytest.raises(ValueError, match="fewer clients"):
        SimpleClientManager().sample(3, 5)

    assert asked == [5]


def test_wait_of_a_client_manager_ends_as_in_flower(record: Recorded) -> None:
    with following_strategies(record):
        assert SimpleClientManager().wait_for(num_clients=1, timeout=0) is False
        assert SimpleClientManager().wait_for(0)
