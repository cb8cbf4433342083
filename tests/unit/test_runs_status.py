"""The status files of runs: each is always complete, and a damaged one does not affect the others."""

import json
import os
import stat
import threading
from collections.abc import Callable
from dataclasses import fields
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from syft_flwr.errors import StorageError
from syft_flwr.runs.account import RunAccount
from syft_flwr.runs.status import RunStatus, RunStatuses, status_of

NOW = datetime(2030, 1, 1, 12, 30, tzinfo=UTC)


def status(run: int = 7, **changes: Any) -> RunStatus:
    fields: dict[str, Any] = {"app": "app", "role": "aggregator", "state": "running", "started": NOW, "updated": NOW}
    return RunStatus(run, **fields | changes)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "home" / "runs"


@pytest.fixture
def statuses(folder: Path) -> RunStatuses:
    return RunStatuses(folder)


def get(statuses: RunStatuses, run: int) -> RunStatus | None:
    return statuses.get(run, "aggregator")


def path_of(folder: Path, run: int = 7) -> Path:
    """Return the status file of a run."""
    (path,) = folder.glob(f"{run:016x}*")
    return path


def values_of(found: RunStatus) -> dict[str, Any]:
    return {field.name: getattr(found, field.name) for field in fields(found)}


# Write and read


WORDS = st.text(max_size=20)
COUNTS = st.integers(0, 1 << 40)
#: Whole seconds, the precision of the file.
TIMES = st.integers(0, 4_000_000_000).map(lambda seconds: datetime.fromtimestamp(seconds, UTC))


@given(
    written=st.builds(
        RunStatus,
        run=st.integers(1, (1 << 63) - 1),
        app=WORDS,
        role=st.just("aggregator"),
        state=WORDS,
        started=TIMES,
        updated=TIMES,
        cause=WORDS,
        round=WORDS,
        resumed=COUNTS,
        asked=COUNTS,
        answered=COUNTS,
        failed=COUNTS,
    )
)
def test_status_round_trips(tmp_path_factory: pytest.TempPathFactory, written: RunStatus) -> None:
    folder = tmp_path_factory.mktemp("runs")
    RunStatuses(folder).write(written)

    assert get(RunStatuses(folder), written.run) == written
    assert RunStatuses(folder).all() == [written]


def test_status_is_a_copy_of_the_account() -> None:
    counts = {"round": "3", "resumed": 2, "asked": 9, "answered": 5, "failed": 1}
    account = RunAccount(
        state="failed", cause="why", app="app", started=NOW, updated=NOW + timedelta(hours=1), **counts
    )

    expected = status(state="failed", cause="why", updated=NOW + timedelta(hours=1), **counts)
    assert status_of(7, "aggregator", account) == expected


def test_status_without_a_start_begins_with_the_last_event() -> None:
    found = status_of(7, "aggregator", RunAccount(state="running", app="app", updated=NOW))

    assert (found.started, found.updated) == (NOW, NOW)


def test_times_of_other_zones_are_read_as_utc(statuses: RunStatuses) -> None:
    local = NOW.astimezone(timezone(timedelta(hours=5.5)))
    statuses.write(status(started=local, updated=local))

    found = get(statuses, 7)
    assert found is not None
    assert (found.started, found.started.tzinfo, found.updated.tzinfo) == (NOW, UTC, UTC)


def test_run_id_is_stored_as_text(statuses: RunStatuses, folder: Path) -> None:
    run = (1 << 63) - 1
    statuses.write(status(run))

    assert json.loads(path_of(folder, run).read_text())["run"] == str(run)
    found = get(statuses, run)
    assert found is not None
    assert found.run == run


def test_statuses_are_listed_oldest_first(statuses: RunStatuses) -> None:
    for run, minutes in ((3, 10), (1, 30), (2, 20)):
        statuses.write(status(run, started=NOW + timedelta(minutes=minutes)))

    assert [found.run for found in statuses.all()] == [3, 2, 1]


def test_missing_folder_has_no_statuses(statuses: RunStatuses, folder: Path) -> None:
    assert get(statuses, 7) is None
    assert statuses.all() == []
    assert not folder.exists()


def test_status_is_private_to_its_user(statuses: RunStatuses, folder: Path) -> None:
    before = os.umask(0)
    try:
        statuses.write(status())
    finally:
        os.umask(before)

    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert stat.S_IMODE(path_of(folder).stat().st_mode) == 0o600


def test_unknown_field_is_ignored(statuses: RunStatuses, folder: Path) -> None:
    statuses.write(status(cause="why"))
    values = json.loads(path_of(folder).read_text())
    path_of(folder).write_text(json.dumps(values | {"of_the_future": {"a": [1]}}))

    assert statuses.all() == [status(cause="why")]


def test_missing_optional_field_has_its_default(statuses: RunStatuses, folder: Path) -> None:
    statuses.write(status())
    values = json.loads(path_of(folder).read_text())
    optional = ("cause", "round", "resumed", "asked", "answered", "failed")
    path_of(folder).write_text(json.dumps({name: value for name, value in values.items() if name not in optional}))

    assert statuses.all() == [status()]


# Atomic writes


def test_reader_never_sees_a_torn_status(statuses: RunStatuses) -> None:
    states = [status(asked=number, cause="x" * number * 50) for number in range(100)]
    statuses.write(states[0])
    torn: list[RunStatus | None] = []
    written = threading.Event()

    def read() -> None:
        while not written.is_set():
            found = [get(statuses, 7), *statuses.all()]
            torn.extend(one for one in found if one not in states)
            if len(found) != 2:
                torn.append(None)

    reader = threading.Thread(target=read)
    reader.start()
    try:
        for state in states:
            statuses.write(state)
    finally:
        written.set()
        reader.join()
    assert torn == []


