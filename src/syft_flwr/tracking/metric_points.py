"""The points of a run's metrics, from its record, and the choice of those that a tracker does not have yet."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from syft_flwr.runs.entry import NOT_FINITE, RecordEntry
from syft_flwr.runs.metric_row import MetricRow, metric_rows
from syft_flwr.tracking.metric_keys import item_key, metric_key

#: Digits of a round that is a number. Trackers keep a step in 64 bits.
_MOST_DIGITS = 15
#: Additions to a source. Flower's types of messages have no hyphen.
_NO_ROUND, _AGAIN = ".no-round", ".again-"


@dataclass(frozen=True, slots=True)
class MetricPoint:
    """The value of one key at one step."""

    key: str
    step: int
    time: datetime
    value: float | str


class PointReader:
    """Turns the entries of one record into points, in order. The step is the round.

    Steps of one key only grow, because TensorBoard drops the points after a smaller one. So these values have keys of their
    own, by an addition to their source:

    - ``.no-round``: values of a round that is no number. Their steps are 1, 2, 3 and so on.
    - ``.again-2``: second values of a round, as of a second training; ``.again-3`` for third ones.

    A later reader of the same record, and a process that continues the run, give a value the same key and step.
    """

    def __init__(self) -> None:
        #: The number of values of each metric in each round, or outside of all, by the present process.
        self._made: Counter[tuple[str, ...]] = Counter()
        self._process = ""

    def points(self, entry: RecordEntry) -> Iterator[MetricPoint]:
        """Yield the points of an entry."""
        if entry.process != self._process:
            self._process = entry.process
            self._made.clear()
        for row in metric_rows(entry):
            yield from self._points(row)

    def _points(self, row: MetricRow) -> Iterator[MetricPoint]:
        source, step = self._place(row)
        key = metric_key(source, row.name, row.data_owner)
        if isinstance(row.value, Sequence) and not isinstance(row.value, str):
            for number, each in enumerate(row.value):
                value = _value(each)
                if value is not None:
                    yield MetricPoint(item_key(key, number, row.data_owner), step, row.time, value)
        elif (value := _value(row.value)) is not None:
            yield MetricPoint(key, step, row.time, value)

    def _place(self, row: MetricRow) -> tuple[str, int]:
        """Return the source with its addition, and the step of a value."""
        is_number = row.round.isascii() and row.round.isdecimal() and len(row.round) <= _MOST_DIGITS
        metric = row.source, row.name, row.data_owner, row.round if is_number else ""
        self._made[metric] += 1
        count = self._made[metric]
        if not is_number:
            return f"{row.source}{_NO_ROUND}", count
        return f"{row.source}{_AGAIN}{count}" if count > 1 else row.source, int(row.round)


def _value(value: Any) -> float | str | None:
    """Return a number as a float, and another text as it is; None for a value that no metric has."""
    if isinstance(value, (bool, int, float)):
        return float(value)
    return NOT_FINITE.get(value, value) if isinstance(value, str) else None


class NewPoints:
    """Chooses the points that a tracker does not have yet.

    A run that continues after a crash makes the metrics of its earlier rounds again, in another process. These are no new
    points. A second value that the same process gives a key at a step is one.

    Args:
        held: returns the number of points that the tracker has for a key, by step. Called once for each key.
    """

    def __init__(self, held: Callable[[str], Mapping[int, int]]) -> None:
        self._held = held
        self._have: dict[str, Counter[int]] = {}
        self._made: Counter[tuple[str, int]] = Counter()
        self._process = ""

    def add(self, process: str, point: MetricPoint) -> bool:
        """Count a point of the record, and return whether it is new.

        Args:
            process: the process that made it, as in the record.
            point: the point.
        """
        # First, because it may raise.
        have = self._have.get(point.key)
        if have is None:
            have = self._have[point.key] = Counter(self._held(point.key))
        if process != self._process:
            self._process = process
            self._made.clear()
        self._made[point.key, point.step] += 1
        if self._made[point.key, point.step] <= have[point.step]:
            return False
        have[point.step] += 1
        return True
