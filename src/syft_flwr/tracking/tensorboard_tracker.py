"""Writes the metrics of a run as event files for TensorBoard, with the package tensorboardX (extra ``tensorboard``)."""

import json
import secrets
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from syft_flwr.private_files import make_private_folder
from syft_flwr.tracking.event_file import EventFile, event_files, read_events
from syft_flwr.tracking.metric_points import MetricPoint
from syft_flwr.tracking.tracker import TrackedEnd, TrackedFacts, TrackerError

#: What TensorBoard's plug-in for texts needs at the end of a key.
_TEXT = "/text_summary"
#: The keys of the facts and of the end of a run. Each key of a metric has a slash.
_RUN, _END = "run", "end"


class TensorBoardTracker:
    """Writes event files into the folder of one run. Each process that serves the run writes a file of its own.

    Args:
        folder: the folder of the run.
    """

    title = "TensorBoard"
    advice = "correct the folder, or make room on its disk"

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._held: dict[str, Counter[int]] | None = None
        self._file: EventFile | None = None
        #: The end of the run in the files of earlier processes.
        self._told_end: Any = None

    def seek(self) -> None:
        """Do nothing: the folder is created."""

    def begin(self, facts: TrackedFacts) -> None:
        try:
            if self._held is None:
                make_private_folder(self._folder)
                self._held = self._read()
        except OSError as error:
            raise self._problem(error) from error
        if _RUN not in self._held:
            told = {"run": facts.run, "app": facts.app, "aggregator": facts.aggregator, **facts.versions}
            self._append([_text(_RUN, _table(told | dict(facts.parameters)), 0, facts.started or datetime.now(UTC))])

    def held(self, key: str) -> Mapping[int, int]:
        return (self._held or {}).get(key, {})

    def log(self, points: Sequence[MetricPoint]) -> None:
        self._append([_point(point) for point in points])

    def end(self, end: TrackedEnd) -> None:
        told = {"state": end.state, "cause": end.cause, "losses": end.losses}
        event = _text(_END, _table({name: text for name, text in told.items() if text}), 0, end.time)
        if event.summary.value[0] != self._told_end:
            self._append([event])

    def close(self) -> None:
        if self._file:
            self._file.close()

    def _append(self, events: Sequence[Any]) -> None:
        try:
            if self._file is None:
                # Two processes of the same second must not have the same file.
                self._file = EventFile(self._folder, secrets.token_hex(4))
            self._file.append(events)
        except OSError as error:
            raise self._problem(error) from error

    def _read(self) -> dict[str, Counter[int]]:
        """Return the number of points by key and step in the files of earlier processes."""
        found: dict[str, Counter[int]] = {}
        for path in event_files(self._folder):
            for event in read_events(path):
                for value in event.summary.value:
                    key = value.tag.removesuffix(_TEXT)
                    found.setdefault(key, Counter())[event.step] += 1
                    if key == _END:
                        self._told_end = value
        return found

    def _problem(self, error: OSError) -> TrackerError:
        return TrackerError(f"{error.filename or self._folder} cannot be written: {error.strerror or error}")


def _point(point: MetricPoint) -> Any:
    from tensorboardX.proto.event_pb2 import Event
    from tensorboardX.proto.summary_pb2 import Summary

    if isinstance(point.value, str):
        return _text(point.key, f"    {point.value}", point.step, point.time)
    values = [Summary.Value(tag=point.key, simple_value=point.value)]
    return Event(wall_time=point.time.timestamp(), step=point.step, summary=Summary(value=values))


def _text(key: str, text: str, step: int, time: datetime) -> Any:
    from tensorboardX.proto.event_pb2 import Event
    from tensorboardX.summary import text as summary_of

    return Event(wall_time=time.timestamp(), step=step, summary=summary_of(key, text))


def _table(told: Mapping[str, str]) -> str:
    """Return texts as an indented block: TensorBoard reads Markdown, and shows such a block as it is."""
    return "\n".join(f"    {name}: {json.dumps(text, ensure_ascii=False)}" for name, text in told.items())
