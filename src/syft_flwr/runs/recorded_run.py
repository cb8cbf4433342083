"""A run as its record shows it, for programs and notebooks: :class:`RecordedRun`."""

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from syft_flwr.errors import NotFoundError
from syft_flwr.files import translate
from syft_flwr.runs.account import FailedRequest, RunAccount
from syft_flwr.runs.entry import RecordEntry
from syft_flwr.runs.events import EVENTS, Event, RunEnded, RunStarted
from syft_flwr.runs.history import RecordedRequest, RecordedRound, RecordedWarning, RunHistory
from syft_flwr.runs.html import panel_html
from syft_flwr.runs.outcome import Loss, shown_losses
from syft_flwr.runs.owner_counts import OwnerCounts
from syft_flwr.runs.panel import panel_of
from syft_flwr.runs.plot import plot_metrics
from syft_flwr.runs.record import Role
from syft_flwr.runs.record_reader import RecordReader
from syft_flwr.runs.view import RunView, view_of

#: Seconds between two reads of a growing record.
_INTERVAL = 0.25


@dataclass(frozen=True, slots=True)
class RunPaths:
    """The files of a run at one participant."""

    #: The record, JSON Lines; it may be missing.
    record: Path
    #: The home of the participant. That of a local run has only records in it.
    home: Path
    #: The OUTPUT_DIR of the process; None if it is not known.
    output: Path | None = None
    #: The log of the process; None if it is not known.
    log: Path | None = None
    #: The metrics of an aggregator, a line for each value: JSON Lines and CSV. None at a data owner, and if they are missing.
    metrics_jsonl: Path | None = None
    metrics_csv: Path | None = None


