"""The database of a participant: durability, migrations and error messages."""

import os
import shutil
import signal
import sqlite3
import stat
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest
from plain_user import as_plain_user

from syft_flwr._store import database
from syft_flwr._store.database import Database
from syft_flwr._store.futures import Futures
from syft_flwr._store.ledger import Ledger
from syft_flwr._store.peers import Peers
from syft_flwr.errors import StoreError

NUMBERS = ("CREATE TABLE numbers (n INTEGER PRIMARY KEY) STRICT",)
PATIENCE = 30.0


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "numbers.db"


@pytest.fixture
def numbers(path: Path) -> Iterator[Database]:
    opened = Database(path, NUMBERS)
    yield opened
    opened.close()


def insert(store: Database, number: int) -> None:
    with store.transaction() as connection:
        connection.execute("INSERT INTO numbers VALUES (?)", (number,))


def all_numbers(store: Database) -> list[int]:
    return [row["n"] for row in store.rows("SELECT n FROM numbers ORDER BY n")]


def descriptors(path: Path) -> list[str]:
    """Return the paths of the database files that this process holds open."""
    found = []
    for entry in Path("/proc/self/fd").iterdir():
        try:
            target = os.readlink(entry)
        except FileNotFoundError:
            continue
        if target.startswith(str(path)):
            found.append(target)
    return found


# Durability


def test_committed_rows_survive_reopening(path: Path) -> None:
    for number in (1, 2):
        with closing(Database(path, NUMBERS)) as store:
            insert(store, number)

    with closing(Database(path, NUMBERS)) as store:
        assert all_numbers(store) == [1, 2]


def test_commit_is_on_disk_before_return(numbers: Database) -> None:
    assert numbers.rows("PRAGMA journal_mode")[0][0] == "wal"
    assert numbers.rows("PRAGMA synchronous")[0][0] == 2


def test_files_are_readable_by_owner_only(numbers: Database, path: Path) -> None:
    insert(numbers, 1)

    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    files = list(path.parent.iterdir())
    assert path in files
    assert [stat.S_IMODE(file.stat().st_mode) for file in files] == [0o600] * len(files)


def test_failed_transaction_changes_nothing(numbers: Database) -> None:
    insert(numbers, 1)

    def fail() -> None:
        with numbers.transaction() as connection:
            connection.execute("INSERT INTO numbers VALUES (2)")
            raise RuntimeError("no")

    with pytest.raises(RuntimeError, match="no"):
        fail()

    insert(numbers, 3)
    assert all_numbers(numbers) == [1, 3]


def test_failed_statement_is_a_store_error(numbers: Database, path: Path) -> None:
    insert(numbers, 1)

    def fail() -> None:
        with numbers.transaction() as connection:
            connection.execute("INSERT INTO numbers VALUES (2)")
            connection.execute("INSERT INTO numbers VALUES (1)")

    with pytest.raises(StoreError, match=r"numbers\.db"):
        fail()
    with pytest.raises(StoreError, match="no such table"):
        numbers.rows("SELECT * FROM elsewhere")

    insert(numbers, 3)
    assert all_numbers(numbers) == [1, 3]


def test_threads_can_share_a_database(numbers: Database) -> None:
    def count(start: int) -> None:
        for number in range(start, 200, 8):
            insert(numbers, number)
            assert number in all_numbers(numbers)

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(count, range(8)))

    assert all_numbers(numbers) == list(range(200))


def test_two_connections_share_a_file(numbers: Database, path: Path) -> None:
    with closing(Database(path, NUMBERS)) as other:
        insert(other, 1)
        insert(numbers, 2)
        assert all_numbers(numbers) == all_numbers(other) == [1, 2]


