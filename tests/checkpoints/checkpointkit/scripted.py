"""Strategies of both APIs that return scripted results and note each call, and a grid without nodes."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np
from checkpointkit.models import to_record
from flwr.app import ArrayRecord, ConfigRecord, Message, MetricRecord
from flwr.common import Parameters, Scalar, ndarrays_to_parameters
from flwr.server import ClientManager
from flwr.server.strategy import FedAvg as LegacyFedAvg
from flwr.serverapp import Grid
from flwr.serverapp.strategy import Result, Strategy
from numpy.typing import NDArray

from syft_flwr.fl_orchestrator import Checkpoints


@dataclass
class Scripted(Strategy):
    """A strategy that returns the given results of each round, and notes its calls and their round numbers."""

    trained: Mapping[int, tuple[ArrayRecord | None, MetricRecord | None]] = field(default_factory=dict)
    evaluated: Mapping[int, MetricRecord | None] = field(default_factory=dict)
    asked: list[tuple[str, int]] = field(default_factory=list)

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        self.asked.append(("configure_train", server_round))
        return []

    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        self.asked.append(("aggregate_train", server_round))
        return self.trained.get(server_round, (to_record(of_round(server_round)), None))

    def configure_evaluate(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        self.asked.append(("configure_evaluate", server_round))
        return []

    def aggregate_evaluate(self, server_round: int, replies: Iterable[Message]) -> MetricRecord | None:
        self.asked.append(("aggregate_evaluate", server_round))
        return self.evaluated.get(server_round)

    def summary(self) -> None:
        self.asked.append(("summary", 0))


class NoNodes:
    """A grid without nodes, which accepts no messages."""

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> Iterable[Message]:
        assert not list(messages)
        return []


def of_round(number: int) -> dict[str, NDArray[Any]]:
    return {"weight": np.full(3, float(number)), "bias": np.array(number)}


def start(strategy: Strategy, checkpoints: Checkpoints, num_rounds: int, **options: Any) -> Result:
    arrays = checkpoints.initial(to_record(of_round(0)))
    return strategy.start(cast("Grid", NoNodes()), arrays, num_rounds, **options)


class ScriptedLegacy(LegacyFedAvg):
    """A legacy strategy that returns fixed results, and notes its calls and their round numbers."""

    def __init__(self, asked: list[tuple[str, int]], **options: Any) -> None:
        super().__init__(**options)
        self._asked = asked

    def configure_fit(self, server_round: int, parameters: Parameters, client_manager: ClientManager) -> list[Any]:
        self._asked.append(("configure_fit", server_round))
        return []

    def aggregate_fit(self, server_round: int, results: Any, failures: Any) -> tuple[Parameters, dict[str, Scalar]]:
        self._asked.append(("aggregate_fit", server_round))
        return ndarrays_to_parameters(list(of_round(server_round).values())), {"raw": b"\0", "loss": 2.0}

    def configure_evaluate(self, server_round: int, parameters: Parameters, client_manager: ClientManager) -> list[Any]:
        self._asked.append(("configure_evaluate", server_round))
        return []

    def aggregate_evaluate(
        self, server_round: int, results: Any, failures: Any
    ) -> tuple[float | None, dict[str, Scalar]]:
        self._asked.append(("aggregate_evaluate", server_round))
        return 1.0, {"loss": 9.0, "accuracy": 0.5}

    def evaluate(self, server_round: int, parameters: Parameters) -> tuple[float, dict[str, Scalar]] | None:
        self._asked.append(("evaluate", server_round))
        return None if server_round == 0 else (float(server_round), {})
