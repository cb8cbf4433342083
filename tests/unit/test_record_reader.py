"""A reader of a record: it follows the growing file, and survives shortened, lost and foreign files."""

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from syft_flwr.runs.entry import MAX_LINE, RecordEntry
from syft_flwr.runs.record_file import RecordFile
from syft_flwr.runs.record_reader import RecordReader, read_entries

NOW = datetime(2030, 1, 1, 12, 30, tzinfo=UTC)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "record.jsonl"


def entry(n: int, event: str = "seen", after: float = 0, **values: Any) -> RecordEntry:
    return RecordEntry(n, NOW + timedelta(seconds=after), float(n), "9f3a01bc", 7, event, values)


def write(path: Path, *entries: RecordEntry) -> None:
    file = RecordFile(path)
    file.append(entries)
    file.close()


def test_missing_record_has_no_entries(path: Path) -> None:
    assert list(read_entries(path)) == []


def test_each_call_gives_the_new_entries_once(path: Path) -> None:
    reader = RecordReader(path)
    assert list(reader.read()) == []
    for n in (1, 2, 3):
        write(path, entry(n))
        assert list(reader.read()) == [entry(n)]
        assert list(reader.read()) == []


def test_line_is_read_when_it_is_complete(path: Path) -> None:
    line = entry(1).encode()
    reader = RecordReader(path)
    for place in range(len(line) - 1):
        with path.open("ab") as file:
            file.write(line[place : place + 1])
        assert list(reader.read()) == []
    with path.open("ab") as file:
        file.write(line[-1:])

    assert list(reader.read()) == [entry(1)]


def test_damaged_lines_are_skipped(path: Path) -> None:
    lines = [b'{"v":1,"n":', entry(1).encode().rstrip(), b"", b"\x00\xff", entry(2).encode().rstrip(), b"torn"]
    path.write_bytes(b"\n".join(lines))

    assert list(read_entries(path)) == [entry(1), entry(2)]


@pytest.mark.parametrize("size", [MAX_LINE + 1, 3 << 20])
def test_too_long_line_is_skipped(path: Path, size: int) -> None:
    path.write_bytes(entry(1).encode() + b'{"v":1,"x":"' + b"x" * size + b'"}\n' + entry(2).encode())

    assert list(read_entries(path)) == [entry(1), entry(2)]


def test_record_of_many_chunks_is_read_whole(path: Path) -> None:
    entries = [entry(n, text="x" * 499) for n in range(1, 5_000)]
    write(path, *entries)

    assert list(read_entries(path)) == entries


def test_shortened_record_repeats_no_entry(path: Path) -> None:
    file = RecordFile(path, 1_000)
    file.append([entry(n, "request-held") for n in range(1, 21)])
    reader = RecordReader(path)
    assert len(list(reader.read())) == 20

    assert file.shorten() > 0
    file.append([entry(21)])
    file.close()

    assert list(reader.read()) == [entry(21)]


def test_new_record_after_a_loss_is_read(path: Path) -> None:
    write(path, entry(1), entry(2))
    reader = RecordReader(path)
    assert len(list(reader.read())) == 2
    path.unlink()
    assert list(reader.read()) == []

    write(path, entry(1, after=60))

    assert list(reader.read()) == [entry(1, after=60)]


def test_record_cut_by_another_program_is_read_again(path: Path) -> None:
    write(path, entry(1), entry(2))
    reader = RecordReader(path)
    list(reader.read())
    with path.open("r+b") as file:
        file.truncate(len(entry(1).encode()))
    assert list(reader.read()) == []
    write(path, entry(3))

    assert list(reader.read()) == [entry(3)]


def test_clock_that_was_set_back_loses_no_entry(path: Path) -> None:
    entries = [entry(1, after=3_600), entry(2, after=0), entry(3, after=1)]
    write(path, *entries)

    assert list(read_entries(path)) == entries


def test_symbolic_link_is_not_followed(path: Path, tmp_path: Path) -> None:
    write(tmp_path / "elsewhere", entry(1))
    path.symlink_to(tmp_path / "elsewhere")

    with pytest.raises(OSError, match="symbolic link"):
        list(read_entries(path))


def test_pipe_in_place_of_a_record_does_not_block(path: Path) -> None:
    os.mkfifo(path)

    with pytest.raises(OSError, match="not a regular file"):
        list(read_entries(path))
