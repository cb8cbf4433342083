"""The metrics of a run as JSON Lines and CSV: complete, inert, bounded, and harmless for the run when they fail."""

import csv
import json
import math
import os
import signal
import stat
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from waiting import eventually

from syft_flwr.runs.entry import RecordEntry
from syft_flwr.runs.events import Event, Metrics, RequestEnded, RunEnded, RunResumed, RunStarted
from syft_flwr.runs.metric_files import MetricFiles, metric_paths
from syft_flwr.runs.record import Emitted, Role, RunRecord, record_path
from syft_flwr.testing import FakeClock

RUN = (1 << 63) - 1
DO = "do@x.org"
HEADER = ["time", "run", "round", "source", "data_owner", "name", "value"]


class Written:
    """The record of an aggregator and the files beside it, over several processes."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.lines, self.table = metric_paths(folder, RUN)
        self.clock = FakeClock()
        self.records: list[RunRecord] = []
        self.start()

    def start(self, role: Role = "aggregator", run: int = RUN) -> RunRecord:
        self.lost: Counter[str] = Counter()
        self.record = RunRecord(self.folder, run, role, "9f3a01bc", self.lost)
        self.records.append(self.record)
        return self.record

    def close(self) -> None:
        for record in self.records:
            record.close()
        self.records.clear()

    def add(self, *events: Event) -> list[RecordEntry]:
        return self.record.add([Emitted(event, self.clock.now(), self.clock.monotonic()) for event in events])

    def rows(self) -> list[list[str]]:
        with self.table.open(newline="") as file:
            header, *rows = csv.reader(file)
        assert header == HEADER
        return rows

    def fields(self) -> list[dict[str, Any]]:
        found = [json.loads(line) for line in self.lines.read_bytes().splitlines()]
        assert all(list(each) == HEADER for each in found)
        return found

    def values(self) -> list[Any]:
        """Return the values in both files, which are the same."""
        found = [each["value"] for each in self.fields()]
        assert [row[-1] for row in self.rows()] == list(map(str, found))
        return found


@pytest.fixture
def written(tmp_path: Path) -> Iterator[Written]:
    with closing(Written(tmp_path / "runs")) as made:
        yield made


def started() -> RunStarted:
    return RunStarted("aggregator", "app", "ds@x.org")


def resumed() -> RunResumed:
    return RunResumed("aggregator", "app", "ds@x.org", resumed=1)


def of_run(value: Any, name: str = "loss", number: str = "1") -> Metrics:
    return Metrics(number, "train", {name: value})


def of_owner(value: Any, name: str = "loss", owner: str = DO) -> RequestEnded:
    return RequestEnded("m", owner, "train", "answered", "1", metrics={name: value})


def test_both_files_have_a_line_for_each_value(written: Written) -> None:
    time = written.clock.now().isoformat(timespec="milliseconds").replace("+00:00", "Z")

    written.add(started(), of_owner(0.5), Metrics("1", "central", {"loss": 0.25, "ok": True}), RunEnded("completed"))

    assert written.rows() == [
        [time, str(RUN), "1", "train", DO, "loss", "0.5"],
        [time, str(RUN), "1", "central", "", "loss", "0.25"],
        [time, str(RUN), "1", "central", "", "ok", "1"],
    ]
    cells = [list(each.values()) for each in written.fields()]
    assert cells[0] == [time, str(RUN), "1", "train", DO, "loss", 0.5]
    assert [each[-1] for each in cells] == [0.5, 0.25, True]
    assert [stat.S_IMODE(path.stat().st_mode) for path in (written.lines, written.table)] == [0o600, 0o600]


def test_files_are_there_from_the_begin_of_a_run(written: Written) -> None:
    written.add(started())
    assert (written.rows(), written.fields()) == ([], [])


@pytest.mark.parametrize(("role", "run"), [("datasite", RUN), ("aggregator", 0)])
def test_only_the_run_of_an_aggregator_has_files(written: Written, role: Role, run: int) -> None:
    written.start(role, run)
    written.add(started(), of_run(1.0))
    assert not list(written.folder.glob("*metrics*"))


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (1 / 3, str(1 / 3)),
        (-0.5, "-0.5"),
        (-3, "-3"),
        (1e300, "1e+300"),
        (10**300, hex(10**300)[:500]),
        (math.nan, "nan"),
        (-math.inf, "-inf"),
        ([0.5, -1], "[0.5, -1]"),
        ([-math.inf], '["-inf"]'),
        ("text", "text"),
        ("a, b", "a, b"),
        ('a "b"', 'a "b"'),
    ],
)
def test_values_keep_their_form_in_the_table(written: Written, value: Any, shown: str) -> None:
    written.add(started(), of_run(value))
    assert written.rows()[0][-1] == shown


@pytest.mark.parametrize(
    "begin", ["=", "+", "-", "@", "\uff1d", "\uff0b", "\uff0d", "\uff20", " =", "\t=", "\r=", "\n="]
)
def test_texts_are_no_formulas_in_a_spreadsheet(written: Written, begin: str) -> None:
    hostile = f"{begin}cmd|' /C calc'!A0"
    written.add(started(), of_run(hostile, hostile, hostile), of_owner(1.0, owner=f"{begin}a@x.org"))
    written.add(of_run(1.0, f"loss;{hostile};x,{hostile}"))

    for row in written.rows():
        for cell in row[2:]:
            for part in (cell, *cell.split(";"), *cell.split(","), *cell.split("|")):
                assert part.lstrip().isdigit() or part.lstrip()[:1] not in {*"=+-@", *"\uff1d\uff0b\uff0d\uff20"}, cell
    # The other file is for programs, and has the names as the record has them.
    assert written.fields()[0]["name"].lstrip().startswith(begin.strip())


def test_hostile_names_stay_in_their_cell(written: Written) -> None:
    name = 'a"b,c\r\nd\x00\u202e\x1b[31m\ud800'
    written.add(started(), of_run(1.0, name), of_owner(2.0))
    assert [(row[-2], row[-1]) for row in written.rows()] == [
        (r'a"b,c  d\x00\u202e\x1b[31m\ud800', "1.0"),
        ("loss", "2.0"),
    ]
    assert written.table.read_bytes().count(b"\n") == 3


def test_resumed_run_begins_its_files_again(written: Written) -> None:
    written.add(started(), of_run(1.0), of_run(2.0))
    written.start()
    written.add(resumed(), of_run(1.0))
    assert written.values() == [1.0]
    # In the middle of a batch.
    written.add(of_run(3.0), resumed(), of_run(4.0))
    assert written.values() == [4.0]


def test_late_event_after_the_end_is_added(written: Written) -> None:
    written.add(started(), of_run(1.0), RunEnded("completed"))
    written.close()
    written.start()
    written.add(of_run(2.0))
    assert written.values() == [1.0, 2.0]


def test_deleted_file_begins_again_with_its_header(written: Written) -> None:
    written.add(started(), of_run(1.0))
    written.lines.unlink()
    written.table.unlink()
    written.add(of_run(2.0))
    assert written.values() == [2.0]


@pytest.mark.parametrize("torn", [b"2026-01-01,7,1,tr", b'2026,"a', b"x" * (3 << 20)])
def test_torn_last_line_is_removed(written: Written, torn: bytes) -> None:
    written.add(started(), of_run(1.0))
    written.close()
    for path in (written.lines, written.table):
        path.write_bytes(path.read_bytes() + torn[: 1 << 19])
    written.start()
    written.add(of_run(2.0))
    assert written.values() == [1.0, 2.0]


def link(path: Path) -> None:
    path.symlink_to(path.parent / "elsewhere")


@pytest.mark.parametrize("block", [Path.mkdir, link, os.mkfifo])
@pytest.mark.parametrize("number", [0, 1])
def test_file_that_is_blocked_is_one_warning(
    written: Written, block: Callable[[Path], None], number: int, logged: list[str]
) -> None:
    paths = written.lines, written.table
    written.folder.mkdir()
    (written.folder / "elsewhere").write_bytes(b"mine")
    block(paths[number])

    written.add(started(), of_run(1.0))
    written.add(of_run(2.0), RunEnded("completed"))

    (warning,) = logged
    assert warning.startswith(
        f"WARNING the file {paths[number].name} of run {RUN} cannot be written, so a part of it is"
    )
    assert (written.folder / "elsewhere").read_bytes() == b"mine"
    # Neither the other file nor the record is concerned.
    other = written.fields() if number else written.rows()
    assert len(other) == 2
    assert record_path(written.folder, RUN, "aggregator").read_bytes().count(b"\n") == 4
    assert not written.lost


def test_full_disk_leaves_whole_lines(small_disk: Path, logged: list[str], request: pytest.FixtureRequest) -> None:
    written = Written(small_disk / "runs")
    request.addfinalizer(written.close)
    written.add(started(), of_run(1.0))
    ballast = small_disk / "ballast"
    with pytest.raises(OSError, match="No space"):
        ballast.write_bytes(bytes(1 << 20))

    for number in range(200):
        written.add(of_owner(float(number), "x" * 400))
    before = written.rows()
    assert len(before) < 201
    ballast.unlink()
    written.add(of_run(2.0))

    assert [row[-1] for row in written.rows()] == [*(row[-1] for row in before), "2.0"]
    assert written.fields()[-1]["value"] == 2.0
    assert len([line for line in logged if ".metrics." in line]) == 1


def test_too_many_values_of_owners_leave_room_for_the_run(written: Written, tmp_path: Path) -> None:
    complaints: list[tuple[str, str]] = []
    paths = metric_paths(tmp_path / "small", RUN)
    files = MetricFiles(tmp_path / "small", RUN, lambda *told: complaints.append(told), max_size=8_000)
    files.add(written.add(started(), *(of_owner(1.0, f"{number:050}") for number in range(500)), of_run(2.0)))
    files.add(written.add(of_run(3.0)))

    for path in paths:
        lines = path.read_text().splitlines()
        assert 6_500 < path.stat().st_size <= 8_000
        assert ["2.0" in lines[-2], "3.0" in lines[-1]] == [True, True]
    assert complaints == [(path.name, "it has 0 MB, the most of such a file") for path in paths]

    files.add(written.add(*(of_run(1.0, f"{number:050}") for number in range(500))))
    files.close()
    assert all(path.stat().st_size <= 8_000 for path in paths)


def test_killed_writer_leaves_whole_lines_or_one_torn_line(written: Written) -> None:
    script = (
        "import sys, itertools; from collections import Counter; from datetime import datetime, UTC; from pathlib import Path;"
        "from syft_flwr.runs.events import *; from syft_flwr.runs.record import *;"
        "record = RunRecord(Path(sys.argv[1]), int(sys.argv[2]), 'aggregator', 'p', Counter());"
        "add = lambda *events: record.add([Emitted(each, datetime.now(UTC), 1.0) for each in events]);"
        "add(RunStarted('aggregator', 'app', 'ds@x.org'));"
        "[add(*[Metrics('1', 'train', {'x' * 300: n / 7})] * 50) for n in itertools.count()]"
    )
    process = subprocess.Popen([sys.executable, "-c", script, str(written.folder), str(RUN)])
    try:
        eventually(lambda: written.table.exists() and written.table.stat().st_size > 100_000, "some lines")
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    *lines, _ = written.lines.read_bytes().split(b"\n")
    assert all(json.loads(line)["name"] == "x" * 300 for line in lines)
    *table, _ = written.table.read_bytes().split(b"\n")
    assert all(len(row) == len(HEADER) for row in csv.reader(line.decode().strip() for line in table))

    written.add(resumed(), of_run(1.0))
    assert written.values() == [1.0]