def test_concurrent_writes_leave_one_whole_file(statuses: RunStatuses, folder: Path) -> None:
    states = [status(asked=number, cause="x" * number * 500) for number in range(8)]
    threads = [threading.Thread(target=statuses.write, args=(state,)) for state in states]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert get(statuses, 7) in states
    assert list(folder.iterdir()) == [path_of(folder)]


def test_half_written_status_is_ignored(statuses: RunStatuses, folder: Path) -> None:
    statuses.write(status())
    whole = path_of(folder).read_bytes()
    (folder / f".{path_of(folder).name}.0123456789ab.tmp").write_bytes(whole[: len(whole) // 2])

    assert statuses.all() == [status()]


def test_failed_write_keeps_the_old_status(small_disk: Path) -> None:
    statuses = RunStatuses(small_disk)
    statuses.write(status())

    with pytest.raises(StorageError):
        statuses.write(status(cause="x" * 300_000))

    assert statuses.all() == [status()]
    assert [path.name for path in small_disk.iterdir()] == [path_of(small_disk).name]


@pytest.mark.parametrize("place", ["folder", "parent"])
def test_blocked_folder_is_a_storage_error(folder: Path, place: str) -> None:
    blocked = folder if place == "folder" else folder.parent
    blocked.parent.mkdir(exist_ok=True)
    blocked.write_bytes(b"in the way")

    with pytest.raises(StorageError):
        RunStatuses(folder).write(status())
    assert RunStatuses(folder).all() == []
    assert get(RunStatuses(folder), 7) is None


# Files without a valid status


def write_anew(path: Path, content: bytes) -> None:
    path.unlink()
    path.write_bytes(content)


def grow(path: Path) -> None:
    write_anew(path, path.read_bytes() + b" " * (1 << 20))


def become_a_link(path: Path) -> None:
    path.rename(path.parent.parent / "elsewhere.json")
    path.symlink_to(path.parent.parent / "elsewhere.json")


def become_a_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def become_a_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


BROKEN: dict[str, bytes] = {
    "empty": b"",
    "cut": b'{"run": "7", "app": "a',
    "no text": b"\xff\xfe\x00",
    "a list": b"[1]",
    "a text": b'"running"',
    "a number": b"7",
    "nothing": b"null",
    "no fields": b"{}",
    "nested": b"[" * 200_000,
    "nested inside": b'{"run": ' + b"[" * 200_000,
    "digits": b'{"run": ' + b"9" * 10_000 + b"}",
}
DAMAGE: dict[str, Callable[[Path], None]] = {
    **{name: lambda path, content=content: write_anew(path, content) for name, content in BROKEN.items()},  # type: ignore[misc]
    "too large": grow,
    "link": become_a_link,
    "folder": become_a_folder,
    "pipe": become_a_pipe,
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE.keys())
def test_damaged_status_file_is_ignored(statuses: RunStatuses, folder: Path, damage: Callable[[Path], None]) -> None:
    statuses.write(status(7))
    statuses.write(status(8))

    damage(path_of(folder, 7))

    assert get(statuses, 7) is None
    assert statuses.all() == [status(8)]
    assert get(statuses, 8) == status(8)


WRONG: list[tuple[str, Any]] = [
    ("run", None),
    ("run", "seven"),
    ("run", float("inf")),
    ("run", [7]),
    ("app", None),
    ("app", 7),
    ("role", ["aggregator"]),
    ("state", None),
    ("state", {"state": "running"}),
    ("cause", 7),
    ("round", 3),
    ("started", 7),
    ("started", None),
    ("started", "yesterday"),
    ("updated", "0001-01-01T00:00:00+14:00"),
    ("updated", "9999-12-31T23:59:59-14:00"),
    ("resumed", "1"),
    ("asked", [4]),
    ("answered", None),
]


@pytest.mark.parametrize(("name", "value"), WRONG, ids=[f"{name}={value!r:.30}" for name, value in WRONG])
def test_status_with_a_wrong_field_is_ignored(statuses: RunStatuses, folder: Path, name: str, value: Any) -> None:
    statuses.write(status(7))
    statuses.write(status(8))
    values = json.loads(path_of(folder).read_text())

    path_of(folder).write_text(json.dumps(values | {name: value}))

    assert get(statuses, 7) is None
    assert statuses.all() == [status(8)]


@pytest.mark.parametrize("name", ["run", "app", "role", "state", "started", "updated"])
def test_status_without_a_required_field_is_ignored(statuses: RunStatuses, folder: Path, name: str) -> None:
    statuses.write(status(7))
    values = json.loads(path_of(folder).read_text())
    del values[name]

    path_of(folder).write_text(json.dumps(values))

    assert get(statuses, 7) is None
    assert statuses.all() == []


JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=10)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=5), inner, max_size=3)),
    max_leaves=5,
)


@given(changes=st.dictionaries(st.sampled_from([field.name for field in fields(RunStatus)]), JSON, max_size=4))
def test_any_json_gives_a_typed_status_or_none(
    tmp_path_factory: pytest.TempPathFactory, changes: dict[str, Any]
) -> None:
    folder = tmp_path_factory.mktemp("runs")
    statuses = RunStatuses(folder)
    statuses.write(status(7))
    statuses.write(status(8))
    values = json.loads(path_of(folder, 7).read_text())
    path_of(folder, 7).write_text(json.dumps(values | changes))

    found = [one for one in statuses.all() if one != status(8)]

    assert len(statuses.all()) == len(found) + 1
    right = {name: type(value) for name, value in values_of(status()).items()}
    for one in (get(statuses, 7), *found):
        if one is not None:
            assert [name for name, value in values_of(one).items() if not isinstance(value, right[name])] == []
