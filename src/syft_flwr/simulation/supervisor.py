"""Supervises one simulated run: starts all participants, checks their progress, and decides about end and success."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from syft_flwr.simulation.display import Display
from syft_flwr.simulation.federation import Federation
from syft_flwr.simulation.folders import Folders, Sandbox
from syft_flwr.simulation.interruption import Interruption
from syft_flwr.simulation.processes import TICK, Process, Processes
from syft_flwr.simulation.progress import AnswerCounts, Progress, Records, ServerLog
from syft_flwr.simulation.report import Report, Row
from syft_flwr.simulation.stand_in import Usage

#: Seconds for the data owners to end after the stop of the server.
_FAREWELL = 5.0
#: Added to it, in delays of the storage: one each for stop, confirmation and withdrawal, then doubled.
_FAREWELL_DELAYS = 6
#: Seconds between two reads of the databases.
_LOOK = 0.25


@dataclass(frozen=True, slots=True)
class Problem:
    """The reason of a failure, and the processes to blame, the cause first."""

    text: str
    culprits: tuple[Process, ...] = ()


class Supervisor:
    """Runs one federation. :meth:`run` may be called once.

    Args:
        federation: the participants.
        folders: the folders for output and logs.
        timeout: seconds after which the run ends as failed; None for no limit.
        keep: keep the temporary folder.
    """

    def __init__(self, federation: Federation, folders: Folders, timeout: float | None, *, keep: bool) -> None:
        self._federation = federation
        self._folders = folders
        self._timeout = timeout
        self._keep = keep
        self._interruption = Interruption()

    def cancel(self) -> None:
        """Make :meth:`run` end all processes and return a failure. Safe from any thread."""
        self._interruption.cancel()

    def run(self) -> Report:
        """Run until the server ends, a participant dies, the time is over, or the run is interrupted.

        Returns:
            The result. A run succeeds if the server and all data owners ended without a failure. Also, each data owner that
            got requests must have sent at least one good reply.

        Raises:
            RunError: a process cannot be started.
            KeyboardInterrupt: Ctrl-C, after everything has ended.
        """
        with (
            self._interruption,
            Display() as display,
            Sandbox(self._federation, self._folders, keep=self._keep) as sandbox,
        ):
            with Processes() as processes:
                course = _Course(self._federation, self._folders, sandbox, processes, display)
                problem = course.follow(self._timeout, self._interruption)
            report = course.report(problem, sandbox.storage.usage(), kept=sandbox.path if self._keep else None)
            display.finish(report, course.logs_to_show(problem))
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
    ) -> None:
        self._federation = federation
        self._folders = folders
        self._sandbox = sandbox
        self._processes = processes
        self._display = display
        self._all: list[Process] = []
        self._records: dict[Process, Records] = {}
        self._progress: dict[Process, Progress] = {}
        self._log = ServerLog(folders.log(federation.seats[0]))
        self._next_look = 0.0

    def follow(self, timeout: float | None, interruption: Interruption) -> Problem | None:
        """Start all processes, wait for the end of the run, and end the remaining ones; return the problem, if any."""
        self._start()
        server, *owners = self._all
        problem: Problem | None = None
        while server.runs and problem is None:
            self._wait()
            if interruption.requested:
                problem = Problem("it was interrupted")
            elif timeout is not None and server.seconds > timeout:
                problem = Problem(f"it was not over after {timeout:g} s", (server,))
            elif server.runs:
                problem = self._early_end(server, owners)
        if problem is None:
            self._say_farewell(server, owners, interruption)
        self._processes.end(lambda: interruption.urgent)
        self._look()
        return problem or next((_death(process) for process in self._all if process.failed), None) or self._silence()

    def _start(self) -> None:
        for seat in self._federation.seats:
            environ = self._sandbox.environment(seat, self._folders.output)
            process = self._processes.start(seat, self._federation.project_dir, environ, self._folders.log(seat))
            self._all.append(process)
            self._records[process] = Records(self._sandbox.state(seat), seat.role)
            self._progress[process] = Progress()

    def _wait(self) -> None:
        time.sleep(TICK)
        self._processes.poll()
        if time.monotonic() >= self._next_look:
            self._look()
            self._next_look = time.monotonic() + _LOOK

    def _look(self) -> None:
        for process, records in self._records.items():
            self._progress[process] = records.read() or self._progress[process]
        self._log.read()
        self._display.show(self.rows())

    def _early_end(self, server: Process, owners: list[Process]) -> Problem | None:
        """Return a problem if a data owner has ended while the server needs it."""
        for process in owners:
            if process.failed:
                return _death(process)
            if not process.runs and (progress := self._records[server].read()) and not progress.stopping:
                # The server records a stop before it sends it, so this data owner ended without a stop.
                return Problem(f"{process.seat.label} ended before the run was over", (process,))
        return None

    def _counts(self, process: Process) -> AnswerCounts:
        """Return the counts of the requests to a data owner, from the database of the server."""
        return self._progress[self._all[0]].counts.get(process.seat.email, AnswerCounts())

    def _silence(self) -> Problem | None:
        """Return a problem that names the data owners without any good reply, or None."""
        silent = [
            process for process in self._all[1:] if self._counts(process).failures and not self._counts(process).answers
        ]
        if not silent:
            return None
        return Problem(f"every request to {', '.join(process.seat.email for process in silent)} failed", tuple(silent))

    def _say_farewell(self, server: Process, owners: list[Process], interruption: Interruption) -> None:
        """Wait until the data owners have ended, if the server sent a stop."""
        progress = self._records[server].read()
        told = progress is not None and progress.stopping
        patience = _FAREWELL + _FAREWELL_DELAYS * self._sandbox.storage.delay
        deadline = time.monotonic() + (patience if told else 0.0)
        while any(process.runs for process in owners) and time.monotonic() < deadline and not interruption.requested:
            self._wait()

    def logs_to_show(self, problem: Problem | None) -> list[Path]:
        """Return the logs that explain the failure, the log of the cause first."""
        culprits = list(problem.culprits) if problem else []
        if culprits:
            # A failure of the server may have its cause at a data owner.
            culprits += [process for process in self._all[1:] if self._counts(process).failures]
        culprits += [process for process in self._all if process.failed]
        return [self._folders.log(process.seat) for process in dict.fromkeys(culprits)]

    def report(self, problem: Problem | None, usage: Sequence[Usage], *, kept: Path | None) -> Report:
        """Return the result of the run."""
        counts = [self._counts(process) for process in self._all[1:]]
        return Report(
            problem=problem.text if problem else "",
            rows=tuple(self.rows()),
            output=self._folders.output,
            answers=sum(count.answers for count in counts),
            failures=sum(count.failures for count in counts),
            usage=tuple(usage),
            kept=kept,
        )

    def rows(self) -> list[Row]:
        """Return the state of each participant."""
        return [self._row(process, self._progress[process]) for process in self._all]

    def _row(self, process: Process, progress: Progress) -> Row:
        server = process.seat.role == "server"
        count = AnswerCounts() if server else self._counts(process)
        return Row(
            participant=process.seat.email,
            role=process.seat.role,
            state=_state(process, progress),
            exit_code=process.exit_code,
            exit=process.how_it_ended,
            round=max(progress.groups, self._log.round if server else 0),
            total_rounds=self._log.total_rounds if server else 0,
            answers=progress.answers,
            seconds=process.seconds,
            doing=progress.doing if process.runs else "",
            failures=count.failures,
            last_failure=count.last_failure,
            log=self._folders.log(process.seat),
        )


def _state(process: Process, progress: Progress) -> str:
    if process.runs:
        return "running" if progress.begun else "starting"
    if process.stopped:
        return "stopped"
    return "failed" if process.exit_code else "completed"


def _death(process: Process) -> Problem:
    return Problem(f"{process.seat.label} ended with {process.how_it_ended}", (process,))
