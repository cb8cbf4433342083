"""A process that keeps a database of a participant locked is found, without a change of the database."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from examined import AGGREGATOR, Examined, only_problem

from syft_flwr import lock_table
from syft_flwr._store.futures import Futures
from syft_flwr._store.lasting_locks import lasting_writers
from syft_flwr.doctor import home_checks

_BEGIN = "c.execute('BEGIN IMMEDIATE')"
_ALONE = "c.execute('PRAGMA locking_mode = EXCLUSIVE'); c.execute('BEGIN IMMEDIATE')"
_READ = "c.execute('BEGIN'); c.execute('SELECT * FROM sqlite_schema').fetchone()"


@contextmanager
def process_with(path: Path, statements: str) -> Iterator[int]:
    """Start a process that opens the database, executes statements and waits; yield its number."""
    text = f"import sqlite3\nc = sqlite3.connect({str(path)!r}, isolation_level=None)\n{statements}\nprint('ready', flush=True)\ninput()"
    command = [sys.executable, "-S", "-c", text]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin
        assert process.stdout
        try:
            assert process.stdout.readline() == "ready\n"
            yield process.pid
        finally:
            process.stdin.close()


@pytest.fixture
def federation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Examined:
    monkeypatch.setattr(home_checks, "_TRANSACTION", 0.3)
    federation = Examined(tmp_path)
    federation.start(AGGREGATOR)
    return federation


@pytest.fixture
def futures(federation: Examined) -> Iterator[Path]:
    path = federation.home() / "apps" / "trial" / "futures.db"
    database = Futures(path)
    yield path
    database.close()


@pytest.mark.parametrize(("name", "statements"), [("futures.db", _BEGIN), ("peers.db", _BEGIN), ("peers.db", _ALONE)])
def test_database_that_a_process_keeps_locked_is_a_problem(
    name: str, statements: str, federation: Examined, futures: Path
) -> None:
    path = futures if name == "futures.db" else federation.home() / name
    with process_with(path, statements) as process:
        found = only_problem(federation.check("databases"))
        assert f"{path} is locked: process {process} (python" in found.text
        assert found.fix.endswith(f"ps -fp {process}")
    assert [each.state for each in federation.check("databases")] == ["ok"]


def test_reader_of_a_database_keeps_nothing_locked(federation: Examined, futures: Path) -> None:
    with process_with(futures, _READ):
        assert lasting_writers([futures], 5.0) == {}


def test_short_transactions_are_no_lasting_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.db-shm").touch()
    status = (tmp_path / "a.db-shm").stat()
    device = f"{status.st_dev >> 8 & 0xFFF:02x}:{status.st_dev & 0xFF:02x}:{status.st_ino}"
    lines = iter([f"1: POSIX ADVISORY WRITE {number} {device} 120 120\n" for number in (7, 7, 8, 8)])

    class Table:
        def read_text(self, **_: str) -> str:
            return next(lines, "")

    monkeypatch.setattr(lock_table, "TABLE", Table())
    assert lasting_writers([tmp_path / "a.db"], 5.0) == {}
    assert next(lines, "")


@pytest.mark.parametrize(
    "table", ["", "1: POSIX\n", "1: POSIX ADVISORY WRITE x zz:1 a b\n", "1: -> POSIX ADVISORY WRITE 1 1:1:1 0 0\n"]
)
def test_table_of_another_form_shows_no_lock(table: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock_table, "TABLE", tmp_path / "table")
    (tmp_path / "table").write_text(table)
    assert lasting_writers([tmp_path / "table"], 5.0) == {}
