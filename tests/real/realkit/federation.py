"""An aggregator and two data owners as processes over a SyftBox network: a test can kill and start each of them."""

import json
import os
import sys
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from child_program import ChildProgram
from leftovers import message_files
from real_syftbox import RealSyftBox
from waiting import eventually

DS, DO1, DO2 = "ds@research.org", "do1@hospital-a.org", "do2@hospital-b.org"
OWNERS = (DO1, DO2)
_TESTS = Path(__file__).parents[2]
_COMMAND = str(Path(sys.executable).parent / "syft-flwr")
_END = 60.0
_PYPROJECT = """
[project]
name = "rounds"
version = "0.0.0"

[tool.flwr.app.components]
serverapp = "realkit.app:server_app"
clientapp = "realkit.app:client_app"

[tool.flwr.app.config]
rounds = {rounds}
size = {size}
seconds = {seconds}
echo = {echo}
timeout = {timeout}

[tool.syft_flwr]
app_name = "rounds"
aggregator = "{aggregator}"
datasites = {datasites}
"""


@dataclass(frozen=True)
class Training:
    """The rounds of one run.

    Attributes:
        rounds: number of rounds, after a small one.
        size: bytes of the model, which changes every round.
        seconds: seconds that the ClientApp works.
        echo: send the model back; otherwise only its digest.
        timeout: seconds after which a reply counts as lost.
    """

    rounds: int
    size: int = 4_000
    seconds: float = 0.0
    echo: bool = True
    timeout: float = 120.0


@dataclass(frozen=True)
class Round:
    """The result of one round, as the ServerApp recorded it."""

    round: int
    seconds: float
    good: int
    failed: list[str]


def incomplete(rounds: Collection[Round]) -> list[Round]:
    """Return the rounds in which not every reply was correct."""
    return [each for each in rounds if each.good != len(OWNERS)]


class Federation:
    """The processes of the participants. They end with the ``with`` block."""

    def __init__(self, network: RealSyftBox, root: Path, training: Training) -> None:
        self.network = network
        self.training = training
        self._root = root
        project = root / "project"
        project.mkdir(parents=True)
        text = _PYPROJECT.format(
            rounds=training.rounds,
            size=training.size,
            seconds=float(training.seconds),
            echo=str(training.echo).lower(),
            timeout=float(training.timeout),
            aggregator=DS,
            datasites=json.dumps(OWNERS),
        )
        (project / "pyproject.toml").write_text(text)
        self.programs = {email: self._program(email, project) for email in (DS, *OWNERS)}

    def __enter__(self) -> Self:
        for program in self.programs.values():
            program.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for program in self.programs.values():
            program.stop()

    def restart(self, email: str) -> None:
        """Kill the process of a participant with SIGKILL, and start it again."""
        self.programs[email].kill()
        self.programs[email].start()

    def wait_for_call(self, email: str, number: int) -> None:
        """Wait until the ClientApp of a data owner works in this round."""
        what = f"a call of the app of {email} in round {number}"
        eventually(lambda: self._calls(email)[number] or self._has_failed(), what, self._patience)
        assert self._calls(email)[number], self.logs()

    def finish(self) -> list[Round]:
        """Wait for the end of all processes, and return the rounds of the plan."""
        self._wait_for_end([self.programs[DS]], "the end of the training", self._patience)
        self._wait_for_end(list(self.programs.values()), "the end of the data owners", _END)
        codes = {email: program.exit_code for email, program in self.programs.items()}
        assert set(codes.values()) == {0}, f"{codes}\n{self.logs()}"
        # A resumed run records its finished rounds again.
        rounds = {line["round"]: Round(**line) for line in self._records(DS)}
        return [rounds[number] for number in sorted(rounds)]

    def calls(self) -> Counter[tuple[str, int]]:
        """Return the number of calls of the ClientApp, by data owner and round."""
        return Counter({(email, number): count for email in OWNERS for number, count in self._calls(email).items()})

    def message_files(self) -> list[str]:
        """Return the files of messages that are in the folders of any participant, copies of conflicts included."""
        return [name for email in self.programs for name in message_files(self.network.datasites(email))]

    def logs(self) -> str:
        """Return the ends of the logs of the participants. Those of SyftBox are long, and stay in their folder."""
        tails = "\n".join(f"--- {email}\n{program.tail()}" for email, program in self.programs.items())
        return f"{tails}\n--- the logs of SyftBox are in {self.network.root}"

    @property
    def _patience(self) -> float:
        """Return the most seconds that the whole run can take, also if each round loses a reply."""
        return _END + (self.training.rounds + 1) * (self.training.timeout + self.training.seconds + 1.0)

    def _wait_for_end(self, programs: Sequence[ChildProgram], what: str, timeout: float) -> None:
        """Wait until these programs have ended, or one participant has failed."""
        eventually(lambda: self._has_failed() or not any(each.is_running for each in programs), what, timeout)

    def _has_failed(self) -> bool:
        """Return whether a process ended with an error. The others could then wait without an end."""
        return any(program.exit_code for program in self.programs.values() if not program.is_running)

    def _calls(self, email: str) -> Counter[int]:
        return Counter(line["round"] for line in self._records(email))

    def _records(self, email: str) -> list[dict[str, Any]]:
        path = self._records_path(email)
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def _records_path(self, email: str) -> Path:
        return self._root / f"{email}.jsonl"

    def _program(self, email: str, project: Path) -> ChildProgram:
        environment = {
            **os.environ,
            **self.network.environment(email),
            "RECORDS": str(self._records_path(email)),
            "PYTHONPATH": os.pathsep.join([str(_TESTS / "real"), str(_TESTS / "kits")]),
        }
        command = [_COMMAND, "server" if email == DS else "client", str(project)]
        return ChildProgram(command, project, self._root / f"{email}.log", environment)
