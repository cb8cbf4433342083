"""The record of one run on one side, in the process that serves the run: its file, its account and its status file."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Literal

from syft_flwr.errors import StorageError
from syft_flwr.log import logger
from syft_flwr.runs.account import RunAccount
from syft_flwr.runs.entry import RecordEntry, fields_of
from syft_flwr.runs.events import Event, LoggedWarning, Lost, RunEnded
from syft_flwr.runs.metric_files import MetricFiles
from syft_flwr.runs.record_file import MAX_WARNINGS, RecordFile
from syft_flwr.runs.record_reader import read_entries
from syft_flwr.runs.status import RunStatuses, status_of
from syft_flwr.shares import FairShares

Role = Literal["aggregator", "datasite"]

#: Minimum seconds between two writes of the status file. The end of the run is written immediately.
_EVERY = 1.0
#: The place of lost warnings: their peer had used its share.
WARNINGS = "warnings"


def runs_folder(app_home: Path) -> Path:
    """Return the folder with the records of an app's runs. It may be a link, as in the home of a local run."""
    folder = app_home / "runs"
    try:
        return folder.resolve()
    except (OSError, RuntimeError):
        # A link to itself. The record is lost, and nothing else.
        return folder


def record_path(folder: Path, run: int, role: str) -> Path:
    """Return the path of the record of a run; run 0 stands for events that belong to no run."""
    return folder / f"{run:016x}.{role}.jsonl"


@dataclass(frozen=True, slots=True)
class Emitted:
    """An event with the times at which it was emitted."""

    event: Event
    time: datetime
    #: Seconds since its process opened the record.
    elapsed: float


class RunRecord:
    """Writes the events of one run. Not thread-safe. A full disk loses events, and is logged once.

    Each peer has a share of the space for warnings. Those beyond it are counted, so that the record keeps room for the
    events of the run.

    Args:
        folder: the folder of the records.
        run: the id of the run.
        role: the side of the run.
        process: a random text for this process.
        lost: counts the lost events of this process, by place.
    """

    def __init__(self, folder: Path, run: int, role: Role, process: str, lost: Counter[str]) -> None:
        self._path = record_path(folder, run, role)
        self._statuses = RunStatuses(folder)
        self._run = run
        self._role: Role = role
        self._process = process
        self._lost = lost
        #: Lost events of which the record has no line yet, by place.
        self._unsaid: Counter[str] = Counter()
        self._shares = FairShares(MAX_WARNINGS)
        #: The number of left out warnings that the record has told.
        self._said = 0
        self._file: RecordFile | None = None
        has_metrics = run and role == "aggregator"
        self._metrics = MetricFiles(folder, run, self._complain_of_metrics) if has_metrics else None
        self._n = 0
        self._account = RunAccount()
        self._status_due = 0.0
        self._complained: set[str] = set()

    def add(self, batch: Sequence[Emitted]) -> list[RecordEntry]:
        """Write a batch of events, and return the entries of all except the warnings that have no share."""
        entries: list[RecordEntry] = []
        losses: dict[str, int] = {}
        try:
            file = self._open()
            batch = self._with_share(batch)
            if not batch:
                return []
            losses = self._due_losses(batch)
            now = batch[0]
            told = [Emitted(Lost(count, place), now.time, now.elapsed) for place, count in losses.items()]
            entries = self._number([*told, *batch])
            file.append(entries)
        except OSError as error:
            self._complain("record", error.strerror or type(error).__name__)
            self.note_lost("record", len(batch))
            entries = entries[-len(batch) :] or self._number(batch)
        else:
            self._note_said(losses)
            self._shorten(file)
        if self._metrics:
            self._metrics.add(entries)
        for entry in entries:
            self._account.add(entry)
        if self._run and (batch[-1].elapsed >= self._status_due or self._account.has_ended):
            self._status_due = batch[-1].elapsed + _EVERY
            self._write_status()
        return entries

    @property
    def has_unsaid(self) -> bool:
        """Return whether events were lost of which the record has no line yet."""
        return bool(self._unsaid)

    def note_lost(self, place: str, count: int) -> None:
        """Count lost events. The next batch adds them to the record."""
        if count:
            self._lost[place] += count
            self._unsaid[place] += count

    def close(self) -> None:
        """Write the status file, and close the record."""
        if self._run and self._account.state:
            self._write_status()
        if self._file:
            self._file.close()
        if self._metrics:
            self._metrics.close()

    def _open(self) -> RecordFile:
        if self._file is None:
            # Before the record is read, which can take long.
            self._file = RecordFile(self._path)
            if self._n == 0:
                for entry in read_entries(self._path):
                    self._account.add(entry)
                    if entry.event == LoggedWarning.name:
                        self._shares.note(entry.text("peer"), len(entry.encode()))
            self._n = max(self._n, self._file.n)
        return self._file

    def _shorten(self, file: RecordFile) -> None:
        try:
            self.note_lost("size", file.shorten())
        except OSError as error:
            self._complain("shortened record", error.strerror or type(error).__name__)

    def _with_share(self, batch: Sequence[Emitted]) -> list[Emitted]:
        kept = [each for each in batch if not isinstance(each.event, LoggedWarning) or self._take(each, each.event)]
        self.note_lost(WARNINGS, len(batch) - len(kept))
        return kept

    def _take(self, emitted: Emitted, warning: LoggedWarning) -> bool:
        return self._shares.take(warning.peer, len(self._entry(self._n, emitted).encode()))

    def _due_losses(self, batch: Sequence[Emitted]) -> dict[str, int]:
        """Return the losses to tell now. Left out warnings are told each time they have doubled, and at the end."""
        ends = any(isinstance(each.event, RunEnded) for each in batch)
        return {
            place: count for place, count in self._unsaid.items() if place != WARNINGS or ends or count > self._said
        }

    def _note_said(self, losses: Mapping[str, int]) -> None:
        self._said += losses.get(WARNINGS, 0)
        for place in losses:
            del self._unsaid[place]

    def _number(self, batch: Sequence[Emitted]) -> list[RecordEntry]:
        """Return the entries of these events. Lost entries have numbers, too, so that a gap shows them."""
        entries = [self._entry(n, each) for n, each in enumerate(batch, self._n + 1)]
        self._n += len(entries)
        return entries

    def _entry(self, n: int, each: Emitted) -> RecordEntry:
        event = each.event
        return RecordEntry(n, each.time, each.elapsed, self._process, self._run, event.name, fields_of(event))

    def _write_status(self) -> None:
        try:
            self._statuses.write(status_of(self._run, self._role, self._account))
        except StorageError as error:
            self._complain("status", error.diagnose())

    def _complain_of_metrics(self, name: str, reason: str) -> None:
        # One warning for both files.
        if "metrics" not in self._complained:
            self._complained.add("metrics")
            self._complain(f"file {name}", reason)

    def _complain(self, part: str, reason: str) -> None:
        if part not in self._complained:
            self._complained.add(part)
            text = "the {} of run {} cannot be written, so a part of it is missing; the run continues: {}"
            logger.warning(text, part, self._run, reason)
