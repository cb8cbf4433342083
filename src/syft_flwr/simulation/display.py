"""Prints the progress of a run, as a live table in a terminal and as lines elsewhere, and a summary at the end."""

import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from syft_flwr.console import cell, print_text
from syft_flwr.runs.outcome import shown_losses
from syft_flwr.simulation.first_cause import FirstCause, without_colours
from syft_flwr.simulation.report import Report, Row
from syft_flwr.text import role_word

if TYPE_CHECKING:
    from rich.console import Console
    from rich.live import Live
    from rich.table import Table

#: Width in characters if the output is not a terminal.
_WIDTH_OF_A_FILE = 160
#: Least seconds between two lines about one participant in the same state: a round may take milliseconds.
_LINE_INTERVAL = 1.0
_TAIL_BYTES = 16 << 10
_TAIL_LINES = 30
_STYLES = {"running": "cyan", "completed": "green", "failed": "red", "stopped": "yellow"}


class Display:
    """Prints on standard output. Text of other programs is never interpreted as markup."""

    def __init__(self) -> None:
        from rich.console import Console

        # A notebook reports that it is a terminal, but cannot move the cursor up.
        notebook = Console().is_jupyter
        self._console = Console(force_jupyter=False, force_terminal=False if notebook else None)
        if not self._console.is_terminal:
            self._console.width = max(self._console.width, _WIDTH_OF_A_FILE)
        self._live: Live | None = None
        #: The last line of each participant: its text, its state, and the time when the next line may follow.
        self._shown: dict[tuple[str, str], tuple[str, str, float]] = {}
        self._started = time.monotonic()

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            from rich.live import Live

            self._live = Live(console=self._console, auto_refresh=False, transient=True)
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._end_table()

    def _end_table(self) -> None:
        if self._live:
            self._live.stop()
            self._live = None

    def show(self, rows: Sequence[Row]) -> None:
        """Show the current state of all participants."""
        if self._live:
            self._live.update(_table(self._console, rows), refresh=True)
            return
        for row in rows:
            self._show_line(row)

    def _show_line(self, row: Row) -> None:
        now = time.monotonic()
        shown, state, due = self._shown.get((row.participant, row.role), ("", "", 0.0))
        line = _headline(row)
        if line != shown and (row.state != state or now >= due):
            self._shown[row.participant, row.role] = (line, row.state, now + _LINE_INTERVAL)
            self._print(f"{_duration(now - self._started):>7}  {row.participant} ({role_word(row.role)}): {line}")

    def finish(self, report: Report, logs: Sequence[Path]) -> None:
        """Print the last lines of ``logs``, then the final table and the result."""
        self._end_table()
        first = report.first if report.first and report.first.lines else None
        for log in logs:
            # The traceback of the first cause is at the end of its log, too.
            if not first or log != first.log:
                self._show_tail(log)
        if first:
            self._show_cause(first)
        self._console.print(_table(self._console, report.rows))
        for row in report.rows:
            if row.last_failure:
                self._print(f"{row.participant}: {_failures(row)}")
        if report.usage:
            self._console.print(_usage(self._console, report))
        if report.has_output:
            self._print(f"output: {report.output}")
        else:
            # Stock apps of Flower save into the current folder, which is that of this process.
            self._print(
                f"output: none in {report.output} (OUTPUT_DIR); an app that saves under a relative path wrote to {Path.cwd()}"
            )
        for row in report.rows:
            self._print(f"log of {row.participant} ({role_word(row.role)}): {row.log}")
        self._print(f"records of this run: {report.local.folder if report.has_records else 'not kept'}")
        if report.unkept is None:
            self._print(f"show them with: syft-flwr runs {report.local.id}")
        if report.kept:
            self._print(f"folder of this run, with the keys of all participants: {report.kept}")
        self._print(_verdict(report, _duration(time.monotonic() - self._started)))

    def _show_tail(self, log: Path) -> None:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - _TAIL_BYTES))
            lines = file.read(_TAIL_BYTES).decode(errors="replace").splitlines()[-_TAIL_LINES:]
        self._print(f"--- last lines of {log}")
        for line in lines:
            self._print(without_colours(line))
        self._print("---")

    def _show_cause(self, first: FirstCause) -> None:
        self._print(f"--- the first cause, at {first.participant} ({first.log})")
        for line in first.lines:
            self._print(line)
        self._print("---")

    def _print(self, text: str) -> None:
        print_text(self._console, text)


def _table(console: "Console", rows: Sequence[Row]) -> "Table":
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    # Seven short columns, so that the table fits into 80 characters.
    table = Table(box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    for column in ("Participant", "Role", "State", "Exit", "Round", "Replies", "Time"):
        table.add_column(column, overflow="fold")
    for row in rows:
        failed = f" ({row.failures} failed)" if row.failures else ""
        table.add_row(
            cell(console, row.participant),
            cell(console, role_word(row.role)),
            cell(console, row.doing or row.state, style=_STYLES.get(row.state, "")),
            cell(console, row.exit),
            cell(console, _round(row)),
            cell(console, f"{row.answers}{failed}"),
            cell(console, _duration(row.seconds)),
        )
    return table


def _usage(console: "Console", report: Report) -> "Table":
    """Return a table of the use of Google Drive by each participant, in total and per round."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    rounds = max([1, *(int(row.round) for row in report.rows if row.round.isdecimal())])
    table = Table(
        box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0), title="Use of Google Drive, counted by its emulator"
    )
    for column in ("Participant", "Calls", "Units", "Up", "Down", "per round:", "Calls", "Units", "Up", "Down"):
        table.add_column(column, overflow="fold")
    for used in report.usage:
        counts, sizes = (used.calls, used.units), (used.bytes_up, used.bytes_down)
        table.add_row(
            cell(console, used.email),
            *(f"{count:,}" for count in counts),
            *map(_bytes, sizes),
            "",
            *(f"{count / rounds:,.0f}" for count in counts),
            *(_bytes(size / rounds) for size in sizes),
        )
    return table


def _bytes(size: float) -> str:
    return next(
        f"{size / unit:.1f} {name}"
        for unit, name in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB"))
        if size >= unit or unit == 1e3
    )


def _headline(row: Row) -> str:
    parts = [row.state]
    if row.role == "server" and row.round:
        parts.append(f"round {_round(row)}")
    if row.failures:
        parts.append(_failures(row))
    return ", ".join(parts)


def _round(row: Row) -> str:
    return f"{row.round}/{row.total_rounds}" if row.round and row.total_rounds else row.round


def _failures(row: Row) -> str:
    return f"{row.failures} failed" + (f", the last with {row.last_failure}" if row.last_failure else "")


def _verdict(report: Report, took: str) -> str:
    if report.problem:
        verb = "was stopped" if report.was_stopped else "failed"
        if report.was_completed:
            verb = "was completed, but counts as a failure,"
        return f"The run {verb} after {took}: {report.problem}"
    if report.losses:
        return f"The run was completed in {took}, with losses: {shown_losses(report.losses)}"
    return f"The run was completed in {took}."


def _duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.1f}s"
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h {minutes}m {seconds}s" if hours else f"{minutes}m {seconds}s"
