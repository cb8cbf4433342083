"""One value of a metric of a run, and the values that an entry of the record has."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from syft_flwr.runs.entry import RecordEntry
from syft_flwr.runs.events import Metrics, RequestEnded


@dataclass(frozen=True, slots=True)
class MetricRow:
    """The value of one metric in one round, of the whole run or of one data owner."""

    #: Aware, in UTC, by the clock of the aggregator.
    time: datetime
    run: int
    #: As text; the group of the message if the round is not known.
    round: str
    #: ``train``, ``evaluate`` or ``central``; for a data owner, the type of the Flower message.
    source: str
    #: The email of the data owner; empty for a value of the whole run.
    data_owner: str
    name: str
    #: A number, a list of numbers or a text. ``nan``, ``inf`` and ``-inf`` are texts, as in the record.
    value: Any


def metric_rows(entry: RecordEntry) -> Iterator[MetricRow]:
    """Yield the values of an entry in the record of an aggregator; nothing for an entry without metrics."""
    if entry.event == Metrics.name:
        source, owner, values = entry.text("source"), "", entry.mapping("values")
    elif entry.event == RequestEnded.name:
        source, owner, values = entry.text("kind"), entry.text("data_owner"), entry.mapping("metrics")
    else:
        return
    for name, value in values.items():
        yield MetricRow(entry.time, entry.run, entry.text("round"), source, owner, str(name), value)
