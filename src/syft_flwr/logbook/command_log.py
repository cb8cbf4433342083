"""Begins the log of a process that this package starts: a command, or a participant of a local run."""

from typing import TYPE_CHECKING

from syft_flwr.log import is_ours, set_sink
from syft_flwr.logbook.book import book, known_level
from syft_flwr.logbook.line import LogLine, Source
from syft_flwr.text import log_entry

if TYPE_CHECKING:
    from loguru import Message


def begin_log(
    level: str, *, least: str = "", as_json: bool = False, keeps_runs: bool = False, is_file: bool = False
) -> None:
    """Send all lines of this process through its log from now on.

    Args:
        level: the lowest level of the lines that have one.
        least: the same for the lines of loguru in this process; by default ``level``.
        as_json: write each line as a JSON object.
        keeps_runs: write a file for each run, too.
        is_file: the standard error is a log file.
    """
    book.start(level, as_json=as_json, keeps_runs=keeps_runs, is_file=is_file)
    set_sink(_write, least or level)


def _write(message: "Message") -> None:
    record = message.record
    source: Source = "ours" if is_ours(record) else "app"
    # The lines of other packages may quote a text of a peer, too.
    line = LogLine(log_entry(str(message)), known_level(record["level"].name), source, time=record["time"])
    book.write(line, str(record["extra"].get("app", "")))
