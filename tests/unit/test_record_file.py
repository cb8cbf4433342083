"""The file of a record: lines are added over restarts and losses, and a large file is shortened."""

import os
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from waiting import eventually

from syft_flwr.runs.entry import RecordEntry
from syft_flwr.runs.record_file import MAX_SIZE, RecordFile
from syft_flwr.runs.record_reader import read_entries

NOW = datetime(2030, 1, 1, 12, 30, tzinfo=UTC)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "home" / "runs" / f"{7:016x}.aggregator.jsonl"


@pytest.fixture
def file(path: Path) -> Iterator[RecordFile]:
    opened = RecordFile(path)
    yield opened
    opened.close()


def entry(n: int, event: str = "seen", **values: Any) -> RecordEntry:
    return RecordEntry(n, NOW, float(n), "9f3a01bc", 7, event, {"data_owner": "do@y.org", **values})


def numbers(path: Path) -> list[int]:
    return [found.n for found in read_entries(path)]


def test_entries_are_added_in_order(file: RecordFile, path: Path) -> None:
    file.append([entry(1), entry(2)])
    file.append([entry(3)])

    assert list(read_entries(path)) == [entry(1), entry(2), entry(3)]
    assert file.n == 3


def test_record_is_private_to_its_user(path: Path) -> None:
    before = os.umask(0)
    try:
        file = RecordFile(path)
        file.append([entry(1)])
        file.close()
    finally:
        os.umask(before)

    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_numbers_continue_in_the_next_process(path: Path) -> None:
    first = RecordFile(path)
    first.append([entry(1), entry(2)])
    first.close()

    second = RecordFile(path)
    assert second.n == 2
    second.append([entry(3)])
    second.close()

    assert numbers(path) == [1, 2, 3]


@pytest.mark.parametrize("kept", [1, 20, -1])
def test_torn_last_line_spoils_no_later_line(path: Path, kept: int) -> None:
    first = RecordFile(path)
    first.append([entry(1), entry(2)])
    first.close()
    whole = path.read_bytes()
    start = whole.index(b"\n") + 1
    path.write_bytes(whole[: start + kept] if kept > 0 else whole[:kept])

    second = RecordFile(path)
    # A line that lacks only its line break is complete.
    last = 2 if kept == -1 else 1
    assert second.n == last
    second.append([entry(last + 1)])
    second.close()

    assert numbers(path) == [*range(1, last + 2)]


def test_deleted_record_is_created_again(file: RecordFile, path: Path) -> None:
    file.append([entry(1)])
    path.unlink()
    path.parent.rmdir()

    file.append([entry(2)])

    assert numbers(path) == [2]


def test_replaced_record_gets_the_later_entries(file: RecordFile, path: Path) -> None:
    file.append([entry(1), entry(2)])
    other = path.with_suffix(".new")
    other.write_bytes(entry(1).encode())
    other.replace(path)

    file.append([entry(3)])

    assert numbers(path) == [1, 3]
    assert file.n == 3


def test_symbolic_link_is_refused(path: Path, tmp_path: Path) -> None:
    path.parent.mkdir(parents=True)
    target = tmp_path / "elsewhere"
    target.write_bytes(b"")
    path.symlink_to(target)

    with pytest.raises(OSError, match="symbolic link"):
        RecordFile(path)
    assert target.read_bytes() == b""


def test_link_in_place_of_an_open_record_is_refused(file: RecordFile, path: Path, tmp_path: Path) -> None:
    file.append([entry(1)])
    target = tmp_path / "elsewhere"
    target.write_bytes(b"")
    path.unlink()
    path.symlink_to(target)

    for _ in range(2):
        with pytest.raises(OSError, match="symbolic link"):
            file.append([entry(2)])
    assert target.read_bytes() == b""

    path.unlink()
    file.append([entry(3)])
    assert numbers(path) == [3]


def test_full_disk_tears_one_line_at_most(small_disk: Path) -> None:
    path = small_disk / "runs" / "record.jsonl"
    file = RecordFile(path)
    file.append([entry(1)])
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(230 << 10))

    with pytest.raises(OSError, match="No space left"):
        file.append([entry(n, text="x" * 400) for n in range(2, 200)])
    ballast.unlink()
    written = numbers(path)
    file.append([entry(200)])
    file.close()

    assert written == [*range(1, len(written) + 1)]
    assert numbers(path) == [*written, 200]


