"""The metrics of a run, one group for each name: a line of the whole run, and one for each data owner."""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from syft_flwr.report.facts import Facts
from syft_flwr.report.markup import Table
from syft_flwr.report.numbers import drawable, value_text
from syft_flwr.report.record_details import MOST_NAMES, NO_ROUND, RoundValues
from syft_flwr.runs.entry import NOT_FINITE

#: Digits of a round that is a number.
_MOST_DIGITS = 9
#: Data owners up to which each one is a column of the table. Of more, each one is a row.
_MOST_COLUMNS = 6
#: Cells of a table for each value in it, up to which it has a column for each round.
_MOST_CELLS = 8
#: The name of the values of the whole run.
WHOLE = "whole run"
_SOURCES = {"train": "training", "evaluate": "evaluation", "central": "at the aggregator"}


@dataclass(frozen=True)
class MetricLines:
    """One metric of one source."""

    source: str
    name: str
    #: The rounds, in order.
    rounds: tuple[str, ...]
    #: Values by data owner (empty for the whole run) and round.
    values: Mapping[str, Mapping[str, Any]]

    @property
    def title(self) -> str:
        return f"{self.name}, {_SOURCES.get(self.source, self.source)}"

    @property
    def owners(self) -> list[str]:
        """Return the data owners, sorted, after the whole run."""
        return sorted(self.values)

    @property
    def latest(self) -> tuple[str, str]:
        """Return the latest value with its round: that of the whole run, or of the only data owner; empty without one."""
        owners = [""] if "" in self.values else self.owners if len(self.values) == 1 else []
        for number in reversed(self.places):
            for owner in owners:
                if number in self.values[owner]:
                    return value_text(self.values[owner][number]), number
        return "", ""

    def points(self, owner: str) -> list[tuple[float, float]]:
        """Return the values of an owner that a chart can draw, by the place of their round."""
        places = self.places
        found = [(places[each], drawable(value)) for each, value in self.values[owner].items() if each in places]
        return sorted((place, number) for place, number in found if number is not None)

    def segments(self, owner: str) -> list[list[tuple[float, float]]]:
        """Return the points of an owner in parts, between which it has no value in a round of the others."""
        points, order = self.points(owner), {place: number for number, place in enumerate(sorted(self.places.values()))}
        found: list[list[tuple[float, float]]] = []
        for number, point in enumerate(points):
            if number and order[point[0]] == order[points[number - 1][0]] + 1:
                found[-1].append(point)
            else:
                found.append([point])
        return found

    def odd_rounds(self) -> list[str]:
        """Return the rounds with a value that is no finite number, such as ``nan``."""
        return [
            each for each in self.rounds if any(is_not_finite(by_round.get(each)) for by_round in self.values.values())
        ]

    @cached_property
    def places(self) -> dict[str, float]:
        """Return the place of each round: its number, or its position if a round is no number."""
        known = [each for each in self.rounds if not each.startswith(NO_ROUND)]
        if self.is_numbered:
            return {each: float(each) for each in known}
        return {each: float(position) for position, each in enumerate(known, 1)}

    @cached_property
    def is_numbered(self) -> bool:
        """Return whether each round is a number."""
        return all(is_number(each) for each in self.rounds if not each.startswith(NO_ROUND))

    @property
    def is_drawable(self) -> bool:
        """Return whether a chart tells anything: not a number of each data owner that never changes, such as its rows."""
        points = [self.points(owner) for owner in self.values]
        changes = any(len({number for _, number in each}) > 1 for each in points)
        return changes or ("" in self.values and bool(self.points("")))

    def spread(self) -> list[tuple[float, list[float]]]:
        """Return the numbers of the data owners by the place of their round, sorted."""
        found: dict[float, list[float]] = defaultdict(list)
        for owner in filter(None, self.values):
            for place, number in self.points(owner):
                found[place].append(number)
        return [(place, sorted(numbers)) for place, numbers in sorted(found.items())]

    def table(self) -> Table:
        """Return all values: a column for each data owner, or a row if they are many."""
        owners = self.owners
        names = [owner or WHOLE for owner in owners]
        if len(owners) <= _MOST_COLUMNS:
            rows = [[number, *(_cell(self.values[owner], number) for owner in owners)] for number in self.rounds]
            return Table(f"{self.title}, by round", ("Round", *names), rows)
        if len(owners) * len(self.rounds) > _MOST_CELLS * sum(map(len, self.values.values())):
            return self._list()
        rows = [
            [name, *(_cell(self.values[owner], number) for number in self.rounds)]
            for owner, name in zip(owners, names, strict=True)
        ]
        return Table(f"{self.title}, by data owner and round", ("Data owner", *self.rounds), rows)

    def _list(self) -> Table:
        """Return a row for each value, for a metric that most data owners have in few rounds only."""
        rows = [
            [owner or WHOLE, number, value_text(self.values[owner][number])]
            for owner in self.owners
            for number in self.rounds
            if number in self.values[owner]
        ]
        return Table(f"{self.title}, by data owner and round", ("Data owner", "Round", "Value"), rows)


def metric_lines_of(facts: Facts) -> list[MetricLines]:
    """Return the metrics of a run, those of the whole run first. At a data owner, they are those that left it."""
    values = facts.details.metrics if facts.is_aggregator else _left(facts)
    found = [
        MetricLines(source, name, rounds_of(by_owner), by_owner) for (source, name), by_owner in values.items() if name
    ]
    return sorted(found, key=lambda each: "" not in each.values)


def is_not_finite(value: Any) -> bool:
    return isinstance(value, str) and value in NOT_FINITE


def is_number(round_name: str) -> bool:
    return round_name.isdecimal() and round_name.isascii() and len(round_name) <= _MOST_DIGITS


def rounds_of(by_owner: Mapping[str, Mapping[str, Any]]) -> tuple[str, ...]:
    """Return the rounds of values, numbers in their order and others as they came."""
    names = list(dict.fromkeys(number for values in by_owner.values() for number in values))
    return tuple(sorted(names, key=lambda each: (0, int(each)) if is_number(each) else (1, 0)))


def _left(facts: Facts) -> dict[tuple[str, str], dict[str, RoundValues]]:
    found: dict[tuple[str, str], dict[str, RoundValues]] = {}
    for request in facts.requests:
        for name, value in request.metrics.items():
            if len(found) >= MOST_NAMES and (request.kind, str(name)) not in found:
                continue
            owners = found.setdefault((request.kind, str(name)), {})
            owners.setdefault(facts.run.participant, RoundValues()).put(request.round, value)
    return found


def _cell(values: Mapping[str, Any], number: str) -> str:
    return value_text(values[number]) if number in values else ""
