"""The ledger counts the attempts at a request in which the client itself was killed, and no others."""

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from syft_flwr._store import process_mark
from syft_flwr._store.ledger import Attempt, Ledger, ReceivedRow
from syft_flwr._store.process_mark import ProcessMark, boot_id
from syft_flwr._store.states import Received
from syft_flwr.clock import SystemClock

_ID = "a" * 32
_NOW = datetime(2030, 1, 1, tzinfo=UTC)
_KILLED = """
import os, signal, sys
from pathlib import Path
from syft_flwr._store.ledger import Ledger
ledger = Ledger(Path(sys.argv[1]))
assert ledger.start(sys.argv[2])
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "ledger.db"
    with closing(Ledger(path)) as ledger:
        ledger.add(
            ReceivedRow(_ID, 7, "ds@x.org", "train", "1", Received.RECEIVED, "0" * 64, _NOW, _NOW + timedelta(1))
        )
    return path


@contextmanager
def process(path: Path, boot: str = "today") -> Iterator[Ledger]:
    """Open the ledger as a process of its own does, since this start of the machine."""
    with closing(Ledger(path, mark=ProcessMark(boot))) as ledger:
        yield ledger


def test_first_attempt_has_no_deaths(path: Path) -> None:
    with process(path) as ledger:
        assert ledger.start(_ID) == Attempt(1, 0)


def test_each_killed_process_is_a_death(path: Path) -> None:
    for number in range(4):
        with process(path) as ledger:
            assert ledger.start(_ID) == Attempt(number + 1, number)


def test_attempt_that_is_given_back_is_no_death(path: Path) -> None:
    for number in range(4):
        with process(path) as ledger:
            assert ledger.start(_ID) == Attempt(number + 1, 0)
            ledger.give_back(_ID)


def test_deaths_are_kept_over_an_orderly_end(path: Path) -> None:
    with process(path) as ledger:
        ledger.start(_ID)
    with process(path) as ledger:
        ledger.start(_ID)
        ledger.give_back(_ID)
    with process(path) as ledger:
        assert ledger.start(_ID) == Attempt(3, 1)


def test_second_attempt_of_one_process_is_no_death(path: Path) -> None:
    """The first one had a reply that could not be recorded."""
    with process(path) as ledger:
        assert [ledger.start(_ID) for _ in range(3)] == [Attempt(1, 0), Attempt(2, 0), Attempt(3, 0)]


def test_restart_of_the_machine_is_no_death(path: Path) -> None:
    for number in range(4):
        with process(path, boot=f"day {number}") as ledger:
            assert ledger.start(_ID) == Attempt(number + 1, 0)


@pytest.fixture
def no_boot_id(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process_mark, "_BOOT_ID", tmp_path / "no boot id")


@pytest.mark.usefixtures("no_boot_id")
def test_death_counts_on_a_system_without_boot_ids(path: Path) -> None:
    for number in range(3):
        with process(path, boot=boot_id()) as ledger:
            assert ledger.start(_ID) == Attempt(number + 1, number)


@pytest.mark.usefixtures("no_boot_id")
@pytest.mark.parametrize("seconds", [61.0, 3_600.0, -3_600.0], ids=["short", "long", "clock set back"])
def test_restart_without_boot_ids_is_no_death(path: Path, monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    """The machine ran for some seconds, and its monotonic clock began again."""
    monotonic, ran = SystemClock.monotonic, 0.0
    monkeypatch.setattr(SystemClock, "monotonic", lambda clock: monotonic(clock) - ran)
    for number in range(4):
        with process(path, boot=boot_id()) as ledger:
            assert ledger.start(_ID) == Attempt(number + 1, 0)
        ran += seconds


@pytest.mark.usefixtures("no_boot_id")
def test_corrected_time_of_day_is_no_restart(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now, late = SystemClock.now, timedelta()
    monkeypatch.setattr(SystemClock, "now", lambda clock: now(clock) + late)
    for number in range(3):
        with process(path, boot=boot_id()) as ledger:
            assert ledger.start(_ID) == Attempt(number + 1, number)
        late += timedelta(seconds=2)


def test_mark_of_an_earlier_release_is_no_death(path: Path) -> None:
    """It is empty where the system has no boot id."""
    with process(path, boot="") as ledger:
        ledger.start(_ID)
    with process(path, boot=boot_id()) as ledger:
        assert ledger.start(_ID) == Attempt(2, 0)


def test_other_process_cannot_give_an_attempt_back(path: Path) -> None:
    with process(path) as first:
        first.start(_ID)
        with process(path) as second:
            second.give_back(_ID)
            assert second.start(_ID) == Attempt(2, 1)


@pytest.mark.parametrize("end", ["answered", "closed", "unknown"])
def test_ended_request_has_no_attempt(path: Path, end: str) -> None:
    with process(path) as ledger:
        if end == "answered":
            ledger.answer(_ID, response=b"sealed", objects=(), context=None)
        elif end == "closed":
            ledger.close_request(_ID)
        assert ledger.start("b" * 32 if end == "unknown" else _ID) is None


def test_count_survives_kill_9_without_fsync(path: Path) -> None:
    for _ in range(3):
        killed = subprocess.run([sys.executable, "-c", _KILLED, str(path), _ID], check=False)
        assert killed.returncode == -signal.SIGKILL
    with closing(Ledger(path)) as ledger:
        assert ledger.start(_ID) == Attempt(4, 3)


def test_boot_id_is_the_same_in_each_process() -> None:
    program = "from syft_flwr._store.process_mark import boot_id; print(boot_id())"
    other = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    assert other.stdout.strip() == boot_id()
