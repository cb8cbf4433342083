"""A live table in a terminal, below the lines that the process prints meanwhile."""

import os
import sys
import threading
from collections import deque
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING, TextIO, TypeGuard

from syft_flwr.console import cell, print_text
from syft_flwr.live.line_stream import LineStream
from syft_flwr.log import console as console_to
from syft_flwr.runs.panel import Panel, PanelRow
from syft_flwr.runs.urgency import left_out, most_urgent
from syft_flwr.text import encodable

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.live import Live
    from rich.table import Table

#: Terminals that are narrower show fewer columns.
_WIDE = 120
#: Lines of the terminal that the table leaves free.
_FREE_LINES = 4
#: Lines that wait for their print; later ones go to the terminal directly.
_MOST_WAITING = 10_000
STYLES = {"running": "cyan", "completed": "green", "failed": "red", "stopped": "yellow", "silent": "yellow"}
STYLES["interrupted"] = STYLES["failed"]
#: Held by the one table of this process.
_in_use = threading.Lock()


def is_terminal(stream: TextIO | None) -> TypeGuard[TextIO]:
    """Return whether a stream is a terminal in which a table can be changed."""
    with suppress(OSError, ValueError, AttributeError):
        return stream is not None and stream.isatty() and os.environ.get("TERM", "") not in ("", "dumb", "unknown")
    return False


def uncopied(stream: TextIO) -> TextIO:
    """Return the stream itself for one that also copies its lines to the log."""
    found: TextIO = getattr(stream, "uncopied", stream)
    return found


class TerminalTable:
    """A table that is painted again and again at the end of the terminal.

    While it lasts, lines of the console and prints of this process wait up to :attr:`interval`, and appear above it. So a
    terminal that blocks stops no other thread. A forked child prints directly.
    """

    interval = 0.25

    def __init__(self, stream: TextIO) -> None:
        self._stream = uncopied(stream)
        self._waiting: deque[tuple[str, bool]] = deque()
        self._process = os.getpid()
        self._taken = ExitStack()
        self._shown: Panel | None = None
        self._console: Console | None = None
        self._live: Live | None = None

    def open(self) -> None:
        """Begin the table, and take the lines and prints of this process."""
        from rich.console import Console
        from rich.live import Live

        if not _in_use.acquire(blocking=False):
            # Two tables cannot share the end of a terminal.
            return
        self._taken.callback(_in_use.release)
        self._console = Console(file=self._stream, force_jupyter=False)
        self._live = Live(
            console=self._console, auto_refresh=False, transient=True, redirect_stdout=False, redirect_stderr=False
        )
        self._live.start()
        # A killed process cannot show the cursor again.
        self._console.show_cursor(True)
        self._taken.enter_context(console_to(self._take_entry))
        for name in ("stdout", "stderr"):
            stream = getattr(sys, name)
            # The log must get the prints, too.
            owner, place = (stream, "uncopied") if uncopied(stream) is not stream else (sys, name)
            if is_terminal(getattr(owner, place)):
                self._taken.enter_context(LineStream(owner, place, self._take_print))

    def _take_entry(self, text: str) -> None:
        if os.getpid() != self._process or len(self._waiting) >= _MOST_WAITING:
            raise ValueError("the table cannot take this line")
        self._waiting.append((text.removesuffix("\n"), False))

    def _take_print(self, line: str) -> bool:
        is_ours = os.getpid() == self._process and len(self._waiting) < _MOST_WAITING
        if is_ours:
            self._waiting.append((line, True))
        return is_ours

    def show(self, panel: Panel) -> None:
        """Print the lines that wait, and paint the table if it has changed."""
        if self._live and self._console and (self._waiting or panel != self._shown):
            self._shown = panel
            self._print_waiting()
            self._live.update(panel_table(self._console, panel), refresh=True)

    def close(self, panel: Panel | None) -> None:
        """Print the lines that wait, and leave the panel behind."""
        live, self._live = self._live, None
        self._taken.close()
        if live and self._console:
            live.stop()
            self._print_waiting()
            if panel:
                self._console.print(panel_table(self._console, panel, every_row=True))

    def abandon(self, *, is_blocked: bool) -> None:
        """Give back the streams. The lines that wait go to the terminal, unless it blocks."""
        self._live = None
        self._taken.close()
        with suppress(OSError, ValueError):
            while self._waiting and not is_blocked:
                self._stream.write(self._waiting.popleft()[0] + "\n")

    def _print_waiting(self) -> None:
        from rich.text import Text

        if not self._console:
            return
        lines = [self._waiting.popleft() for _ in range(len(self._waiting))]
        # One paint for all of them.
        with self._console:
            for line, is_print in lines:
                # An app may print colours. All other control sequences would move the table.
                shown = None
                # Python refuses a colour with thousands of digits.
                with suppress(ValueError):
                    shown = Text.from_ansi(encodable(line, self._console.encoding)) if is_print else None
                if shown is not None and shown.plain.isprintable():
                    self._console.print(shown, soft_wrap=True)
                else:
                    print_text(self._console, line)


def panel_table(console: "Console", panel: Panel, *, every_row: bool = False) -> "RenderableType":
    """Return the lines and the table of a panel, which fit into the console unless ``every_row`` is set."""
    from rich.console import Group

    lines = [
        cell(console, panel.headline, style=f"bold {STYLES.get(panel.mood, '')}".strip()),
        cell(console, panel.wait, style="bold"),
        cell(console, panel.warning, style=STYLES["silent"]),
        *(cell(console, note) for note in panel.notes),
        cell(console, panel.metrics),
    ]
    above = [line for line in lines if line.plain]
    # First by number, because to build and to measure a table of all rows is slow.
    rows = panel.rows if every_row else most_urgent(panel.rows, max(1, console.height))
    table = _table(console, panel, rows)
    if not every_row:
        most = console.height - _FREE_LINES - sum(len(line.wrap(console, console.width)) for line in above)
        while len(rows) > 1 and (taken := len(console.render_lines(table))) > most:
            # A row can need several lines.
            rows = most_urgent(panel.rows, max(1, min(len(rows) - 1, len(rows) * most // taken)))
            table = _table(console, panel, rows)
    if missing := left_out(len(panel.rows) - len(rows), "this terminal"):
        above.append(cell(console, missing))
    return Group(*above, *([table] if rows else []))


def _table(console: "Console", panel: Panel, rows: Sequence[PanelRow]) -> "Table":
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    count = len(panel.columns) if console.width >= _WIDE else panel.narrow
    table = Table(box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    for column in panel.columns[:count]:
        table.add_column(column, overflow="fold")
    for row in rows:
        style = STYLES.get(row.mood, "")
        table.add_row(*(cell(console, text, style=style) for text in row.cells[:count]))
    return table
