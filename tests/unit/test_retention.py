"""Old records of an app: those past a year, and the oldest ones beyond the number and the bytes of an app."""

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from syft_flwr.config.values import TRACKERS
from syft_flwr.runs.metric_files import metric_paths
from syft_flwr.runs.record import record_path
from syft_flwr.runs.retention import KEPT, delete_expired, expired_records
from syft_flwr.tracking.places import lock_of

NOW = datetime(2030, 1, 1, 12, 30, tzinfo=UTC)


def write(folder: Path, run: int, age: timedelta, size: int = 0) -> str:
    path = record_path(folder, run, "datasite")
    with path.open("wb") as file:
        # Without bytes on the disk.
        file.truncate(size)
    written = (NOW - age).timestamp()
    os.utime(path, (written, written))
    return path.name


def expired(folder: Path) -> set[str]:
    return {path.name for path, _ in expired_records(folder, NOW)}


def test_oldest_records_beyond_their_number_expire(tmp_path: Path) -> None:
    names = [write(tmp_path, run, timedelta(minutes=run)) for run in range(1, 2_004)]
    assert expired(tmp_path) == set(names[2_000:])


def test_oldest_records_beyond_their_bytes_expire(tmp_path: Path) -> None:
    names = [write(tmp_path, run, timedelta(days=run), 400 << 20) for run in range(1, 5)]
    assert expired(tmp_path) == set(names[2:])


def metrics(folder: Path, run: int, age: timedelta, size: int = 0) -> set[str]:
    paths = metric_paths(folder, run)
    for path in paths:
        with path.open("wb") as file:
            file.truncate(size)
        os.utime(path, ((NOW - age).timestamp(),) * 2)
    return {path.name for path in paths}


def test_metrics_expire_with_their_record(tmp_path: Path) -> None:
    old = write(tmp_path, 1, KEPT + timedelta(minutes=1)), *metrics(tmp_path, 1, KEPT + timedelta(minutes=1))
    metrics(tmp_path, 2, KEPT - timedelta(minutes=1))
    assert expired(tmp_path) == set(old)


@pytest.mark.parametrize("tracker", TRACKERS)
def test_lock_of_a_tracker_expires_with_its_record(tracker: str, tmp_path: Path) -> None:
    for run, age in ((1, KEPT + timedelta(minutes=1)), (2, KEPT - timedelta(minutes=1))):
        lock = lock_of(record_path(tmp_path, run, "aggregator"), tracker)
        lock.touch()
        os.utime(lock, ((NOW - age).timestamp(),) * 2)
    assert expired(tmp_path) == {lock_of(record_path(tmp_path, 1, "aggregator"), tracker).name}


def test_metrics_of_many_bytes_expire_no_record(tmp_path: Path) -> None:
    write(tmp_path, 1, timedelta(days=9), 400 << 20)
    metrics(tmp_path, 2, timedelta(days=1), 400 << 20)
    gone = metrics(tmp_path, 3, timedelta(days=2), 400 << 20)
    assert expired(tmp_path) == gone


def test_metrics_do_not_count_as_records(tmp_path: Path) -> None:
    for run in range(1, 1_002):
        metrics(tmp_path, run, timedelta(minutes=run))
        write(tmp_path, run, timedelta(minutes=run))
    assert expired(tmp_path) == set()


def test_only_records_past_a_year_are_deleted(tmp_path: Path) -> None:
    old = write(tmp_path, 1, KEPT + timedelta(minutes=1))
    write(tmp_path, 2, KEPT - timedelta(minutes=1))
    other = tmp_path / f"{old}.copy"
    other.touch()
    os.utime(other, (0, 0))
    link = record_path(tmp_path, 3, "datasite")
    link.symlink_to(other)
    os.utime(link, (0, 0), follow_symlinks=False)
    kept = {path.name for path in tmp_path.iterdir()} - {old}
    delete_expired(tmp_path, NOW)
    assert {path.name for path in tmp_path.iterdir()} == kept
