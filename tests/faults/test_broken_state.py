"""Shows the handling of damaged or locked databases, and of a process that was started twice by mistake.

The command line names the file and the remedy, exits with 1 and prints no traceback. Open requests are not lost.
"""

import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from faultkit.federation import AGGREGATOR, APP, OWNERS, Federation, answer_of
from faultkit.machine import Machine
from faultkit.storage import MemoryStorage
from typer.testing import CliRunner
from waiting import PATIENCE, eventually

from syft_flwr._store import database
from syft_flwr.cli import peers_command, start_commands
from syft_flwr.cli.app import app
from syft_flwr.errors import StoreError
from syft_flwr.locks import ProcessLock

OWNER = OWNERS[0]

RUNS, PINS = "the records of unfinished runs in it are lost", "compare all fingerprints again"
#: The command, its participant, a database below the home, and the loss that the error reports.
FILES = [
    ("server", AGGREGATOR, f"apps/{APP}/futures.db", RUNS),
    ("server", AGGREGATOR, "peers.db", PINS),
    ("client", OWNER, f"apps/{APP}/ledger.db", RUNS),
    ("client", OWNER, "peers.db", PINS),
    ("peers", OWNER, "peers.db", PINS),
]
_HOLD = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("PRAGMA journal_mode = WAL")
connection.execute("BEGIN EXCLUSIVE")
print("held", flush=True)
sys.stdin.read()
"""


@contextmanager
def held(path: Path) -> Iterator[None]:
    """Lock a database in another process, with an open transaction."""
    command = [sys.executable, "-c", _HOLD, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin
        assert process.stdout
        assert process.stdout.readline() == b"held\n"
        try:
            yield
        finally:
            process.stdin.close()
            process.wait(PATIENCE)


def damage(path: Path) -> None:
    """Overwrite a database except for its header, as a failing disk can."""
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE numbers (n INTEGER)")
    with path.open("r+b") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(100)
        file.write(b"\xff" * (size - 100))


def arguments_of(command: str, machine: Machine) -> list[str]:
    return ["peers"] if command == "peers" else [command, str(machine.project)]


def home_of(machine: Machine) -> Path:
    return Path(machine.environment["SYFT_FLWR_HOME"]) / machine.email


def ended(command: str, machine: Machine, monkeypatch: pytest.MonkeyPatch) -> tuple[int, str]:
    """Run a command of this machine to its end, and return the exit code and the output."""
    for name, value in machine.environment.items():
        monkeypatch.setenv(name, value)
    for module in (start_commands, peers_command):
        # It would remove the log sink of the fixtures.
        monkeypatch.setattr(module, "start_logging", lambda **_: None)
    result = CliRunner().invoke(app, arguments_of(command, machine))
    assert isinstance(result.exception, SystemExit | None), result.exception
    return result.exit_code, result.output.replace("\n", "")


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    return tmp_path / "SyftBox"


@pytest.fixture
def federation(tmp_path: Path, memory: MemoryStorage) -> Iterator[Federation]:
    with Federation(tmp_path / "homes", memory, [OWNER]) as federation:
        yield federation


@pytest.mark.parametrize("kind", ["foreign", "damaged"])
@pytest.mark.parametrize(("command", "email", "file", "loss"), FILES)
def test_damaged_database_error_names_file_and_remedy(
    tmp_path: Path,
    data_dir: Path,
    monkeypatch: pytest.MonkeyPatch,
    command: str,
    email: str,
    file: str,
    loss: str,
    kind: str,
) -> None:
    machine = Machine(tmp_path, email, data_dir)
    path = home_of(machine) / file
    path.parent.mkdir(parents=True, mode=0o700)
    if kind == "foreign":
        path.write_bytes(b"this is no database" * 100)
    else:
        damage(path)
    content = path.read_bytes()
    code, said = ended(command, machine, monkeypatch)
    assert code == 1
    assert f"{path} cannot be used" in said
    assert "Move the file away and start again; " in said
    assert loss in said
    # The file is unchanged, because a person must decide about it.
    assert path.read_bytes() == content


def test_damaged_database_prints_no_traceback(tmp_path: Path, data_dir: Path) -> None:
    machine = Machine(tmp_path, OWNER, data_dir)
    path = home_of(machine) / "apps" / APP / "ledger.db"
    path.parent.mkdir(parents=True, mode=0o700)
    damage(path)
    try:
        assert machine.start("client", str(machine.project)).wait(PATIENCE) == 1
    finally:
        machine.close()
    said = machine.log.read_text()
    assert f"{path} cannot be used: database disk image is malformed" in said.replace("\n", "")
    assert "Traceback" not in said


@pytest.mark.parametrize(("command", "email", "file", "loss"), FILES)
def test_locked_database_error_names_file_and_remedy(
    tmp_path: Path, data_dir: Path, monkeypatch: pytest.MonkeyPatch, command: str, email: str, file: str, loss: str
) -> None:
    monkeypatch.setattr(database, "_BUSY_SECONDS", 0.05)
    machine = Machine(tmp_path, email, data_dir)
    path = home_of(machine) / file
    path.parent.mkdir(parents=True, mode=0o700)
    with held(path):
        code, said = ended(command, machine, monkeypatch)
    assert code == 1
    assert f"{path} cannot be used: database is locked" in said
    assert "Another process of this participant holds it; stop that one first." in said
    assert loss not in said


@pytest.mark.parametrize(
    ("email", "file"),
    [
        (AGGREGATOR, f"apps/{APP}/futures.db"),
        (AGGREGATOR, "peers.db"),
        (OWNER, f"apps/{APP}/ledger.db"),
        (OWNER, "peers.db"),
    ],
)
def test_database_moved_away_is_created_again(federation: Federation, email: str, file: str) -> None:
    federation.start()
    federation.assert_served()
    federation.stop()
    path = federation.root / email / file
    damage(path)

    def begin() -> None:
        federation[OWNER].start()
        federation.begin_run()
        if not federation[OWNER].is_running:
            federation[OWNER].join()

    with pytest.raises(StoreError, match="cannot be used: database disk image is malformed") as caught:
        begin()
    assert str(path) in str(caught.value)
    federation.close_grid()
    path.rename(path.with_suffix(".damaged"))

    if federation[OWNER].is_running:
        federation.begin_run()
    else:
        begin()
    assert federation.assert_served()[0]["messages"] == 1


def test_second_server_names_the_first_process(tmp_path: Path, data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine(tmp_path, AGGREGATOR, data_dir)
    with ProcessLock(home_of(machine) / "apps" / APP / "server.lock", "a server"):
        code, said = ended("server", machine, monkeypatch)
    assert code == 1
    assert f"already running in process {os.getpid()}" in said
    assert f"Stop process {os.getpid()} first" in said


# A database that becomes locked during a run


def test_locked_ledger_delays_replies_and_loses_none(
    federation: Federation, monkeypatch: pytest.MonkeyPatch, logged: list[str]
) -> None:
    monkeypatch.setattr(database, "_BUSY_SECONDS", 0.05)
    federation.start()
    federation.assert_served()
    with held(federation.root / OWNER / "apps" / APP / "ledger.db"):
        ids = [federation.push()[0] for _ in range(3)]
        for message_id in ids:
            name = federation.request_name(OWNER, message_id)
            line = eventually(lambda name=name: [line for line in logged if name in line], "a line about the request")[
                0
            ]
            assert "is checked again at the next scan" in line
            assert "ledger.db cannot be used: database is locked" in line
        federation[OWNER].spy.wait_for_scans()
        assert federation.grid
        assert federation.grid.pull_messages(ids) == []
    assert sorted(answer_of(reply)["messages"] for reply in federation.pull(ids)) == [2, 3, 4]
    assert len(federation[OWNER].journal.calls) == 4


def test_reply_is_sent_once_after_a_locked_ledger(
    federation: Federation, monkeypatch: pytest.MonkeyPatch, logged: list[str]
) -> None:
    monkeypatch.setattr(database, "_BUSY_SECONDS", 0.05)
    federation.start()
    (running,) = federation.push("answer_at_the_gate")
    federation[OWNER].journal.wait_for_call(running)
    (queued,) = federation.push()
    federation[OWNER].spy.wait_for_scans()
    with held(federation.root / OWNER / "apps" / APP / "ledger.db"):
        federation[OWNER].journal.open_gate()
        eventually(lambda: [line for line in logged if "the reply to" in line and "locked" in line], "a kept reply")
    assert sorted(answer_of(reply)["messages"] for reply in federation.pull([running, queued])) == [1, 2]
    assert federation.assert_served()[0]["messages"] == 3


def test_aggregator_continues_after_a_locked_database(
    federation: Federation, monkeypatch: pytest.MonkeyPatch, memory: MemoryStorage
) -> None:
    monkeypatch.setattr(database, "_BUSY_SECONDS", 0.05)
    federation.start()
    (waiting,) = federation.push("answer_at_the_gate")
    federation[OWNER].journal.wait_for_call(waiting)
    path = federation.root / AGGREGATOR / "apps" / APP / "futures.db"
    with held(path):
        federation[OWNER].journal.open_gate()
        eventually(lambda: memory.read(federation.response_name(OWNER, waiting)), "the answer")
        with pytest.raises(StoreError, match=r"futures\.db cannot be used: database is locked") as caught:
            federation.push()
        assert "stop that one first" in caught.value.hint
    assert answer_of(federation.pull([waiting])[0])["messages"] == 1
    federation.assert_served()
    with closing(sqlite3.connect(path)) as connection:
        states = {row[0] for row in connection.execute("SELECT state FROM futures WHERE type = 'query'")}
    assert states == {"collected"}
