"""Wrappers that save the arrays of a strategy, one for each API of Flower, built like Flower's own privacy wrappers.

They call the wrapped strategy with the number of the round in the whole training, and report its results to
:class:`~syft_flwr.checkpoints.training.Training`.
"""

from collections.abc import Callable, Iterable
from typing import Any

from flwr.app import ArrayRecord, ConfigRecord, Message, MetricRecord
from flwr.server import ClientManager
from flwr.server.client_proxy import ClientProxy
from flwr.server.strategy import Strategy as LegacyStrategy
from flwr.serverapp import Grid
from flwr.serverapp.strategy import Result, Strategy

from syft_flwr.checkpoints.arrays import require_names
from syft_flwr.checkpoints.training import CENTRAL, EVALUATE, TRAIN, Training
from syft_flwr.errors import ConfigError
from syft_flwr.flower import EvaluateIns, EvaluateRes, FitIns, FitRes, Parameters, Scalar

_Failures = list[tuple[ClientProxy, FitRes] | BaseException]


class KeptStrategy(Strategy):
    """Wraps a ``flwr.serverapp.strategy.Strategy`` and saves its arrays; ``strategy`` is the wrapped one."""

    def __init__(self, strategy: Strategy, training: Training) -> None:
        self.strategy = strategy
        self._training = training

    def start(
        self,
        grid: Grid,
        initial_arrays: ArrayRecord,
        num_rounds: int = 3,
        timeout: float = 3600,
        train_config: ConfigRecord | None = None,
        evaluate_config: ConfigRecord | None = None,
        evaluate_fn: Callable[[int, ArrayRecord], MetricRecord | None] | None = None,
    ) -> Result:
        """Run ``num_rounds`` more rounds, as ``Strategy.start`` does. In the result, rounds count from 1 at each start."""
        evaluate = None if evaluate_fn is None else self._reporting(evaluate_fn)
        result = super().start(grid, initial_arrays, num_rounds, timeout, train_config, evaluate_config, evaluate)
        self._training.finish()
        return result

    def _reporting(
        self, evaluate_fn: Callable[[int, ArrayRecord], MetricRecord | None]
    ) -> Callable[[int, ArrayRecord], MetricRecord | None]:
        def evaluate(server_round: int, arrays: ArrayRecord) -> MetricRecord | None:
            metrics = evaluate_fn(server_round + self._training.offset, arrays)
            self._training.add_metrics(CENTRAL, metrics or {})
            return metrics

        return evaluate

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """Configure the round, after a check that its arrays can be saved."""
        number = self._training.begin_round(server_round, arrays)
        return self.strategy.configure_train(number, arrays, config, grid)

    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        """Aggregate, and save the arrays if the round made any."""
        number = server_round + self._training.offset
        arrays, metrics = self.strategy.aggregate_train(number, replies)
        if arrays:
            self._training.add_arrays(number, arrays, metrics or {})
        return arrays, metrics

    def configure_evaluate(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """Call the wrapped strategy with the number of the round in the whole training."""
        return self.strategy.configure_evaluate(server_round + self._training.offset, arrays, config, grid)

    def aggregate_evaluate(self, server_round: int, replies: Iterable[Message]) -> MetricRecord | None:
        """Aggregate, and report the metrics."""
        metrics = self.strategy.aggregate_evaluate(server_round + self._training.offset, replies)
        self._training.add_metrics(EVALUATE, metrics or {})
        return metrics

    def summary(self) -> None:
        """Log the summary of the wrapped strategy."""
        self.strategy.summary()


class KeptLegacyStrategy(LegacyStrategy):
    """Wraps a ``flwr.server.strategy.Strategy`` and saves its parameters; ``strategy`` is the wrapped one."""

    def __init__(self, strategy: LegacyStrategy, training: Training) -> None:
        self.strategy = strategy
        self._training = training

    def initialize_parameters(self, client_manager: ClientManager) -> Parameters | None:
        """Call the wrapped strategy. It gets ``initial_parameters=checkpoints.initial(…)`` when it is created."""
        return self.strategy.initialize_parameters(client_manager)

    def configure_fit(
        self, server_round: int, parameters: Parameters, client_manager: ClientManager
    ) -> list[tuple[ClientProxy, FitIns]]:
        """Configure the round, after a check that its parameters can be saved."""
        number = self._training.begin_round(server_round, parameters)
        return self.strategy.configure_fit(number, parameters, client_manager)

    def aggregate_fit(
        self, server_round: int, results: list[tuple[ClientProxy, FitRes]], failures: _Failures
    ) -> tuple[Parameters | None, dict[str, Scalar]]:
        """Aggregate, and save the parameters if the round made any."""
        number = server_round + self._training.offset
        parameters, metrics = self.strategy.aggregate_fit(number, results, failures)
        if parameters is not None:
            self._training.add_arrays(number, parameters, metrics)
        return parameters, metrics

    def configure_evaluate(
        self, server_round: int, parameters: Parameters, client_manager: ClientManager
    ) -> list[tuple[ClientProxy, EvaluateIns]]:
        """Call the wrapped strategy with the number of the round in the whole training."""
        return self.strategy.configure_evaluate(server_round + self._training.offset, parameters, client_manager)

    def aggregate_evaluate(
        self,
        server_round: int,
        results: list[tuple[ClientProxy, EvaluateRes]],
        failures: list[tuple[ClientProxy, EvaluateRes] | BaseException],
    ) -> tuple[float | None, dict[str, Scalar]]:
        """Aggregate, and report the loss and the metrics."""
        loss, metrics = self.strategy.aggregate_evaluate(server_round + self._training.offset, results, failures)
        self._report(EVALUATE, loss, metrics)
        return loss, metrics

    def evaluate(self, server_round: int, parameters: Parameters) -> tuple[float, dict[str, Scalar]] | None:
        """Evaluate centrally, and report the loss and the metrics."""
        found = self.strategy.evaluate(server_round + self._training.offset, parameters)
        if found is not None:
            self._report(CENTRAL, *found)
        return found

    def _report(self, source: str, loss: float | None, metrics: dict[str, Scalar]) -> None:
        known: dict[str, Any] = metrics if loss is None else {**metrics, "loss": loss}
        self._training.add_metrics(source, known)


def keep(strategy: Strategy | LegacyStrategy, training: Training) -> KeptStrategy | KeptLegacyStrategy:
    """Return the wrapper of the right API for ``strategy``.

    Raises:
        ConfigError: ``strategy`` is not a strategy, is already wrapped, or overrides ``start()``. Or the names or the
            source of the metric are missing.
    """
    if isinstance(strategy, (KeptStrategy, KeptLegacyStrategy)):
        raise ConfigError("the strategy was already passed to checkpoints.keep(…)", hint="Call it once.")
    metric = training.folder.metric
    if metric is not None and metric.partition("/")[0] not in {TRAIN, EVALUATE, CENTRAL}:
        raise ConfigError(
            f"metric: {metric!r} does not start with its source",
            hint=f"Put {TRAIN}/, {EVALUATE}/ (both of the data owners) or {CENTRAL}/ (of evaluate_fn) before its name.",
        )
    if isinstance(strategy, LegacyStrategy):
        require_names(training.names)
        return KeptLegacyStrategy(strategy, training)
    if not isinstance(strategy, Strategy):
        raise ConfigError(
            f"{type(strategy).__name__} is not a strategy of flwr.serverapp or flwr.server",
            hint="Pass a strategy of one of these two APIs.",
        )
    if type(strategy).start is not Strategy.start:
        raise ConfigError(
            f"{type(strategy).__name__} overrides start(), so checkpoints.keep(…) cannot follow its rounds",
            hint="Call checkpoints.save(…) in it after each round, and checkpoints.initial(…) before the first.",
        )
    return KeptStrategy(strategy, training)
