"""A tracker: the place where a person keeps and compares the metrics of runs."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from syft_flwr.runs.entry import RecordEntry
from syft_flwr.runs.events import RunEnded
from syft_flwr.tracking.metric_points import MetricPoint

#: The settings that explain a result. The others, such as paths, stay on this machine.
_SETTINGS = (
    "transport",
    "encryption",
    "msg_timeout",
    "round_timeout",
    "min_replies",
    "grace",
    "strict",
    "nodes",
)
#: Characters of the text with the losses of a run. An older MLflow takes 5,000.
_MOST_LOSSES = 4_000


class TrackerError(Exception):
    """The tracker cannot be used at this moment. The text says why, and has no secret."""


@dataclass(frozen=True, slots=True)
class TrackedFacts:
    """The facts of a run that a tracker shows."""

    #: The id of the run, as text.
    run: str
    app: str
    aggregator: str
    #: The begin of the run; None if it is not known.
    started: datetime | None = None
    #: Versions by the name of the software.
    versions: Mapping[str, str] = field(default_factory=dict)
    #: The values of the run configuration, and the settings that explain a result.
    parameters: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class TrackedEnd:
    """How a run ended."""

    #: ``completed``, ``failed`` or ``stopped``; ``interrupted`` for a local run whose process was killed.
    state: str
    cause: str
    #: The failed requests, as JSON; empty if there were none.
    losses: str
    time: datetime


class Tracker(Protocol):
    """A tracker for one run. One thread uses it.

    Each call may raise a :class:`TrackerError`, and is made again later, with the same arguments.
    """

    #: For the texts about it.
    title: str
    #: The next step of a person if it cannot be used.
    advice: str

    def seek(self) -> None:
        """Check that the place of the tracker is there, before the package is imported, which can take seconds."""

    def begin(self, facts: TrackedFacts) -> None:
        """Begin the run, or continue it if the tracker has it from an earlier process."""

    def held(self, key: str) -> Mapping[int, int]:
        """Return the number of points by step that the tracker had for a key when the run began here."""

    def log(self, points: Sequence[MetricPoint]) -> None:
        """Write points, in order."""

    def end(self, end: TrackedEnd) -> None:
        """Write how the run ended."""

    def close(self) -> None:
        """Release all resources. Without an end before, the run can continue later."""


def facts_of(entry: RecordEntry) -> TrackedFacts:
    """Return the facts in the begin of a run."""
    return TrackedFacts(
        run=str(entry.run),
        app=entry.text("app"),
        aggregator=entry.text("aggregator"),
        started=entry.time,
        versions={name: str(value) for name, value in entry.mapping("versions").items()},
        parameters={
            # A dot, which no name of a setting has.
            **{f"setting.{name}": str(value) for name, value in entry.mapping("settings").items() if name in _SETTINGS},
            **{name: _shown(value) for name, value in entry.mapping("run_config").items()},
        },
    )


def end_of_run(entry: RecordEntry) -> TrackedEnd | None:
    """Return how a run ended; None for an entry that is not its end."""
    if entry.event != RunEnded.name:
        return None
    losses = entry.fields.get("losses")
    text = json.dumps(losses)[:_MOST_LOSSES] if losses else ""
    return TrackedEnd(entry.text("state"), entry.text("cause"), text, entry.time)


def _shown(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
