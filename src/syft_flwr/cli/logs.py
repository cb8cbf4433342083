"""Sets up the log of commands: the console, and the files of a server or a client."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from loguru import Message


def start_logging(*, keep_runs: bool = False, log_file: Path | None = None) -> None:
    """Log from the level SYFT_FLWR_LOG_LEVEL on. Tracebacks do not show the values of variables.

    Args:
        keep_runs: write a file for each run, too.
        log_file: another file for all lines of this command.

    Raises:
        ConfigError: a setting is wrong, or the file cannot be written.
    """
    from loguru import logger

    from syft_flwr.config.search import DEFAULT, Search
    from syft_flwr.logbook.book import book
    from syft_flwr.logbook.rotating_file import RotatingFile

    search = Search({}, os.environ)
    level, as_json = search.find("log_level"), search.find("log_json")
    book.start(level.value, as_json=as_json.value, keeps_runs=keep_runs)
    if log_file:
        file = RotatingFile(search.absolute(log_file), follow=True)
        file.require()
        book.join(lambda line, _: file.write(book.form(line)))
    logger.remove()
    # The variable of loguru keeps its meaning.
    least = level.value if level.source != DEFAULT else os.environ.get("LOGURU_LEVEL", level.value)
    logger.add(_write, level=least, format="{message}", diagnose=False)


def _write(message: "Message") -> None:
    from syft_flwr.log import is_ours
    from syft_flwr.logbook.book import book
    from syft_flwr.logbook.line import LogLine, Source
    from syft_flwr.text import log_entry

    record = message.record
    # The lines of other packages may quote a text of a peer, too.
    source: Source = "ours" if is_ours(record) else "app"
    line = LogLine(log_entry(str(message)), record["level"].name, source, time=record["time"])
    book.write(line, str(record["extra"].get("app", "")))
