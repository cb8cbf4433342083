"""The live table in a terminal, as a person sees it. Neither the terminal nor a peer disturbs the run."""

import contextlib
import io
import os
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import ClassVar

import pytest
from rich.console import Console
from screen import Screen, opened_screen
from waiting import eventually

from syft_flwr.live import painter as painter_module
from syft_flwr.live import terminal
from syft_flwr.live.painter import Painter
from syft_flwr.live.sink import choose_sink
from syft_flwr.live.terminal import TerminalTable, is_terminal, panel_table
from syft_flwr.log import write_console
from syft_flwr.logbook import own_prints
from syft_flwr.logbook.line import LogLine
from syft_flwr.runs.panel import Panel, PanelRow

ROW = PanelRow(("do@x.org", "online, 1s ago", "works on train for 3s", "1 of 2", "0", "1 KB", "2 KB"), "running")
PANEL = Panel(
    "Run 7 of app: running for 3s, round 1 of 2",
    "running",
    ("Participant", "Seen", "Doing", "Replies", "Failed", "Sent", "Received"),
    (ROW,),
    5,
    "round 1 of 2",
    "Waits for do@x.org for 3s; the wait ends in 57s (round_timeout)",
    "train (round 1): loss 0.5",
)
HOSTILE = "\x1b]0;title\x07\x1b[31m\x9b2J\u202e[red]<script>\r\nforged"


@pytest.fixture(autouse=True)
def _terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    for name in ("COLUMNS", "LINES", "NO_COLOR", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)


@contextlib.contextmanager
def shown(screen: Screen, panel: Panel = PANEL) -> Iterator[None]:
    """Show a panel in a terminal to which this process prints, too."""
    streams = sys.stdout, sys.stderr
    sys.stdout = sys.stderr = screen.stream
    try:
        with Painter(TerminalTable(screen.stream), lambda: panel):
            eventually(lambda: sys.stdout is not screen.stream or not is_terminal(screen.stream), "the table")
            yield
        assert sys.stdout is screen.stream
        assert sys.stderr is screen.stream
    finally:
        sys.stdout, sys.stderr = streams


def test_table_stays_whole_below_the_lines() -> None:
    with opened_screen() as screen, shown(screen):
        sys.stdout.write("one\n")
        eventually(lambda: "one" in screen.raw, "the first line")
        write_console("12:00:00 WARNING two\n  and more")
        sys.stderr.write("\x1b[32mthree\x1b[0m\n")
        eventually(lambda: "three" in screen.raw, "the last line")
        sys.stdout.write("begun")
    rows = screen.rows()

    assert rows[:5] == ["one", "12:00:00 WARNING two", "  and more", "three", "begun"]
    assert rows[5:8] == [PANEL.headline, PANEL.wait, PANEL.metrics]
    assert " ".join(rows[-1].split()) == "do@x.org online, 1s ago works on train for 3s 1 of 2 0"
    assert sum("Participant" in row for row in rows) == 1


def test_progress_bar_is_shown_once_with_its_last_text() -> None:
    with opened_screen() as screen, shown(screen):
        for percent in range(100):
            sys.stderr.write(f"\r{percent} % of the data")
            sys.stderr.flush()
        sys.stderr.write("\n")
        eventually(lambda: "99 % of the data" in screen.raw, "the last text")
        assert "98 % of the data" not in screen.raw


def test_names_metrics_and_reasons_of_peers_are_inert() -> None:
    row = replace(ROW, cells=(HOSTILE, *ROW.cells[1:4], HOSTILE * 500, "", ""))
    panel = replace(PANEL, headline=HOSTILE, wait=HOSTILE, metrics=HOSTILE, rows=(row,))
    with opened_screen(120) as screen, shown(screen, panel):
        sys.stdout.write(f"{HOSTILE}\n")
        write_console(HOSTILE)
    raw = screen.raw

    for sequence in ("\x1b]", "\x9b", "\u202e", "\x07", "\x1b[2J"):
        assert sequence not in raw
    assert "[red]<script>" in raw


@pytest.mark.parametrize(
    "line", ["\x1b[" + "1" * 5_000 + "m", "\x1b]8;;http://x.org\x1b\\\u2713\x1b]8;;\x1b\\", "\u2713 \udcff"]
)
@pytest.mark.parametrize("encoding", ["utf-8", "ascii", "latin-1"])
def test_no_print_ends_the_display(line: str, encoding: str) -> None:
    with opened_screen() as screen:
        screen.stream.reconfigure(encoding=encoding)  # type: ignore[attr-defined]
        with shown(screen):
            sys.stdout.write(f"{line}\n")
            sys.stdout.write("after it\n")
            eventually(lambda: "after it" in screen.raw, "the line after it")
            assert sys.stdout is not screen.stream


