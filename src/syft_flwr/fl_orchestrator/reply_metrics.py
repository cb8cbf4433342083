"""Finds the metrics in a reply, for the records of both sides: a few short names with numbers."""

import json
import math
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import Any, cast

from flwr.app import ConfigRecord, Message, MetricRecord, RecordDict

from syft_flwr.runs.entry import NOT_FINITE
from syft_flwr.runs.events import MetricValue, Number
from syft_flwr.text import printable

#: Metrics of one reply, characters of a name, and numbers in a list. Others are left out.
_MAX_METRICS = 100
_MAX_NAME = 100
_MAX_NUMBERS = 100
#: Bytes of the metrics of one reply as JSON, so that the line of a record has room for the other fields.
_MAX_SIZE = 16_384
#: Metrics that are looked at.
_MAX_SEEN = 1_000
#: The names of the numbers in a legacy result, by their record and their key.
_LEGACY_NUMBERS = {
    ("evaluateres.loss", "loss"): "loss",
    ("evaluateres.num_examples", "num_examples"): "num-examples",
    ("fitres.num_examples", "num_examples"): "num-examples",
}
_MAX_BITS = 64
_LEGACY_METRICS = ("fitres.metrics", "evaluateres.metrics")


def metrics_of(message: Message) -> dict[str, MetricValue]:
    """Return the numbers in the metric records of a reply, and those of a legacy result, by name.

    A name is the key of a metric, with the name of its record before it if the reply has several records with metrics.
    """
    return _bounded(_named(message.content)) if message.has_content() else {}


def bounded(metrics: Mapping[str, Any]) -> dict[str, MetricValue]:
    """Return the metrics that a worker names, within the same limits."""
    return _bounded(metrics.items())


def _bounded(named: Iterable[tuple[str, Any]]) -> dict[str, MetricValue]:
    found: dict[str, MetricValue] = {}
    size = 0
    for name, each in islice(named, _MAX_SEEN):
        shown, value = _shown(name), _plain(each)
        if shown in found or not shown or value is None:
            continue
        size += len(json.dumps({shown: value}))
        if size > _MAX_SIZE or len(found) == _MAX_METRICS:
            break
        found[shown] = value
    return found


def _named(content: RecordDict) -> Iterator[tuple[str, Any]]:
    # RecordDict.metric_records would put the message into a reference cycle and keep its arrays in memory.
    records = [(key, record) for key, record in content.items() if isinstance(record, MetricRecord)]
    legacy = [record for key in _LEGACY_METRICS if isinstance(record := content.get(key), ConfigRecord)]
    if not legacy:
        for key, record in records:
            yield from ((name if len(records) == 1 else f"{key}/{name}", value) for name, value in record.items())
        return
    taken = set()
    for (key, name), shown in _LEGACY_NUMBERS.items():
        if isinstance(numbers := content.get(key), MetricRecord) and name in numbers:
            taken.add(shown)
            yield shown, numbers[name]
    for metrics in legacy:
        yield from ((f"metrics/{name}" if name in taken else name, value) for name, value in metrics.items())


def _shown(name: str) -> str:
    """Return a name as one line; empty if it is too long. Cut names could be the same."""
    shown = printable(name) if len(name) <= _MAX_NAME else ""
    return shown if len(shown) <= _MAX_NAME else ""


def _plain(value: Any) -> MetricValue | None:
    """Return a number or a list of numbers with types of Python; None for another value."""
    if isinstance(value, list):
        numbers = [_number(each) for each in value] if len(value) <= _MAX_NUMBERS else [None]
        return None if None in numbers else cast("list[Number | str]", numbers)
    return _number(value)


def _number(value: Any) -> Number | str | None:
    """Return a plain number. JSON has none for NaN and infinity, so they are texts, as in the record."""
    if isinstance(value, int):
        # Also a bool. Flower's integers have at most 64 bits.
        return int(value) if value.bit_length() <= _MAX_BITS else None
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else str(float(value))
    return value if isinstance(value, str) and value in NOT_FINITE else None
