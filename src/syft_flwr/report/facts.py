"""The facts of a report: a run with all that its record says, read once."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

from syft_flwr.errors import StorageError
from syft_flwr.report.record_details import RecordDetails
from syft_flwr.runs.entry import RecordEntry
from syft_flwr.runs.events import RequestRefused
from syft_flwr.runs.history import RecordedRequest, RunHistory
from syft_flwr.runs.outcome import shown_state
from syft_flwr.runs.record import record_path
from syft_flwr.runs.record_reader import RecordReader
from syft_flwr.runs.recorded_run import RecordedRun, read_record, view_of_run
from syft_flwr.runs.view import RunView


@dataclass(frozen=True, slots=True)
class Facts:
    """A run, the sum of its record, and the view that other commands show of it."""

    run: RecordedRun
    view: RunView
    history: RunHistory
    details: RecordDetails
    #: Why a part of the record cannot be read; empty if all of it was read.
    problem: str = ""

    @property
    def is_aggregator(self) -> bool:
        return self.run.role == "aggregator"

    @property
    def has_record(self) -> bool:
        """Return whether the record tells more than the database."""
        return self.history.account.updated is not None

    @property
    def state(self) -> str:
        """Return the state in words, with the result of a completed run."""
        return shown_state(self.view.state, self.view.losses, self.view.refusal)

    @property
    def mood(self) -> str:
        """Return the class of the colours of the state."""
        if self.view.state == "completed" and (self.view.refusal or self.view.losses):
            return "losses" if not self.view.refusal else "failed"
        return self.view.state

    @property
    def ended(self) -> datetime | None:
        """Return the end of the run, or its last event so far."""
        return self.view.ended or self.run.ended or self.view.updated

    @property
    def seconds(self) -> float | None:
        """Return the seconds from the begin of the run to its end, or to its last event; None if they are not known.

        After its clock was set back, the end can be earlier than the begin.
        """
        started, ended = self.view.started, self.ended
        return (ended - started).total_seconds() if started and ended and started <= ended else None

    @property
    def requests(self) -> list[RecordedRequest]:
        return list(self.history.requests.values())

    @property
    def failed(self) -> list[RecordedRequest]:
        return [request for request in self.requests if request.has_failed]

    @property
    def owners(self) -> list[str]:
        """Return the data owners of the run, sorted; at a data owner, only itself."""
        return sorted(self.history.account.owners) if self.is_aggregator else [self.run.participant]


def facts_of(run: RecordedRun) -> Facts:
    """Return the facts of a run at this moment. A record that cannot be read is one of them."""
    history, details, problem = RunHistory(), RecordDetails(), ""
    try:
        # The events of run 0 belong to no run.
        for entry in run.events() if run.run_id else ():
            # The begin of a record that was lost is not written again.
            history.account.role = history.account.role or run.role
            history.add(entry)
            details.add(entry)
        for entry in _refused_outside(run) if run.role == "datasite" else ():
            details.refuse(entry)
    except StorageError as error:
        problem = str(error)
    updated = max(filter(None, (run.started, run.ended, history.account.updated)), default=None)
    now = datetime.now(UTC) if run.state == "running" else updated or datetime.now(UTC)
    return Facts(run, view_of_run(run, history.account, now, state=run.state), history, details, problem)


def _refused_outside(run: RecordedRun) -> Iterator[RecordEntry]:
    """Yield the refusals of files that belong to no run, from the time in which this machine served the run."""
    outside = record_path(run.paths.record.parent, 0, run.role)
    ended = run.ended or datetime.max.replace(tzinfo=UTC)
    for entry in read_record(RecordReader(outside)):
        if entry.event == RequestRefused.name and run.started and run.started <= entry.time <= ended:
            yield entry
