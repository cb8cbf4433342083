"""A whole federation: processes are killed and started again, and the model stays the same."""

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest
from faithful_settings import faithful_settings

from syft_flwr import bootstrap, open_run
from syft_flwr.emulators.syftbox import SyftBoxNetwork

_EXAMPLE = Path(__file__).parents[2] / "examples" / "diabetes"
_DS, _DO1, _DO2 = "ds@research.org", "do1@hospital-a.org", "do2@hospital-b.org"
_DATA = {_DO1: "hospital_a", _DO2: "hospital_b"}
_COMMAND = str(Path(sys.executable).parent / "syft-flwr")
_PATIENCE = 120.0

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(480)]


class Training:
    """The diabetes example with one process per participant, which can be killed and started again."""

    def __init__(self, root: Path, stack: ExitStack) -> None:
        settings = faithful_settings(root)
        self.network = stack.enter_context(SyftBoxNetwork(root / "machines", [_DS, _DO1, _DO2], settings=settings))
        self.root = root
        self.project = root / "project"
        shutil.copytree(_EXAMPLE, self.project, ignore=shutil.ignore_patterns("data", "*.ipynb", "output", ".sandbox"))
        bootstrap(self.project, aggregator=_DS, datasites=[_DO1, _DO2])
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        stack.callback(self.end)

    def start(self, email: str) -> None:
        role = "server" if email == _DS else "client"
        data = _EXAMPLE / "data" / _DATA[email] / "private" if email in _DATA else self.root
        environment = os.environ | {
            "SYFTBOX_CLIENT_CONFIG_PATH": str(self.network[email].config_path),
            "SYFT_FLWR_HOME": str(self.root / "home" / email),
            "SYFT_FLWR_POLL_INTERVAL": "1",
            "DATA_DIR": str(data),
            "OUTPUT_DIR": str(self.root / "output"),
        }
        with (self.root / f"{email}.log").open("ab") as log:
            self.processes[email] = subprocess.Popen(
                [_COMMAND, role, str(self.project)], env=environment, stdout=log, stderr=log
            )

    def kill(self, email: str) -> None:
        self.processes[email].send_signal(signal.SIGKILL)
        self.processes[email].wait()

    def wait_for_answers(self, number: int) -> None:
        """Wait until the network carried this number of replies, including those to the start of the run."""
        seen: set[str] = set()

        def enough() -> bool:
            seen.update(record.name for record in self.network.traffic.records("*.response"))
            return len(seen) >= number

        self._wait(enough, f"{number} answers")

    def finish(self) -> dict[str, np.ndarray]:
        """Wait until all processes end with exit code 0; return the saved model."""
        for email, process in self.processes.items():
            assert process.wait(_PATIENCE) == 0, self.log(email)
        with np.load(self.root / "output" / "diabetes_model.npz", allow_pickle=False) as saved:
            return {name: saved[name] for name in saved.files}

    def metric_rows(self) -> list[dict[str, str]]:
        """Return the rows in the table of metrics, without the time and the run of each."""
        (table,) = (self.root / "home" / _DS).rglob("*.aggregator.metrics.csv")
        with table.open(newline="") as file:
            rows = [{name: row[name] for name in row if name not in ("time", "run")} for row in csv.DictReader(file)]
        return sorted(rows, key=lambda row: list(row.values()))

    def log(self, email: str) -> str:
        return (self.root / f"{email}.log").read_text()

    def end(self) -> None:
        for process in self.processes.values():
            process.kill()
            process.wait()

    def _wait(self, condition: Callable[[], bool], what: str) -> None:
        while not condition():
            assert self.network.traffic.wait_for(lambda record: True, _PATIENCE), what


@pytest.fixture
def start_training(tmp_path: Path) -> Iterator[Callable[[str], Training]]:
    with ExitStack() as stack:

        def start(name: str) -> Training:
            (tmp_path / name).mkdir()
            training = Training(tmp_path / name, stack)
            for email in (_DO1, _DO2, _DS):
                training.start(email)
            return training

        yield start


def test_killed_participants_give_the_same_model(
    start_training: Callable[[str], Training],
) -> None:
    undisturbed = start_training("undisturbed")
    expected = undisturbed.finish()

    training = start_training("killed")
    for number, email in ((4, _DS), (8, _DO1), (12, _DS), (16, _DO2)):
        training.wait_for_answers(number)
        training.kill(email)
        training.start(email)
    model = training.finish()

    assert model.keys() == expected.keys()
    for name, values in expected.items():
        assert np.array_equal(model[name], values), name
    assert "was interrupted" in training.log(_DS)
    # A resumed run repeats its metrics, and the file has each of them once.
    rows = training.metric_rows()
    assert rows == undisturbed.metric_rows()
    assert {row["data_owner"] for row in rows} == {"", _DO1, _DO2}
    shown = subprocess.run(
        [_COMMAND, "runs", "--format", "json"],
        env=os.environ | {"SYFTBOX_EMAIL": _DS, "SYFT_FLWR_HOME": str(training.root / "home" / _DS)},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    ).stdout
    assert shown.count('"completed"') == 1
    assert '"resumed": 2' in shown
    (listed,) = json.loads(shown)["runs"]
    run = open_run(listed["run-id"], email=_DS, home=training.root / "home" / _DS)
    assert run
    assert (run.resumed, run.answered, run.failed) == (2, run.asked, 0)
    assert [each.number for each in run.rounds][:5] == ["1", "2", "3", "4", "5"]
    assert any(request.replayed for request in run.requests)
    mine = open_run(listed["run-id"], email=_DO1, home=training.root / "home" / _DO1)
    assert (mine.role, mine.state, bool(mine)) == ("datasite", "completed", True)