def test_killed_writer_leaves_whole_lines_or_one_torn_line(path: Path) -> None:
    script = (
        "import sys, itertools; from pathlib import Path; from datetime import datetime, UTC;"
        "from syft_flwr.runs.entry import RecordEntry; from syft_flwr.runs.record_file import RecordFile;"
        "file = RecordFile(Path(sys.argv[1]));"
        "[file.append([RecordEntry(file.n + 1, datetime.now(UTC), 1.0, 'p', 7, 'seen', {'data_owner': 'x' * 300})])"
        " for _ in itertools.count()]"
    )
    for _ in range(2):
        size = path.stat().st_size if path.exists() else 0
        process = subprocess.Popen([sys.executable, "-c", script, str(path)])
        eventually(lambda size=size: path.exists() and path.stat().st_size > size + 10_000, "some lines")
        process.send_signal(signal.SIGKILL)
        process.wait()

    found = numbers(path)
    assert found == [*range(1, len(found) + 1)]


# A record that is too large


def large(path: Path, max_size: int, events: list[str], **values: Any) -> tuple[int, list[RecordEntry]]:
    """Write these events, shorten the record, and return the number of removed entries with the remaining ones."""
    file = RecordFile(path, max_size)
    file.append([entry(n, event, **values) for n, event in enumerate(events, 1)])
    removed = file.shorten()
    assert path.stat().st_size <= max_size
    # Later entries go into the new file.
    file.append([entry(file.n + 1, "run-ended")])
    file.close()
    *found, last = read_entries(path)
    assert (last.n, last.event) == (len(events) + 1, "run-ended")
    assert list(path.parent.iterdir()) == [path]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    return removed, found


def test_small_record_is_not_shortened(path: Path) -> None:
    assert large(path, 1 << 20, ["request-held"] * 3) == (0, [entry(n, "request-held") for n in (1, 2, 3)])


def test_large_record_loses_the_progress_first(path: Path) -> None:
    events = ["run-started", *["request-sent", "request-held", "waiting", "reply-progress", "request-ended"] * 10]

    removed, found = large(path, 7_000, events)

    assert removed == 30
    assert [each.event for each in found] == ["run-started", *["request-sent", "request-ended"] * 10]
    assert found[1] == entry(2, "request-sent")


def test_older_half_then_loses_the_begins_of_requests(path: Path) -> None:
    events = ["run-started", *["request-sent", "request-ended"] * 20]

    removed, found = large(path, 5_700, events)

    kept = [each.event for each in found]
    assert removed == 10
    assert kept == ["run-started", *["request-ended"] * 10, *["request-sent", "request-ended"] * 10]


def test_lasting_events_of_the_older_half_stay(path: Path) -> None:
    events = ["run-started", "round-started", "warning", *["request-ended", "request-refused"] * 20]

    removed, found = large(path, 5_000, events)

    assert [each.event for each in found[:3]] == ["run-started", "round-started", "warning"]
    assert 0 < removed == len(events) - len(found)
    assert [each.n for each in found[3:]] == [*range(removed + 4, len(events) + 1)]


def test_flood_of_lasting_events_is_bounded(path: Path) -> None:
    events = ["run-started", *["warning"] * 100]

    removed, found = large(path, 9_000, events)

    assert found[0].event == "run-started"
    assert 0 < removed == len(events) - len(found)


def test_unknown_events_count_as_removed(path: Path) -> None:
    removed, found = large(path, 4_000, ["of-the-future"] * 40)

    assert removed == 40 - len(found) > 0


def test_shortening_that_fails_leaves_the_record(small_disk: Path) -> None:
    path = small_disk / "record.jsonl"
    file = RecordFile(path, 100_000)
    entries = [entry(n, text="x" * 400) for n in range(1, 300)]
    file.append(entries)

    with pytest.raises(OSError, match="No space left"):
        file.shorten()

    assert list(read_entries(path)) == entries
    assert list(small_disk.iterdir()) == [path]
    file.append([entry(300)])
    file.close()
    assert numbers(path)[-1] == 300


def test_record_of_a_large_run_is_below_30_megabytes() -> None:
    assert MAX_SIZE < 30_000_000
