"""Prints the progress of a run, as a live table in a terminal and as lines elsewhere, and a summary at the end."""

import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from syft_flwr.console import cell, print_text
from syft_flwr.live.notebook import NotebookOutput, is_notebook
from syft_flwr.live.painter import Painter
from syft_flwr.live.sink import choose_sink
from syft_flwr.live.terminal import panel_table
from syft_flwr.runs.outcome import shown_losses
from syft_flwr.runs.panel import Panel, PanelRow, bounded_cell, panel_of, steady_part
from syft_flwr.runs.peer_view import PeerView
from syft_flwr.runs.view import RunView
from syft_flwr.simulation.closing_report import Report, Row
from syft_flwr.simulation.first_cause import FirstCause, without_colours
from syft_flwr.text import counted, duration, role_word, size
from syft_flwr.tracking.places import TITLES, shown_place

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

#: Width in characters if the output is not a terminal.
_WIDTH_OF_A_FILE = 160
_TAIL_BYTES = 16 << 10
_TAIL_LINES = 30
_COLUMNS = ("Participant", "Role", "State", "Exit", "Round", "Replies", "Time")


class Display:
    """Prints on standard output. Text of other programs is never interpreted as markup.

    Make it in the thread of the caller: a notebook shows the table below the cell of that thread.

    Args:
        is_on: show the progress, and not only the result.
    """

    def __init__(self, *, is_on: bool = True) -> None:
        from rich.console import Console

        # A notebook reports that it is a terminal, but cannot move the cursor up.
        notebook = is_notebook()
        self._console = Console(force_jupyter=False, force_terminal=False if notebook else None)
        if not self._console.is_terminal:
            self._console.width = max(self._console.width, _WIDTH_OF_A_FILE)
        sink = choose_sink(self._print, (sys.stdout, sys.stderr)) if is_on else None
        self._panel: Panel | None = None
        #: Whether the last table stays, so that the result needs none.
        self._keeps_table = isinstance(sink, NotebookOutput)
        self._painter = Painter(sink, lambda: self._panel, leaves_last=self._keeps_table) if sink else None
        self._started = time.monotonic()

    def __enter__(self) -> Self:
        if self._painter:
            self._painter.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._end_table()

    def _end_table(self) -> None:
        if self._painter:
            self._painter.close()

    def show(self, rows: Sequence[Row], view: RunView | None) -> None:
        """Show the current state of all participants, and the run as its server sees it. Never waits."""
        self._panel = _panel(rows, view)

    def finish(self, report: Report, logs: Sequence[Path]) -> None:
        """Print the last lines of ``logs``, then the final table and the result. A closed output ends no run."""
        self._panel = replace(self._panel or _panel(report.rows, None), rows=_panel(report.rows, None).rows)
        self._end_table()
        # rich ends the process if the reader of a pipe has gone.
        with suppress(SystemExit):
            self._print_result(report, logs)

    def _print_result(self, report: Report, logs: Sequence[Path]) -> None:
        first = report.first if report.first and report.first.lines else None
        for log in logs:
            # The traceback of the first cause is at the end of its log, too.
            if not first or log != first.log:
                self._show_tail(log)
        if first:
            self._show_cause(first)
        if not self._keeps_table:
            self._console.print(
                panel_table(self._console, replace(_panel(report.rows, None), headline=""), every_row=True)
            )
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
            self._print(f"write a report of them with: syft-flwr report {report.local.id}")
        self._show_trackers_and_warnings(report)
        if report.kept:
            self._print(f"folder of this run, with the keys of all participants: {report.kept}")
        self._print(_verdict(report, duration(time.monotonic() - self._started)))

    def _show_trackers_and_warnings(self, report: Report) -> None:
        for name, place in report.trackers.items():
            self._print(f"{TITLES[name]}: {shown_place(name, place)}")
        if report.warnings:
            number = counted(len(report.warnings), "warning")
            self._print(f"{number} of {report.local.aggregator.email}, the latest: {report.warnings[-1]}")

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


def _panel(rows: Sequence[Row], view: RunView | None) -> Panel:
    """Return the processes as a panel, with the work of the data owners as the server sees it."""
    peers = {peer.email: peer for peer in view.peers} if view and view.is_open else {}
    run = panel_of(view) if view else None
    return Panel(
        headline=run.headline if run else "The participants start",
        mood=run.mood if run else "",
        columns=_COLUMNS,
        rows=tuple(_panel_row(row, view, peers.get(row.participant)) for row in rows),
        narrow=len(_COLUMNS),
        round=run.round if run else "",
        wait=run.wait if run else "",
        warning=run.warning if run else "",
        metrics=run.metrics if run else "",
        notes=run.notes if run else (),
    )


def _panel_row(row: Row, view: RunView | None, peer: PeerView | None) -> PanelRow:
    doing = ""
    if row.state == "running" and row.role != "server" and peer and view:
        since = f" for {duration((view.now - peer.since).total_seconds())}" if peer.since else ""
        doing = f"{peer.doing}{since}"
    elif row.state == "running" and view and view.awaited:
        doing = f"waits for {counted(len(view.awaited), 'data owner')}"
    failed = f" ({row.failures} failed)" if row.failures else ""
    cells = (
        row.participant,
        role_word(row.role),
        doing or row.state,
        row.exit,
        _round(row),
        f"{row.answers}{failed}",
        duration(row.seconds),
    )
    return PanelRow(
        cells=tuple(map(bounded_cell, cells)),
        mood=row.state,
        state=bounded_cell(f"{role_word(row.role)} {row.state}, {_failures(row)}" if row.failures else row.state),
        work=bounded_cell(steady_part(peer.doing)) if peer else "",
    )


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
            *map(size, sizes),
            "",
            *(f"{count / rounds:,.0f}" for count in counts),
            *(size(number // rounds) for number in sizes),
        )
    return table


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