@dataclass(frozen=True, eq=False, repr=False)
class RecordedRun:
    """One run at one participant of this machine, as it was when this object was made. True only for a success.

    A completed run is a success, also with :attr:`losses`. A run with :attr:`refusal` is none.

    State, cause and start come from the database of the participant, or from the description of the local run. All other
    values come from the record. They are empty if it was lost.
    """

    #: 0 if the server of a local run ended before it began a run.
    run_id: int
    app: str
    #: ``aggregator`` or ``datasite``.
    role: Role
    #: The email of the participant.
    participant: str
    #: ``running``, ``interrupted`` (it has no end, and no process serves it), ``completed``, ``failed`` or ``stopped``.
    state: str
    #: The reason of the end, for people; empty if the run was completed.
    cause: str
    started: datetime | None
    ended: datetime | None
    #: The number of resumes after a crash.
    resumed: int
    paths: RunPaths
    #: The name of the local run; empty for a run with other machines.
    local: str = ""
    #: Why a completed run is no success: there were losses and ``strict`` is set, or a data owner gave no good reply to a
    #: kind of message in a local run.
    refusal: str = ""
    _history: RunHistory = field(default_factory=RunHistory)
    #: Returns whether a process serves the run at this moment.
    _is_served: Callable[[], bool] = lambda: False
    #: False if only the record shows the state, because the database is missing.
    _is_certain: bool = True
    #: The losses by the database or the description; None if only the record has them.
    _losses: tuple[Loss, ...] | None = None

    def __bool__(self) -> bool:
        return self.state == "completed" and self._is_certain and not self.refusal

    def __repr__(self) -> str:
        counts = f"{self.answered} of {self.asked} answered, {self.failed} failed"
        if self.round:
            counts = f"{self._view().round_text()}, {counts}"
        cause = f" ({self._why})" if self._why else ""
        return f"<run {self.id} of {self.app}, {self.role} {self.participant}: {self.state}{cause}; {counts}>"

    def _repr_html_(self) -> str:
        return panel_html(panel_of(self._view()))

    @property
    def _why(self) -> str:
        return self.cause or self.refusal or (f"losses: {shown_losses(self.losses)}" if self.losses else "")

    def _view(self) -> RunView:
        account = self._history.account
        view = view_of_run(self, account, self.updated or datetime.now(UTC), state=self.state)
        # Without a record, only the database knows the run.
        return view if account.state else replace(view, peers=())

    def plot(self, axes: Any = None) -> Any:
        """Draw a line for each metric of each source over the rounds, and return the matplotlib axes.

        Args:
            axes: axes to draw into; by default those of a new figure.

        Raises:
            ConfigError: matplotlib is not installed; it comes with the extra ``plot``.
        """
        return plot_metrics(self.metrics, f"{self.app}, run {self.id}", axes)

    @property
    def id(self) -> str:
        """Return the name of this run for commands: its run id, or the name of a local run without one."""
        return str(self.run_id) if self.run_id else self.local

    @property
    def has_record(self) -> bool:
        """Return whether any event of the run was found."""
        return self._history.account.updated is not None

    @property
    def updated(self) -> datetime | None:
        """Return the time of its last known event."""
        return max(filter(None, (self.started, self.ended, self._history.account.updated)), default=None)

    @property
    def round(self) -> str:
        """Return the latest round; empty if no message named one."""
        return self._history.account.round

    @property
    def total_rounds(self) -> int:
        """Return the number of rounds of the strategy; 0 if it is not known."""
        return self._history.account.total_rounds

    @property
    def rounds(self) -> list[RecordedRound]:
        """Return the rounds with their start, seconds and counts, in order."""
        return list(self._history.rounds)

    @property
    def metrics(self) -> dict[str, dict[str, dict[str, Any]]]:
        """Return the metrics by source (``train``, ``evaluate``, ``central``), round and name."""
        return self._history.account.metrics

    @property
    def requests(self) -> list[RecordedRequest]:
        """Return the requests in order, without those that start and stop a run."""
        return list(self._history.requests.values())

    @property
    def failures(self) -> list[FailedRequest]:
        """Return the failed requests in order. A request that was open at the end of the run did not fail."""
        mine = self.participant if self.role == "datasite" else ""
        return [
            FailedRequest(each.message, mine or each.peer, each.round, each.reason, each.text)
            for each in self.requests
            if each.has_failed
        ]

    @property
    def losses(self) -> tuple[Loss, ...]:
        """Return the failed requests, counted by data owner, kind and reason; empty at a data owner."""
        return self._history.account.losses if self._losses is None else self._losses

    @property
    def data_owners(self) -> Mapping[str, OwnerCounts]:
        """Return the counts of the requests by data owner; empty at a data owner."""
        return self._history.account.owners

    @property
    def asked(self) -> int:
        """Return the number of requests that were sent; at a data owner, that were received."""
        return self._history.account.asked

    @property
    def answered(self) -> int:
        """Return the number of requests with a good reply."""
        return self._history.account.answered

    @property
    def failed(self) -> int:
        """Return the number of requests that failed; one that was open at the end of the run did not."""
        return len(self.failures)

    @property
    def warnings(self) -> list[RecordedWarning]:
        """Return the latest warnings and errors in the log of the processes that served the run."""
        return list(self._history.warnings)

    @property
    def lost(self) -> int:
        """Return the number of events that are missing in the record."""
        return self._history.account.lost

    def is_served(self) -> bool:
        """Return whether a process of this participant has the lock of the app at this moment."""
        return self._is_served()

    def events(self) -> Iterator[RecordEntry]:
        """Yield the entries of the record so far; nothing if it was lost.

        Raises:
            StorageError: the record cannot be read.
        """
        return read_record(RecordReader(self.paths.record))

    def follow(self) -> Iterator[RecordEntry]:
        """Yield the entries of the record, and wait for further ones as long as a process serves the run.

        Raises:
            StorageError: the record cannot be read.
        """
        reader = RecordReader(self.paths.record)
        ended = False
        while True:
            # First, so that no entry is missed that a process writes just before its end.
            served = self._is_served()
            for entry in read_record(reader):
                if issubclass(EVENTS.get(entry.event, Event), (RunStarted, RunEnded)):
                    ended = entry.event == RunEnded.name
                yield entry
            if ended or not served:
                return
            time.sleep(_INTERVAL)


def view_of_run(run: RecordedRun, account: RunAccount, now: datetime, *, state: str, is_served: bool = True) -> RunView:
    """Return the view of a run by the events of ``account``, and by other sources where the record lacks a fact."""
    view = view_of(
        account,
        now,
        run=run.id,
        app=run.app,
        participant=run.participant,
        state=state,
        cause=run.cause or run.refusal,
        is_served=is_served,
    )
    return replace(
        view,
        role=view.role or run.role,
        started=view.started or run.started,
        losses=view.losses or run.losses,
        is_local=bool(run.local),
        has_log=run.paths.log is not None,
    )


def read_record(reader: RecordReader) -> Iterator[RecordEntry]:
    """Yield the new entries of a record; nothing if it is missing.

    Raises:
        StorageError: it cannot be read.
    """
    try:
        yield from reader.read()
    except OSError as error:
        failed = translate(error, "the record of the run")
        if not isinstance(failed, NotFoundError):
            raise failed from error
