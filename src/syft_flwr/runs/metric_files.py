"""The metrics of one run as files for other programs, beside its record: JSON Lines and CSV, one line for each value.

Only an aggregator has them. They are written while the run lasts, and from their beginning when it resumes, because all its
metrics come again then. Nothing depends on them, so a line is written without fsync.
"""

import csv
import errno
import io
import json
import os
import re
import stat
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from syft_flwr.private_files import make_private_folder, open_private
from syft_flwr.runs.entry import RecordEntry
from syft_flwr.runs.events import RunResumed, RunStarted, moment
from syft_flwr.runs.metric_row import MetricRow, metric_rows

#: Bytes of one file. The last eighth is for the values of the whole run, so that no data owner fills it.
MAX_SIZE = 29_000_000
#: json.dumps would make an encoder for each line.
_encode = json.JSONEncoder(separators=(",", ":")).encode
_COLUMNS = ("time", "run", "round", "source", "data_owner", "name", "value")
#: Bytes at the end of a file that are searched for its last line break.
_TAIL = 1 << 20
#: The begin of a formula, for a spreadsheet. Some of them split a line at other signs than a comma.
_FORMULA = re.compile("(?:^|[,;|\t])\\s*(?=[=+@\t\r\n\uff1d\uff0b\uff0d\uff20-])")


def metric_paths(folder: Path, run: int) -> tuple[Path, Path]:
    """Return the paths of the JSON Lines and of the CSV with the metrics of a run, in the folder of its record."""
    name = f"{run:016x}.aggregator.metrics"
    return folder / f"{name}.jsonl", folder / f"{name}.csv"


class MetricFiles:
    """Writes the metrics of one run. Not thread-safe. A file that cannot be written harms nothing else.

    Args:
        folder: the folder of the record.
        run: the id of the run.
        complain: gets the name of a file and the reason why a part of it is missing, at each loss.
        max_size: bytes of one file.
    """

    def __init__(
        self, folder: Path, run: int, complain: Callable[[str, str], None], *, max_size: int = MAX_SIZE
    ) -> None:
        lines, table = metric_paths(folder, run)
        most = max_size, max_size - max_size // 8
        self._files = (
            _MetricFile(lines, b"", _json_line, *most),
            _MetricFile(table, _csv_line(_COLUMNS), _csv_row, *most),
        )
        self._complain = complain

    def add(self, entries: Iterable[RecordEntry]) -> None:
        """Write the metrics in these entries of the record."""
        rows: list[MetricRow] = []
        for entry in entries:
            if entry.event in (RunStarted.name, RunResumed.name):
                rows.clear()
                self._each(_MetricFile.restart)
            else:
                rows.extend(metric_rows(entry))
        if rows:
            self._each(lambda file: file.append(rows))

    def _each(self, act: Callable[["_MetricFile"], None]) -> None:
        for file in self._files:
            try:
                act(file)
            except OSError as error:
                self._complain(file.path.name, error.strerror or type(error).__name__)

    def close(self) -> None:
        for file in self._files:
            file.close()


class _MetricFile:
    """One of the files. It is opened with its first line, so that late events of a run without metrics make no file."""

    def __init__(
        self, path: Path, header: bytes, encode: Callable[[MetricRow], bytes], max_size: int, max_of_owners: int
    ) -> None:
        self.path = path
        self._header = header
        self._encode = encode
        self._max_size = max_size
        self._max_of_owners = max_of_owners
        self._fd = -1

    def restart(self) -> None:
        """Let the file begin again, without a value; OSError if it cannot be written."""
        self._open_if_gone()
        os.ftruncate(self._fd, 0)
        self._write([self._header])

    def append(self, rows: Sequence[MetricRow]) -> None:
        """Write these values at the end; OSError if one of them is missing after that."""
        self._open_if_gone()
        size = os.fstat(self._fd).st_size
        lines = [] if size else [self._header]
        size += sum(map(len, lines))
        left_out = 0
        for row in rows:
            line = self._encode(row)
            if size + len(line) > (self._max_of_owners if row.data_owner else self._max_size):
                left_out += 1
            else:
                lines.append(line)
                size += len(line)
        self._write(lines)
        if left_out:
            raise OSError(
                errno.EFBIG, f"it has {self._max_size // 1_000_000} MB, the most of such a file", str(self.path)
            )

    def _write(self, lines: Sequence[bytes]) -> None:
        """Write all of these lines, or none."""
        size = os.fstat(self._fd).st_size
        view = memoryview(b"".join(lines))
        try:
            while view:
                view = view[os.write(self._fd, view) :]
        except OSError:
            # A disk that fails completely leaves a torn line, which the next process removes.
            with suppress(OSError):
                os.ftruncate(self._fd, size)
            raise

    def _open_if_gone(self) -> None:
        try:
            if self._fd >= 0 and os.path.samestat(self.path.lstat(), os.fstat(self._fd)):
                return
        except FileNotFoundError:
            pass
        self.close()
        make_private_folder(self.path.parent)
        flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
        fd = open_private(self.path, flags)
        try:
            if not stat.S_ISREG(os.fstat(fd).st_mode):
                raise OSError(errno.ESPIPE, "not a regular file", str(self.path))
            _remove_torn_line(fd)
        except OSError:
            os.close(fd)
            raise
        self._fd = fd

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def _remove_torn_line(fd: int) -> None:
    """Remove a last line without a line break: its writer was killed, or the disk was full."""
    size = os.fstat(fd).st_size
    start = max(0, size - _TAIL)
    tail = os.pread(fd, _TAIL, start)
    if tail and not tail.endswith(b"\n"):
        os.ftruncate(fd, start + tail.rfind(b"\n") + 1)


def _json_line(row: MetricRow) -> bytes:
    cells = zip(_COLUMNS, _cells(row), strict=True)
    return _encode(dict(cells)).encode() + b"\n"


def _csv_row(row: MetricRow) -> bytes:
    time, run, *texts, value = _cells(row)
    return _csv_line([time, run, *map(_inert, texts), _csv_value(value)])


def _cells(row: MetricRow) -> tuple[Any, ...]:
    # The run is a text, because it is larger than the safe integers of JSON.
    return moment(row.time), str(row.run), row.round, row.source, row.data_owner, row.name, row.value


def _csv_line(cells: Sequence[Any]) -> bytes:
    line = io.StringIO()
    csv.writer(line).writerow(cells)
    return line.getvalue().encode("utf-8", "backslashreplace")


def _csv_value(value: Any) -> Any:
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, str) and value != "-inf":
        return _inert(value)
    # A list has numbers only, so it is no formula. Nor is -inf, which is a number for programs.
    return json.dumps(value) if isinstance(value, (list, tuple)) else value


def _inert(text: str) -> str:
    """Return a text that no spreadsheet takes for a formula: with an apostrophe before each begin of one."""
    return _FORMULA.sub(_with_apostrophe, text)


def _with_apostrophe(found: re.Match[str]) -> str:
    return f"{found[0]}'"
