"""The lines and files of a log: their forms, rotation, rights, and the faults of a disk."""

import json
import os
import shutil
import stat
import threading
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest

from syft_flwr.errors import ConfigError
from syft_flwr.logbook import rotating_file
from syft_flwr.logbook.book import Logbook, book, one_line
from syft_flwr.logbook.line import LogLine, read_lines
from syft_flwr.logbook.log_reader import LogReader
from syft_flwr.logbook.rotating_file import KEPT, RotatingFile
from syft_flwr.logbook.run_files import RunFiles, run_log_path

_TIME = datetime(2026, 11, 28, 9, 30, 0, 123_000, tzinfo=UTC)
_HOSTILE = "\x1b]0;title\x07\x1b[31mred\x1b[0m \u202e\n2026-11-28T09:30:00.123Z ERROR    ours   7 forged"


@pytest.fixture
def own_book(monkeypatch: pytest.MonkeyPatch) -> Logbook:
    """Return the log of this process as a command begins it; the test ends it."""
    for name in ("started", "as_json", "keeps_runs", "level", "runs", "_destinations"):
        monkeypatch.setattr(book, name, getattr(Logbook(), name))
    book.start("INFO", keeps_runs=True)
    return book


@pytest.mark.parametrize("as_json", [False, True])
def test_written_line_is_read_again(as_json: bool) -> None:
    lines = [
        LogLine("run 7 starts\n  more\n\n  {json}", "WARNING", "ours", 7, _TIME),
        LogLine("epoch 1", "INFO", "app", 0, _TIME),
        LogLine("", "ERROR", "flower", (1 << 63) - 1, _TIME),
    ]
    rows = "".join(line.json() if as_json else line.text() for line in lines).splitlines(keepends=True)

    assert list(read_lines(rows)) == lines


def test_row_of_another_program_is_a_line_of_the_app() -> None:
    rows = [
        "# Written by\n",
        "  Traceback\x07\n",
        '{"time": "2026", "level": "INFO"}\n',
        '{"time": ' + "[" * 99_999 + "\n",
        # No time zone has a local time for these.
        "0001-01-01T00:00:00.000Z INFO     app    7 first\n",
        "9999-12-31T23:59:59.999Z INFO     app    7 last\n",
        '{"time": "0001-01-01T00:00:00+14:00", "level": "INFO", "source": "app", "run": "7", "message": ""}\n',
        '{"time": "2026-11-28T09:30:00Z", "level": "INFO", "source": "app", "run": 1e999, "message": ""}\n',
    ]

    read = list(read_lines(rows))

    assert [(line.source, line.time) for line in read] == [("app", None)] * 8
    assert read[1].message == "  Traceback\\x07"


@pytest.mark.parametrize("as_json", [False, True])
def test_hostile_print_is_one_inert_line(own_book: Logbook, tmp_path: Path, as_json: bool) -> None:
    own_book.as_json = as_json
    RunFiles(tmp_path, "datasite", "a").started(7)
    own_book.printed(_HOSTILE, "a")

    path = run_log_path(tmp_path, 7, "datasite")
    (line,) = read_lines(path.read_text().splitlines())
    assert (line.source, line.run) == ("app", 7)
    assert line.message == "red \\u202e 2026-11-28T09:30:00.123Z ERROR    ours   7 forged"
    assert b"\x1b" not in path.read_bytes()


def test_very_long_print_is_cut() -> None:
    assert one_line("x" * 10_000) == f"{'x' * 8_000}… (2,000 more characters)"
    assert len(one_line("\x07" * 1_000_000)) < 9_000


def test_json_line_has_time_level_source_run_and_message() -> None:
    fields = json.loads(LogLine("text", "INFO", "flower", 7, _TIME).json())

    assert fields == {
        "time": "2026-11-28T09:30:00.123Z",
        "level": "INFO",
        "source": "flower",
        "run": "7",
        "message": "text",
    }


