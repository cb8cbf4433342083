"""Supervises one simulated run: starts all participants, checks their progress, and decides about end and success."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from syft_flwr._store.states import RunState
from syft_flwr.clock import SystemClock
from syft_flwr.errors import StoreError
from syft_flwr.log import quiet_default_sink
from syft_flwr.runs.finding import recorded_local_run
from syft_flwr.runs.outcome import is_loss
from syft_flwr.runs.owner_counts import OwnerCounts
from syft_flwr.runs.stop_request import LOCAL, LOOK_EVERY, STOPPED_BY_COMMAND, StopFolder
from syft_flwr.runs.view import RunView
from syft_flwr.simulation.closing_report import Report, Row, own_warnings, tracker_places
from syft_flwr.simulation.display import Display
from syft_flwr.simulation.federation import Federation
from syft_flwr.simulation.first_cause import FirstCause, cause_at, cause_of_failure, error_in
from syft_flwr.simulation.folders import Folders, Sandbox
from syft_flwr.simulation.interruption import Interruption
from syft_flwr.simulation.kept_records import RECORD_ROLES, KeptRecords
from syft_flwr.simulation.processes import TICK, Process, Processes
from syft_flwr.simulation.progress import Progress
from syft_flwr.simulation.server_facts import ServerFacts
from syft_flwr.simulation.stand_in import Usage

#: Seconds for the data owners to end after the stop of the server.
_FAREWELL = 5.0
#: Added to it, in delays of the storage: one each for stop, confirmation and withdrawal, then doubled.
_FAREWELL_DELAYS = 6
#: Seconds between two reads of the records.
_LOOK = 0.25


@dataclass(frozen=True, slots=True)
class Problem:
    """Why a run is no success, and the processes to blame, the cause first. ``state`` can also be completed."""

    text: str
    culprits: tuple[Process, ...] = ()
    state: RunState = RunState.FAILED
    first: FirstCause | None = None


class Supervisor:
    """Runs one federation. :meth:`run` may be called once.

    Args:
        federation: the participants.
        folders: the folders for output and logs.
        timeout: seconds after which the run ends as failed; None for no limit.
        display: shows the progress and the result.
        keep_files: keep the temporary folder.
    """

    def __init__(
        self, federation: Federation, folders: Folders, timeout: float | None, display: Display, *, keep_files: bool
    ) -> None:
        self._federation = federation
        self._folders = folders
        self._timeout = timeout
        self._display = display
        self._keep_files = keep_files
        self._interruption = Interruption()

    def cancel(self) -> None:
        """Make :meth:`run` end all processes and return a failure. Safe from any thread."""
        self._interruption.cancel()

    def run(self, on_stop: Callable[[Report], object] = lambda _: None) -> Report:
        """Run until the server ends, a participant dies, the time is over, or the run is interrupted.

        Args:
            on_stop: called with the result of a run that was interrupted, before a signal ends this program.

        Returns:
            The result. A run succeeds if the server and all data owners ended without a failure, and the database of the
            server has it as completed. Also, each data owner must have sent a good reply to each kind of message in
            which it had losses. With the setting ``strict``, no request may fail.

        Raises:
            RunError: a process cannot be started.
            StoreError: the records of the run can be written nowhere.
            KeyboardInterrupt: Ctrl-C, after everything has ended.
        """
        with (
            quiet_default_sink(),
            self._interruption,
            Sandbox(self._federation, self._folders, keep_files=self._keep_files) as sandbox,
            KeptRecords(self._federation, self._folders, sandbox.path) as records,
            self._display as display,
        ):
            sandbox.link_records(records.local)
            with Processes() as processes:
                course = _Course(self._federation, self._folders, sandbox, processes, display, records)
                problem = course.follow(self._timeout, self._interruption)
            course.record_end(problem)
            report = course.report(problem, sandbox.storage.usage(), kept=sandbox.path if self._keep_files else None)
            display.finish(report, course.logs_to_show(problem))
            if self._interruption.requested:
                on_stop(report)
        return report


class _Course:
    """The processes of one run, with the progress of each."""

    def __init__(
        self,
        federation: Federation,
        folders: Folders,
        sandbox: Sandbox,
        processes: Processes,
        display: Display,
        records: KeptRecords,
    ) -> None:
        self._federation = federation
        self._folders = folders
        self._sandbox = sandbox
        self._processes = processes
        self._display = display
        self._records = records
        self._facts = ServerFacts(sandbox.state(federation.seats[0]))
        self._all: list[Process] = []
        self._progress: dict[Process, Progress] = {}
        self._next_look = self._next_stop = 0.0
        local = records.local
        self._stops = StopFolder(local.folder, LOCAL, local.name, self._note_stop)
        self._stop_asked = False

    def follow(self, timeout: float | None, interruption: Interruption) -> Problem | None:
        """Start all processes, wait for the end of the run, and end the remaining ones; return the problem, if any."""
        self._start()
        server, *owners = self._all
        problem: Problem | None = None
        while server.runs and problem is None:
            self._wait()
            if interruption.requested:
                problem = Problem("it was interrupted", state=RunState.STOPPED)
            elif self._stop_asked:
                problem = Problem(STOPPED_BY_COMMAND, state=RunState.STOPPED)
            elif timeout is not None and server.seconds > timeout:
                problem = Problem(
                    f"it was not over after {timeout:g} s, the limit --timeout (in Python: timeout)", (server,)
                )
            elif server.runs:
                problem = self._early_end(owners)
        if problem is None:
            self._say_farewell(owners, interruption)
        self._processes.end(lambda: interruption.urgent)
        for seat in self._federation.seats:
            self._folders.clean_log(seat)
        self._look()
        return problem or self._verdict()

    def _start(self) -> None:
        for seat in self._federation.seats:
            environ = self._sandbox.environment(seat, self._folders.output)
            process = self._processes.start(seat, self._federation.project_dir, environ, self._folders.log(seat))
            self._all.append(process)
            records = self._records.local.records(seat.email)
            self._progress[process] = Progress(records, RECORD_ROLES[seat.role])

    def _wait(self) -> None:
        time.sleep(TICK)
        self._processes.poll()
        if time.monotonic() >= self._next_look:
            self._look()
            self._next_look = time.monotonic() + _LOOK
        if time.monotonic() >= self._next_stop:
            self._stops.look([self._records.local.name])
            self._next_stop = time.monotonic() + LOOK_EVERY

    def _note_stop(self, _: str) -> bool:
        self._stop_asked = True
        return True

    def _look(self) -> None:
        for progress in self._progress.values():
            progress.read()
        self._records.note_run(self._progress[self._all[0]].run)
        self._display.show(self.rows(), self._view())

    def _early_end(self, owners: list[Process]) -> Problem | None:
        """Return a problem if a data owner has ended while the server needs it."""
        for process in owners:
            if process.failed:
                return self._death(process)
            if not process.runs and self._facts.has_sent_stop() is False:
                return Problem(f"{process.seat.label} ended before the run was over", (process,))
        return None

    def _death(self, process: Process) -> Problem:
        text, log = f"{process.seat.label} ended with {process.how_it_ended}", self._folders.log(process.seat)
        if cause := error_in(log):
            text = f"{text}: {cause}"
        return self._problem(text, process, cause_at(process.seat.email, text, log))

    def _problem(
        self, text: str, process: Process, last: FirstCause | None = None, state: RunState = RunState.FAILED
    ) -> Problem:
        """Return the problem of a run. A request that failed before is its first cause, and its data owner is to blame."""
        failure = self._facts.first_failure()
        owner = next((one for one in self._all[1:] if failure and one.seat.email == failure.data_owner), None)
        if failure is None or owner is None:
            return Problem(text, (process,), state, last)
        first = cause_of_failure(failure, self._folders.log(owner.seat))
        culprits = (owner,) if last is None else (owner, process)
        return Problem(f"{first.text}; {text}", tuple(dict.fromkeys(culprits)), state, first)

    def _counts(self, process: Process) -> OwnerCounts:
        """Return the counts of the requests to a data owner, as the server recorded them."""
        return self._progress[self._all[0]].owners.get(process.seat.email, OwnerCounts())

    def _verdict(self) -> Problem | None:
        """Return why the run is no success, or None. The server recorded how it ended."""
        server, outcome = self._all[0], self._facts.outcome()
        if outcome.state is RunState.FAILED and (not server.failed or self._facts.has_failed_run()):
            # Also if the server has the exit code 1 because of it.
            return self._problem(outcome.cause, server, cause_at(server.seat.email, outcome.cause, self._log(server)))
        if dead := next((process for process in self._all if process.failed), None):
            return self._death(dead)
        if refusal := outcome.refusal(strict=self._federation.strict, everyone=True):
            return self._problem(refusal, server, state=outcome.state)
        return None

    def _log(self, process: Process) -> Path:
        return self._folders.log(process.seat)

    def record_end(self, problem: Problem | None) -> None:
        """Write the end of the run into its description."""
        state = problem.state if problem else RunState.COMPLETED
        text, losses = problem.text if problem else "", self._facts.outcome().losses
        if state is RunState.COMPLETED:
            self._records.end(state, "", losses, refusal=text)
        else:
            self._records.end(state, text, losses)

    def _say_farewell(self, owners: list[Process], interruption: Interruption) -> None:
        """Wait until the data owners have ended, if the server sent a stop."""
        patience = _FAREWELL + _FAREWELL_DELAYS * self._sandbox.storage.delay
        deadline = time.monotonic() + (patience if self._facts.has_sent_stop() else 0.0)
        while any(process.runs for process in owners) and time.monotonic() < deadline and not interruption.requested:
            self._wait()

    def logs_to_show(self, problem: Problem | None) -> list[Path]:
        """Return the logs that explain the failure, the log of the cause first."""
        culprits = list(problem.culprits) if problem else []
        if culprits:
            # A failure of the server may have its cause at a data owner.
            culprits += [process for process in self._all[1:] if self._counts(process).failed]
        culprits += [process for process in self._all if process.failed]
        return [self._folders.log(process.seat) for process in dict.fromkeys(culprits)]

    def report(self, problem: Problem | None, usage: Sequence[Usage], *, kept: Path | None) -> Report:
        """Return the result of the run."""
        answers, failures = self._totals()
        local = self._records.local
        return Report(
            problem=problem.text if problem else "",
            rows=tuple(self.rows()),
            output=self._folders.output,
            has_output=self._folders.output_since(local.facts.started),
            answers=answers,
            failures=failures,
            local=local,
            losses=self._facts.outcome().losses,
            first=problem.first if problem else None,
            usage=tuple(usage),
            kept=kept,
            warnings=own_warnings(local),
            trackers=tracker_places(local, self._federation, are_kept=self._records.are_kept),
            # Read now, because the temporary folder is deleted.
            unkept=None if self._records.are_kept else recorded_local_run(local, local.aggregator),
        )

    def _totals(self) -> tuple[int, int]:
        """Return the numbers of good replies and of failed requests."""
        try:
            replies = self._facts.replies()
        except StoreError:
            # It is the problem of this run already.
            return 0, 0
        good = sum(each.count for each in replies if not each.reason)
        return good, sum(each.count for each in replies if is_loss(each.reason))

    def rows(self) -> list[Row]:
        """Return the state of each participant."""
        return [self._row(process, self._progress[process]) for process in self._all]

    def _view(self) -> RunView | None:
        """Return the view of the run at the server; None before it began."""
        server = self._all[0]
        return self._progress[server].view(
            SystemClock().now(),
            app=self._federation.app_name,
            participant=server.seat.email,
            is_served=server.runs,
        )

    def _row(self, process: Process, progress: Progress) -> Row:
        owners = self._progress[self._all[0]].owners.values()
        is_server = process is self._all[0]
        counts = OwnerCounts() if is_server else self._counts(process)
        return Row(
            participant=process.seat.email,
            role=process.seat.role,
            state=_state(process, progress),
            exit_code=process.exit_code,
            exit=process.how_it_ended,
            round=progress.round,
            total_rounds=progress.total_rounds,
            answers=sum(each.answered for each in owners) if is_server else counts.answered,
            seconds=process.seconds,
            failures=sum(each.failed for each in owners) if is_server else counts.failed,
            last_failure=counts.last_failure,
            log=self._folders.log(process.seat),
        )


def _state(process: Process, progress: Progress) -> str:
    if process.runs:
        return "running" if progress.begun else "starting"
    if process.stopped:
        return "stopped"
    return "failed" if process.exit_code else "completed"
