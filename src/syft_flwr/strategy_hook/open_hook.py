"""One open hook: takes the metrics of trainings, and reports each once, only in the thread that opened the hook.

No error of a report reaches the app. The first one is logged, and later metrics are still reported.
"""

import operator
import os
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Protocol

from flwr.server import History
from flwr.serverapp.strategy import Result

from syft_flwr.log import logger
from syft_flwr.strategy_hook import reporting_dict
from syft_flwr.strategy_hook.followed_training import FollowedTraining

#: The attributes of ``History`` with metrics, and the source of each. The method ``add_<attribute>`` adds to it.
METRICS = {
    "metrics_distributed_fit": "train",
    "metrics_distributed": "evaluate",
    "metrics_centralized": "central",
}
#: The same for the losses; in the names of the methods, "loss" replaces "losses".
LOSSES = {"losses_distributed": "evaluate", "losses_centralized": "central"}


#: Returns errors in place of results that the aggregation of a round must not get, by the ``cid`` of their clients.
Settle = Callable[[int], Mapping[str, Exception]]
#: Returns a context for the wait of a client manager for this many clients. It may raise an error, which ends the wait.
Waiting = Callable[[int], AbstractContextManager[object]]


class StrategyReports(Protocol):
    """Receives the reports, in the thread of the app. The app waits for the end of each call."""

    def rounds(self, total: int) -> None:
        """Record the number of rounds of a strategy that starts now."""

    def metrics(self, server_round: int, source: str, values: Mapping[str, Any]) -> None:
        """Record metrics of one round. ``values`` belongs to the app: convert it at once, and never change it.

        The source is "train" or "evaluate" (aggregated, of the data owners), or "central" (of the aggregator's own
        evaluation). One round and source may have several calls, with other names. The legacy API's loss is "loss".
        """


class OpenHook:
    """The state of one ``following_strategies(reports, waiting, settle)``."""

    def __init__(self, reports: StrategyReports, waiting: Waiting, settle: Settle) -> None:
        self._reports = reports
        self.waiting = waiting
        self.settle = settle
        self._training = FollowedTraining()
        self._failed = False
        # A fork has the same thread, but does not serve the run.
        self._owner: tuple[int, int] | None = (os.getpid(), threading.get_ident())

    def is_here(self) -> bool:
        """Return whether this hook is open, and the caller is in its thread."""
        return self._owner == (os.getpid(), threading.get_ident())

    def close(self) -> None:
        """Report nothing more."""
        with self.harmless():
            self._training.end()
        self._owner = None

    @contextmanager
    def harmless(self) -> Iterator[None]:
        """Log the first error, and continue after each one."""
        try:
            yield
        except Exception as error:  # noqa: BLE001 - an error of a report must not end the app
            if not self._failed:
                self._failed = True
                logger.warning("metrics or the number of rounds were not recorded: {}: {}", type(error).__name__, error)

    def follow(self, call: Callable[..., Any], count_rounds: Callable[[], int | None]) -> Any:
        """Call one training, and report its metrics and its number of rounds."""
        outer = self._training
        with self.harmless():
            self._begin(outer, count_rounds())
        try:
            returned = call()
            with self.harmless():
                self._add_missing(returned)
            return returned
        finally:
            if self._training is not outer:
                with self.harmless():
                    self._training.end()
            self._training = outer

    def _begin(self, outer: FollowedTraining, total: int | None) -> None:
        self._training = FollowedTraining(outer, total)
        if total is not None and total != outer.total:
            self._reports.rounds(total)

    def add_result(self, result: Result, given: set[str]) -> None:
        """Follow a new ``Result``; ``given`` has the names of the arguments that the app passed."""
        with self.harmless():
            self._training.add_result(result)
            reporting_dict.put_reporting_dicts(result, given, self.add)

    def add(self, source: str, server_round: int, values: Mapping[str, Any]) -> None:
        """Report the new ones of ``values``."""
        if not self.is_here():
            return
        with self.harmless():
            number = operator.index(server_round)
            new = self._training.select_new(source, number, values)
            if new:
                self._reports.metrics(number, source, new)

    def _add_missing(self, returned: Any) -> None:
        """Report metrics that no method of Flower added, because the app made the dicts or lists."""
        for part in returned if isinstance(returned, tuple) else (returned,):
            for source, server_round, values in _list_metrics(part):
                if not self._training.was_reported(values):
                    self.add(source, server_round, values)


def _list_metrics(part: Any) -> Iterator[tuple[str, int, Mapping[str, Any]]]:
    if isinstance(part, Result):
        for name, source in reporting_dict.SOURCES.items():
            for server_round, values in getattr(part, name).items():
                yield source, server_round, values
    elif isinstance(part, History):
        series = [(source, "loss", getattr(part, name)) for name, source in LOSSES.items()]
        for name, source in METRICS.items():
            series += [(source, metric, entries) for metric, entries in getattr(part, name).items()]
        for source, metric, entries in series:
            for server_round, value in entries:
                yield source, server_round, {metric: value}
