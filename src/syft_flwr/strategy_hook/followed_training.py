"""The reports of one training, so that each of its metrics is reported once.

Trainings nest: a strategy may call ``super().start()`` or the ``start`` of another strategy, and copy the metrics into
its own result. The inner training reports them first, when they are made. The outer one then knows them.
"""

import weakref
from collections.abc import Mapping
from typing import Any

from flwr.serverapp.strategy import Result

from syft_flwr.strategy_hook.reporting_dict import put_plain_dicts


class FollowedTraining:
    """The reports of one training. The outermost one of a hook is the app's code around all trainings."""

    def __init__(self, outer: "FollowedTraining | None" = None, total: int | None = None) -> None:
        self.total: int | None = outer.total if outer and total is None else total
        self._outer = outer
        self._results: list[weakref.ref[Result]] = []
        self._known: set[tuple[str, int, str]] = set()
        # By id. The reference to the object keeps the id unique.
        self._reported: dict[int, Mapping[str, Any]] = {}
        self._reported_inside: dict[int, Mapping[str, Any]] = {}

    def add_result(self, result: Result) -> None:
        """Record that ``result`` was created here, for :meth:`end`."""
        self._results.append(weakref.ref(result))

    def select_new(self, source: str, server_round: int, values: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return the values that were not reported yet, and count them as reported.

        An object of an inner training is not new, in whichever round the outer training counts it. Outside of all
        trainings, the app can repeat a round, so the names are not compared.
        """
        if id(values) in self._reported_inside:
            return {}
        if self._outer is None:
            return values
        names = [name for name in values if (source, server_round, name) not in self._known]
        self._known.update((source, server_round, name) for name in names)
        self._reported[id(values)] = values
        return values if len(names) == len(values) else {name: values[name] for name in names}

    def was_reported(self, values: Any) -> bool:
        """Return whether an earlier training reported this object, for a result that several trainings use."""
        return id(values) in self._reported_inside or (self._outer is not None and self._outer.was_reported(values))

    def end(self) -> None:
        """Pass all reports to the outer training. After the last training, give the results plain dicts, as in Flower."""
        results = [result for found in self._results if (result := found()) is not None]
        if self._outer is None:
            put_plain_dicts(results)
        else:
            self._outer.take_over(self._known, self._reported_inside | self._reported, results)

    def take_over(
        self, known: set[tuple[str, int, str]], reported: dict[int, Mapping[str, Any]], results: list[Result]
    ) -> None:
        """Take over the reports and results of an inner training."""
        self._known |= known
        self._reported_inside |= reported
        if self._outer is None:
            put_plain_dicts(results)
        else:
            self._results += [weakref.ref(result) for result in results]
