"""The report of a run: one row for each participant."""

from dataclasses import dataclass
from pathlib import Path

from syft_flwr.simulation.stand_in import Usage


@dataclass(frozen=True, slots=True)
class Row:
    """One participant, as it stands."""

    participant: str
    role: str
    #: starting, running; then completed, failed, or stopped by us.
    state: str
    #: None while it runs; below 0 it is the signal that ended it.
    exit_code: int | None
    #: The same for people: exit code or name of the signal; empty while it runs.
    exit: str
    #: The last round in which it took part, and how many there will be; 0 if nobody has said.
    round: int
    total_rounds: int
    answers: int
    seconds: float
    doing: str
    #: Answers that were errors or did not come, and why the last one failed, as ``code: text``.
    failures: int
    last_failure: str
    log: Path


@dataclass(frozen=True, slots=True)
class Report:
    """How a run ended."""

    #: What went wrong; empty if it succeeded.
    problem: str
    rows: tuple[Row, ...]
    #: OUTPUT_DIR of the server.
    output: Path
    #: Of what the server asked: how much was answered, and how much failed.
    answers: int
    failures: int
    #: What each account used, if there was a drive between the participants.
    usage: tuple[Usage, ...] = ()
    #: The temporary folder, if it was kept.
    kept: Path | None = None

    @property
    def succeeded(self) -> bool:
        return not self.problem