def test_line_belongs_to_the_runs_of_its_app(own_book: Logbook, tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    first, second = RunFiles(tmp_path, "datasite", "a"), RunFiles(tmp_path / "b", "datasite", "b")
    own_book.printed("before", "a")
    first.started(1)
    second.started(2)
    own_book.printed("of a", "a")
    own_book.write(LogLine("of all"))
    first.ended(1)
    own_book.printed("after", "a")
    first.started(3)
    own_book.printed("next", "a")

    def messages(folder: Path, run: int) -> list[str]:
        return [line.message for line in read_lines(run_log_path(folder, run, "datasite").read_text().splitlines())]

    assert messages(tmp_path, 0) == ["before"]
    assert messages(tmp_path, 1) == ["before", "of a", "of all", "after"]
    assert messages(tmp_path, 3) == ["next"]
    assert messages(tmp_path / "b", 2) == ["of all"]


def test_full_file_gets_another_name(tmp_path: Path) -> None:
    file = RotatingFile(tmp_path / "log", most=100)
    for number in range(20):
        file.write(f"{number:02}{'x' * 47}\n")
    file.close()

    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["log", *(f"log.{number}" for number in range(1, KEPT + 1))]
    kept = [line[:2] for name in reversed(names) for line in (tmp_path / name).read_text().splitlines()]
    assert kept == [f"{number:02}" for number in range(20 - 2 * (KEPT + 1), 20)]


def test_files_of_a_log_are_private(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        file = RotatingFile(tmp_path / "new" / "log", most=10)
        file.write("one line\n")
        file.write("another line\n")
    finally:
        os.umask(before)
    for path, mode in ((tmp_path / "new", 0o700), (file.path, 0o600), (tmp_path / "new" / "log.1", 0o600)):
        assert stat.S_IMODE(path.stat().st_mode) == mode, path
    file.close()


def test_full_disk_loses_lines_and_is_told_once(
    small_disk: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(rotating_file, "_TRY_AGAIN", 0.0)
    file = RotatingFile(small_disk / "log")
    filler = small_disk / "filler"
    with pytest.raises(OSError, match="No space"):
        filler.write_bytes(b"x" * (1 << 20))
    for number in range(500):
        file.write(f"{number} {'x' * 100}\n")
    filler.unlink()
    file.write("last\n")
    file.close()

    assert (
        capsys.readouterr().err
        == f"the log file {file.path} cannot be written, so lines are missing there: No space left on device\n"
    )
    rows = file.path.read_text().splitlines()
    assert rows[-1] == "last"
    assert any(row.endswith("entries are missing here, because this file could not be written") for row in rows)


@pytest.mark.parametrize("kind", ["folder", "pipe", "missing rights"])
def test_log_file_that_cannot_be_written_is_refused(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "log"
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    else:
        (tmp_path / "no folder").write_text("")
        path = tmp_path / "no folder" / "log"

    with pytest.raises(ConfigError, match="cannot be written") as refused:
        RotatingFile(path, follow=True).require()
    assert "--log-file" in refused.value.hint

    RotatingFile(path).write("the run continues\n")


def test_link_in_the_place_of_a_log_is_not_followed(tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.write_text("mine")
    (tmp_path / "log").symlink_to(target)

    RotatingFile(tmp_path / "log").write("line\n")

    assert target.read_text() == "mine"


def test_reader_finds_all_parts_and_later_rows(tmp_path: Path) -> None:
    file, reader = RotatingFile(tmp_path / "log", most=100), LogReader(tmp_path / "log")
    assert not reader.exists
    assert list(reader.rows()) == []
    written, read = [], []
    for number in range(60):
        row = f"{number:02}{'x' * 40}"
        written.append(row)
        file.write(f"{row}\n")
        # At most two files become full between two reads.
        if number % 4 == 0:
            read += reader.rows()
    file.write("no line break")
    read += reader.end()
    file.close()
    reader.close()

    assert read == [*written, "no line break"]


def test_reader_loses_no_row_while_files_get_other_names(tmp_path: Path) -> None:
    file, reader = RotatingFile(tmp_path / "log", most=400), LogReader(tmp_path / "log")
    rows = [f"{number:04}{'x' * 40}" for number in range(3_000)]
    read: list[str] = []
    at = threading.Semaphore(0)

    def write() -> None:
        for number, row in enumerate(rows):
            if number > 15:
                # The reader is at most as many rows behind as two files have.
                at.acquire(timeout=60)
            file.write(f"{row}\n")

    writer = threading.Thread(target=write)
    writer.start()
    deadline = time.monotonic() + 60
    while len(read) < len(rows) and time.monotonic() < deadline:
        for row in reader.rows():
            read.append(row)
            at.release()
    writer.join()
    file.close()
    reader.close()
    assert read == rows


@pytest.mark.parametrize("loss", ["deleted", "renamed", "replaced", "folder deleted", "folder renamed"])
def test_log_that_another_program_takes_away_is_continued(
    tmp_path: Path, loss: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rotating_file, "_LOOK_EVERY", 0.0)
    folder = tmp_path / "runs"
    file, reader = RotatingFile(folder / "log", most=100), LogReader(folder / "log")
    rows = [f"{number:02}{'x' * 40}" for number in range(8)]
    for row in rows[:5]:
        file.write(f"{row}\n")
    assert list(reader.rows()) == rows[:5]
    for path in folder.iterdir():
        os.utime(path, (1, 1))
    if loss == "folder deleted":
        shutil.rmtree(folder)
    elif loss == "folder renamed":
        folder.rename(tmp_path / "elsewhere")
    elif loss == "renamed":
        file.path.rename(tmp_path / "elsewhere")
    else:
        file.path.unlink()
    if loss == "replaced":
        file.path.touch()
    for row in rows[5:]:
        file.write(f"{row}\n")
    assert list(reader.rows()) == rows[5:], "each new row once, and no earlier one again"
    file.close()
    reader.close()


def test_reader_reads_rows_of_any_length(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"x" * 3_000_000 + b"\n\xff\n")
    reader = LogReader(path, rotates=False)

    rows = list(reader.end())
    reader.close()

    assert "".join(rows) == f"{'x' * 3_000_000}\\xff"
    assert max(map(len, rows)) < 1_200_000
