"""``syft-flwr logs``: print the log of a run, also while it is written."""

import json
import time
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import closing
from itertools import islice
from typing import TYPE_CHECKING, Annotated

import typer

from syft_flwr.cli.arguments import EmailOption, RoleOption, current_project, role_of
from syft_flwr.cli.completion import complete_runs
from syft_flwr.cli.logs import start_logging
from syft_flwr.cli.output import Format, FormatOption, pause, show_line, show_text

if TYPE_CHECKING:
    from syft_flwr.config import Settings
    from syft_flwr.logbook.line import LogLine
    from syft_flwr.logbook.log_reader import LogReader
    from syft_flwr.runs.recorded_run import RecordedRun

#: Seconds between two looks at the file, and at the state of the run.
_LOOK, _ASK = 0.2, 1.0
#: Lines that are printed at once.
_BATCH = 500


def show_log(
    wanted: Annotated[
        str | None,
        typer.Argument(
            metavar="[RUN_ID]",
            help="A run id, or the name of a local run; by default the latest run, as for `syft-flwr status`.",
            autocompletion=complete_runs,
        ),
    ] = None,
    follow: Annotated[
        bool, typer.Option("-f", "--follow", help="Print further lines until the run ends, or until Ctrl-C.")
    ] = False,
    last: Annotated[
        int | None, typer.Option("-n", "--lines", min=0, metavar="NUMBER", help="Begin with this number of last lines.")
    ] = None,
    role: RoleOption = None,
    email: EmailOption = None,
    output: FormatOption = Format.TABLE,
) -> None:
    """Print the log of a run, with the lines of Flower and of the app.

    With --format json, each line is a JSON object.
    """
    from syft_flwr.config import load_settings
    from syft_flwr.runs.watched_run import latest_run

    start_logging()
    settings, side = load_settings(current_project(), email=email), role_of(role)
    if wanted is None:
        wanted, side = latest_run(settings, role=side, email=email)
    run = _run(settings, wanted, side, email)
    with closing(_reader(run)) as reader:
        lines = _lines(reader.rows() if follow else reader.end())
        _show(lines if last is None else deque(lines, maxlen=last), output)
        while follow and run.state == "running":
            _follow(reader, output)
            run = _run(settings, wanted, side, email)
        # The last lines come after the end of the run.
        if follow:
            _follow(reader, output)
            _show(_lines(reader.end()), output)


def _run(settings: "Settings", wanted: str, side: str | None, email: str | None) -> "RecordedRun":
    from syft_flwr.runs.finding import find_run

    return find_run(settings, wanted, role=side, email=email)


def _reader(run: "RecordedRun") -> "LogReader":
    from syft_flwr.errors import ConfigError
    from syft_flwr.logbook.log_reader import LogReader
    from syft_flwr.logbook.run_files import run_log_path

    path = run.paths.log or run_log_path(run.paths.record.parent, run.run_id, run.role)
    # The log of a participant of a local run has one file.
    reader = LogReader(path, rotates=not run.local)
    if not reader.exists:
        raise ConfigError(
            f"run {run.run_id or run.local} has no log at {path}",
            hint="Only `syft-flwr server`, `client` and `run` write one. The lines of a program are on its console.",
        )
    return reader


def _lines(rows: Iterable[str]) -> "Iterator[LogLine]":
    from syft_flwr.logbook.line import read_lines

    return read_lines(rows)


def _follow(reader: "LogReader", output: Format) -> None:
    """Print the lines of the next moments."""
    end = time.monotonic() + _ASK
    while time.monotonic() < end:
        _show(_lines(reader.rows()), output)
        pause(_LOOK)


def _show(lines: "Iterable[LogLine]", output: Format) -> None:
    found = iter(lines)
    while batch := list(islice(found, _BATCH)):
        if output is Format.JSON:
            show_line("\n".join(json.dumps(line.fields()) for line in batch))
        else:
            show_text("\n".join(line.shown() for line in batch))
