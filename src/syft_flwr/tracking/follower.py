"""Gives the metrics of a run to one tracker, from the record of the run while it grows.

A tracker that cannot be used is tried again, after a pause that grows. Until then, nothing more is read: the record keeps
the metrics.
"""

from collections import deque
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from syft_flwr.runs.entry import RecordEntry
from syft_flwr.runs.events import RunResumed, RunStarted
from syft_flwr.runs.record_reader import RecordReader
from syft_flwr.tracking.metric_points import MetricPoint, NewPoints, PointReader
from syft_flwr.tracking.tracker import TrackedEnd, TrackedFacts, Tracker, TrackerError, end_of_run, facts_of

#: States of a tracker, for the process of the run: its place is asked, its place is there and its package is loaded, it works,
#: or it cannot be used.
SOUGHT, FOUND, WORKS, FAILS = "sought", "found", "works", "fails"
#: Told once, in any state: the tracker has points of this run.
HAS_POINTS = "has-points"
#: Seconds between two looks at the record.
EVERY = 1.0
#: Seconds before the next try of a tracker that cannot be used: the first pause, and the longest.
_PAUSE, _MOST_PAUSE = 2.0, 30.0
_MOST_POINTS = 1_000


class RecordFollower:
    """Follows one record until the end of its run.

    Args:
        tracker: gets the metrics.
        record: the path of the record.
        facts: the facts of the run that are known without the record.
        report: called with each change of the state, and with the reason if the tracker cannot be used.
        end: the end of the run, if it is known without the record, which may lack it.
    """

    def __init__(
        self,
        tracker: Tracker,
        record: Path,
        facts: TrackedFacts,
        report: Callable[[str, str], object],
        end: TrackedEnd | None = None,
    ) -> None:
        self._tracker = tracker
        self._reader = RecordReader(record)
        self._points = PointReader()
        self._new = NewPoints(tracker.held)
        self._facts = facts
        self._report = report
        self._state = ""
        #: Points that the tracker does not have yet, with the process that made each; then the new ones among them.
        self._waiting: deque[tuple[str, MetricPoint]] = deque()
        self._batch: list[MetricPoint] = []
        self._end: TrackedEnd | None = None
        self._known_end = end
        self._has_begun = self._has_points = False
        #: The number of points that the tracker got from here.
        self.sent = 0

    def run(self, wait: Callable[[float], bool]) -> None:
        """Follow the record until the run has ended, or its process has.

        Args:
            wait: waits this number of seconds, and returns whether the process of the run has ended. Then the record is
                read a last time.
        """
        pause, is_last = _PAUSE, False
        while True:
            try:
                if self._step():
                    return
            except TrackerError as error:
                self._has_begun = False
                self._tell(FAILS, str(error))
            if is_last:
                return
            is_last = wait(pause if self._state == FAILS else EVERY)
            pause = min(2 * pause, _MOST_PAUSE) if self._state == FAILS else _PAUSE

    def _step(self) -> bool:
        """Give the tracker all that is new in the record; return whether the run has ended."""
        # First the rest of an earlier try: further points are read only after it.
        if self._waiting or self._batch:
            self._deliver()
        self._read()
        if not (self._has_begun or self._facts.started or self._waiting):
            # Nothing is known about the run yet.
            return False
        self._deliver()
        end = self._end or self._known_end
        if end:
            self._tracker.end(end)
            self._tracker.close()
        self._tell(WORKS)
        return end is not None

    def _deliver(self) -> None:
        if not self._has_begun:
            self._begin()
        while self._waiting or self._batch:
            self._log()

    def _begin(self) -> None:
        is_first = self._state != FAILS
        if is_first:
            self._tell(SOUGHT)
        self._tracker.seek()
        if is_first:
            self._tell(FOUND)
        self._tracker.begin(self._facts)
        self._has_begun = True

    def _log(self) -> None:
        while self._waiting and len(self._batch) < _MOST_POINTS:
            if self._new.add(*self._waiting[0]):
                self._batch.append(self._waiting[0][1])
            else:
                self._note_points()
            self._waiting.popleft()
        if self._batch:
            self._tracker.log(self._batch)
            self.sent += len(self._batch)
            self._batch = []
            self._note_points()

    def _note_points(self) -> None:
        if not self._has_points:
            self._has_points = True
            self._report(HAS_POINTS, "")

    def _read(self) -> None:
        # A record that cannot be read now is read at the next look. Its writer has logged why.
        with suppress(OSError):
            for entry in self._reader.read():
                self._add(entry)

    def _add(self, entry: RecordEntry) -> None:
        if entry.event in {RunStarted.name, RunResumed.name}:
            # The first one has the begin of the run.
            self._facts = self._facts if self._facts.started else facts_of(entry)
            self._end = None
        self._waiting.extend((entry.process, point) for point in self._points.points(entry))
        self._end = end_of_run(entry) or self._end

    def _tell(self, state: str, reason: str = "") -> None:
        if state != self._state or state == FAILS:
            self._report(state, reason)
        self._state = state