def test_concurrent_first_opens_all_succeed(tmp_path: Path) -> None:
    for attempt in range(10):
        together = threading.Barrier(8)

        def open_it(
            number: int, folder: Path = tmp_path / str(attempt), together: threading.Barrier = together
        ) -> None:
            together.wait()
            with closing(Database(folder / "numbers.db", NUMBERS)) as store:
                insert(store, number)

        with ThreadPoolExecutor(8) as threads:
            list(threads.map(open_it, range(8)))
        with closing(Database(tmp_path / str(attempt) / "numbers.db", NUMBERS)) as store:
            assert all_numbers(store) == list(range(8))


_KILLED = """
import sys
from pathlib import Path
from syft_flwr._store.database import Database

store = Database(Path(sys.argv[1]), ("CREATE TABLE numbers (n INTEGER PRIMARY KEY) STRICT",))
with store.transaction() as connection:
    connection.execute("INSERT INTO numbers VALUES (1)")
with store.transaction() as connection:
    connection.execute("INSERT INTO numbers VALUES (2)")
    print("in the middle", flush=True)
    sys.stdin.read()
"""


def test_killed_process_keeps_only_its_commits(path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", _KILLED, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"in the middle\n"
        process.send_signal(signal.SIGKILL)
        process.wait(PATIENCE)

    with closing(Database(path, NUMBERS)) as store:
        assert all_numbers(store) == [1]
        insert(store, 2)


# Versions


def test_older_file_is_migrated(path: Path) -> None:
    with closing(Database(path, NUMBERS)) as store:
        insert(store, 1)
    newer = (*NUMBERS, "ALTER TABLE numbers ADD COLUMN name TEXT; CREATE INDEX by_name ON numbers (name)")

    with closing(Database(path, newer)) as store:
        assert [tuple(row) for row in store.rows("SELECT n, name FROM numbers")] == [(1, None)]
    with closing(Database(path, newer)) as store:
        assert store.rows("PRAGMA user_version")[0][0] == 2


def test_failed_migration_changes_nothing(path: Path) -> None:
    with closing(Database(path, NUMBERS)) as store:
        insert(store, 1)

    with pytest.raises(StoreError):
        Database(path, (*NUMBERS, "CREATE TABLE more (n); CREATE TABLE numbers (n)"))

    assert descriptors(path) == []
    with closing(Database(path, NUMBERS)) as store:
        assert store.rows("PRAGMA user_version")[0][0] == 1
        assert [row["name"] for row in store.rows("SELECT name FROM sqlite_schema")] == ["numbers"]


Store = Callable[[Path], Futures | Ledger | Peers]
#: Number of migration steps of each store. Each further step makes files that older releases refuse.
SCHEMAS: dict[Store, int] = {Futures: 7, Ledger: 6, Peers: 3}


@pytest.fixture(params=[Futures, Ledger, Peers])
def store(request: pytest.FixtureRequest) -> Store:
    opened: Store = request.param
    return opened


def test_newer_schema_is_refused_and_unchanged(store: Store, path: Path) -> None:
    store(path).close()
    with closing(sqlite3.connect(path)) as connection:
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        assert version == SCHEMAS[store]
        connection.execute("PRAGMA user_version = 99")
        connection.execute("CREATE TABLE of_the_future (n)")

    known = rf"numbers\.db was written by a newer release \(schema 99; .* knows {version}\)"
    with pytest.raises(StoreError, match=known) as caught:
        store(path)

    assert "Upgrade" in caught.value.hint
    assert descriptors(path) == []
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (99,)
        assert connection.execute("SELECT count(*) FROM of_the_future").fetchone() == (0,)


def test_current_schema_can_be_reopened(store: Store, path: Path) -> None:
    for _ in range(3):
        store(path).close()


# Reading only


def test_reader_sees_commits_and_changes_nothing(numbers: Database, path: Path) -> None:
    insert(numbers, 1)

    with closing(Database(path, NUMBERS, read_only=True)) as reader:
        assert all_numbers(reader) == [1]
        insert(numbers, 2)
        assert all_numbers(reader) == [1, 2]
        with pytest.raises(StoreError, match="readonly"):
            insert(reader, 3)


def test_reader_refuses_an_older_file_and_keeps_it(path: Path) -> None:
    Database(path, NUMBERS).close()
    before = path.read_bytes()

    with pytest.raises(StoreError, match="was written by an older release") as caught:
        Database(path, (*NUMBERS, "ALTER TABLE numbers ADD COLUMN name TEXT"), read_only=True)

    assert "server or client once" in caught.value.hint
    assert path.read_bytes() == before
    assert descriptors(path) == []


def test_reader_takes_an_empty_file_for_no_rows(path: Path) -> None:
    path.parent.mkdir()
    path.touch()

    with closing(Database(path, NUMBERS, read_only=True)) as reader:
        assert all_numbers(reader) == []
    assert path.stat().st_size == 0


def test_reader_creates_no_file(path: Path) -> None:
    with pytest.raises(StoreError, match="cannot be used"):
        Database(path, NUMBERS, read_only=True)

    assert not path.parent.exists()


def remount(folder: Path) -> None:
    """Make a mounted folder read-only."""
    mount = shutil.which("mount")
    assert mount is not None
    subprocess.run([mount, "-o", "remount,ro", str(folder)], check=True, capture_output=True)


def test_reader_needs_no_writable_folder(small_disk: Path) -> None:
    path = small_disk / "numbers #1?.db"
    with closing(Database(path, NUMBERS)) as store:
        insert(store, 1)
    remount(small_disk)

    with closing(Database(path, NUMBERS, read_only=True)) as reader:
        assert all_numbers(reader) == [1]


def test_reader_finds_commits_of_a_killed_process(small_disk: Path) -> None:
    path = small_disk / "numbers.db"
    with subprocess.Popen(
        [sys.executable, "-c", _KILLED, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"in the middle\n"
        process.kill()
        process.wait(PATIENCE)
    remount(small_disk)

    with closing(Database(path, NUMBERS, read_only=True)) as reader:
        assert all_numbers(reader) == [1]


def test_reader_leaves_no_file_beside_the_database(path: Path) -> None:
    with closing(Database(path, NUMBERS)) as store:
        insert(store, 1)

    with closing(Database(path, NUMBERS, read_only=True)) as reader:
        assert all_numbers(reader) == [1]
        assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("room", [True, False])
def test_reader_passes_over_an_empty_log(small_disk: Path, room: bool) -> None:
    path = small_disk / "numbers.db"
    with closing(Database(path, NUMBERS)) as store:
        insert(store, 1)
    path.with_name("numbers.db-wal").touch()
    if room:
        remount(small_disk)
    else:
        (small_disk / "filler").write_bytes(bytes(shutil.disk_usage(small_disk).free))

    with closing(Database(path, NUMBERS, read_only=True)) as reader:
        assert all_numbers(reader) == [1]


def test_reader_needs_no_room_on_the_disk(small_disk: Path) -> None:
    path = small_disk / "numbers.db"
    with closing(Database(path, NUMBERS)) as store:
        insert(store, 1)
    (small_disk / "filler").write_bytes(bytes(shutil.disk_usage(small_disk).free))

    with closing(Database(path, NUMBERS, read_only=True)) as reader:
        assert all_numbers(reader) == [1]


def test_reader_shows_no_old_state(small_disk: Path) -> None:
    path, copy = small_disk / "numbers.db", small_disk / "copy.db"
    with closing(Database(path, NUMBERS)) as store:
        insert(store, 1)
        # A copy without the shared memory.
        shutil.copy(path, copy)
        shutil.copy(path.with_name("numbers.db-wal"), copy.with_name("copy.db-wal"))
    remount(small_disk)

    with pytest.raises(StoreError, match="cannot be used"):
        Database(copy, NUMBERS, read_only=True)


# Errors


@pytest.mark.parametrize(
    "content", [b"x" * 5_000, b"SQLite format 3\x00" + b"\xff" * 5_000], ids=["foreign", "damaged"]
)
def test_damaged_file_is_kept_and_named_in_the_error(store: Store, path: Path, content: bytes) -> None:
    path.parent.mkdir()
    path.write_bytes(content)

    with pytest.raises(StoreError, match=r"numbers\.db cannot be used") as caught:
        store(path)

    assert "Move the file away" in caught.value.hint
    assert path.read_bytes() == content
    assert descriptors(path) == []


def test_damage_while_open_is_reported(numbers: Database, path: Path) -> None:
    with numbers.transaction() as connection:
        connection.executemany("INSERT INTO numbers VALUES (?)", [(number,) for number in range(20_000)])
    numbers.rows("PRAGMA wal_checkpoint(TRUNCATE)")
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.seek(4_096)
        file.write(b"\xff" * (size - 4_096))

    with closing(Database(path, NUMBERS)) as other, pytest.raises(StoreError) as caught:
        other.rows("SELECT count(*) FROM numbers WHERE n % 7 = 0")
    assert "Move the file away" in caught.value.hint


def test_locked_file_names_another_process(store: Store, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "_BUSY_SECONDS", 0.05)
    store(path).close()
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")

        with pytest.raises(StoreError, match=r"numbers\.db cannot be used: database is locked") as caught:
            store(path)

    assert "Another process" in caught.value.hint
    store(path).close()


def test_write_timeout_names_another_process(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "_BUSY_SECONDS", 0.05)
    with closing(Database(path, NUMBERS)) as store, closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreError, match="locked") as caught:
            insert(store, 1)
        assert "Another process" in caught.value.hint

        other.execute("ROLLBACK")
        insert(store, 1)
        assert all_numbers(store) == [1]


def test_full_disk_is_reported_and_loses_nothing(small_disk: Path) -> None:
    with closing(Database(small_disk / "numbers.db", NUMBERS)) as store:
        insert(store, -1)
        filler = small_disk / "filler"
        filler.write_bytes(bytes(shutil.disk_usage(small_disk).free - 8_192))

        def fill() -> None:
            for number in range(100_000):
                insert(store, number)

        with pytest.raises(StoreError, match="full") as caught:
            fill()
        assert "Free disk space" in caught.value.hint
        assert "Move" not in caught.value.hint
        kept = all_numbers(store)

        filler.unlink()
        insert(store, 1_000_000)
        assert all_numbers(store) == [*kept, 1_000_000]
        assert kept == list(range(-1, len(kept) - 1))


def make_folder(path: Path) -> None:
    path.mkdir(parents=True)


def make_parent_a_file(path: Path) -> None:
    path.parent.write_bytes(b"a file")


@pytest.mark.parametrize("make", [make_folder, make_parent_a_file])
def test_impossible_path_is_a_store_error(store: Store, path: Path, make: Callable[[Path], None]) -> None:
    make(path)

    with pytest.raises(StoreError, match=r"numbers\.db") as caught:
        store(path)
    assert "move the file away" not in caught.value.hint.lower()
    assert caught.value.hint


def test_use_after_close_is_a_store_error(path: Path) -> None:
    store = Database(path, NUMBERS)
    store.close()
    store.close()

    with pytest.raises(StoreError):
        insert(store, 1)
    with pytest.raises(StoreError):
        all_numbers(store)
    assert descriptors(path) == []


@pytest.mark.parametrize("kind", [Peers, Ledger, Futures])
@pytest.mark.parametrize("end", ["", "-wal"])
def test_unreadable_database_names_the_refused_file(
    tmp_path: Path, kind: type[Peers | Ledger | Futures], end: str
) -> None:
    with closing(kind(tmp_path / "its.db")):
        if end:
            # Its log stays, as after a kill.
            copies = {each: each.read_bytes() for each in tmp_path.iterdir()}
    if end:
        for each, content in copies.items():
            each.write_bytes(content)
    refused = tmp_path / f"its.db{end}"
    refused.chmod(0)

    with pytest.raises(StoreError, match=rf"/{refused.name} cannot be read: Permission denied") as caught:
        as_plain_user(lambda: kind(tmp_path / "its.db", read_only=True))

    assert caught.value.hint == f"Give this user access to it: ls -l {refused}"