def test_table_fits_into_a_small_terminal() -> None:
    cells = ("data.manager@a-hospital-with-a-long-name.example.org", "silent, last seen 10m 5s ago", "x" * 80)
    rows = tuple(replace(ROW, cells=(f"{n}{cells[0]}", *cells[1:], "10 of 12", "1: y", "", "")) for n in range(100))
    silent = replace(rows[60], mood="silent", cells=("late@x.org", *rows[60].cells[1:]))
    panel = replace(PANEL, rows=(*rows[:60], silent, *rows[61:]))
    with opened_screen(80, 24) as screen, shown(screen, panel):
        rows_of_screen = eventually(lambda: screen.rows() if "late@x.org" in screen.raw else [], "the table")

    assert len(rows_of_screen) <= 24
    assert max(map(len, rows_of_screen)) <= 80
    assert rows_of_screen[0] == PANEL.headline
    assert "participants without room in this terminal" in "\n".join(rows_of_screen)


def test_cost_of_a_paint_does_not_grow_with_the_participants(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[str] = []
    cell = terminal.cell
    monkeypatch.setattr(
        terminal, "cell", lambda console, text, style="": made.append(text) or cell(console, text, style)
    )
    counts = []
    for number in (100, 10_000):
        rows = tuple(replace(ROW, cells=(f"{n}@x.org", *ROW.cells[1:])) for n in range(number))
        silent = replace(ROW, mood="silent", cells=("late@x.org", *ROW.cells[1:]))
        console = Console(file=io.StringIO(), force_terminal=True, width=120, height=30)
        made.clear()
        console.print(panel_table(console, replace(PANEL, rows=(*rows, silent))))
        assert "late@x.org" in made
        counts.append(len(made))
    assert counts[0] == counts[1] < 1_000


def test_closed_terminal_ends_the_display_alone(logged: list[str]) -> None:
    with opened_screen(reads=False) as screen, shown(screen):
        screen.break_off()
        write_console("line")
        eventually(lambda: sys.stdout is screen.stream, "the end of the display")
    assert any("the display of the run ended, and the run continues: OSError" in line for line in logged)


def test_terminal_that_blocks_delays_no_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(painter_module, "_PATIENCE", 0.1)
    with opened_screen(reads=False) as screen:
        start = time.monotonic()
        with shown(screen):
            for _ in range(200):
                sys.stdout.write("x" * 1_000 + "\n")
                write_console("y" * 1_000)
        assert time.monotonic() - start < 10
        # The thread ends with the block.
        screen.break_off()


@pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")
def test_forked_child_prints_without_the_table() -> None:
    with opened_screen() as screen, shown(screen):
        child = os.fork()
        if not child:
            threading.Timer(20, os._exit, (1,)).start()
            sys.stdout.write("child\n")
            sys.stdout.flush()
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
        eventually(lambda: "child" in screen.raw, "the line of the child")


def test_prints_reach_the_log_and_the_table_does_not() -> None:
    class Book:
        lines: ClassVar[list[LogLine]] = []

        def keep(self, line: LogLine) -> None:
            self.lines.append(line)

    with opened_screen() as screen, pytest.MonkeyPatch.context() as patch:
        patch.setattr(own_prints, "book", Book())
        streams = sys.stdout, sys.stderr
        sys.stdout = sys.stderr = screen.stream
        try:
            with own_prints.copying_prints(), Painter(choose_sink(write_console), lambda: PANEL):
                eventually(lambda: "round 1 of 2" in screen.raw, "the table")
                sys.stdout.write("print of the app\n")
            assert sys.stdout is screen.stream
        finally:
            sys.stdout, sys.stderr = streams
    rows = screen.rows()

    assert rows[:2] == ["print of the app", PANEL.headline]
    assert [line.message for line in Book.lines] == ["print of the app"]


def test_second_table_does_not_share_a_terminal() -> None:
    with opened_screen() as screen, shown(screen), Painter(TerminalTable(screen.stream), lambda: PANEL):
        write_console("line")
        eventually(lambda: "line" in screen.raw, "the line")
    assert sum(row == PANEL.headline for row in screen.rows()) == 1


def test_file_and_dumb_terminal_get_no_table(monkeypatch: pytest.MonkeyPatch) -> None:
    with opened_screen() as screen, open(os.devnull, "w") as file:
        assert is_terminal(screen.stream)
        assert not is_terminal(file)
        monkeypatch.setenv("TERM", "dumb")
        assert not is_terminal(screen.stream)
    assert not is_terminal(None)
