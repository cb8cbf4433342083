"""Sets up the log of commands: the console, and the files of a server or a client."""

import os
from pathlib import Path


def start_logging(*, keep_runs: bool = False, log_file: Path | None = None) -> None:
    """Log from the level SYFT_FLWR_LOG_LEVEL on. Tracebacks do not show the values of variables.

    Args:
        keep_runs: write a file for each run, too.
        log_file: another file for all lines of this command.

    Raises:
        ConfigError: a setting is wrong, or the file cannot be written.
    """
    from syft_flwr.config.search import DEFAULT, Search
    from syft_flwr.logbook.book import book
    from syft_flwr.logbook.command_log import begin_log
    from syft_flwr.logbook.rotating_file import RotatingFile

    search = Search({}, os.environ)
    level, as_json = search.find("log_level"), search.find("log_json")
    # The variable of loguru keeps its meaning.
    least = os.environ.get("LOGURU_LEVEL", "") if level.source == DEFAULT else ""
    begin_log(level.value, least=least, as_json=as_json.value, keeps_runs=keep_runs)
    if log_file:
        file = RotatingFile(search.absolute(log_file), follow=True)
        file.require()
        book.join(lambda line, _: file.write(book.form(line)))
