"""The place where a display shows its panels, and the choice of one."""

import sys
import threading
from collections.abc import Callable
from typing import Protocol, TextIO

from syft_flwr.live.lines import ProgressLines
from syft_flwr.live.notebook import NotebookOutput, is_notebook
from syft_flwr.live.terminal import TerminalTable, is_terminal
from syft_flwr.runs.panel import Panel


class Sink(Protocol):
    """A place for panels. One thread uses it at a time."""

    #: Seconds between two panels.
    interval: float

    def open(self) -> None:
        """Begin to show panels."""

    def show(self, panel: Panel) -> None:
        """Show a panel in place of the one before."""

    def close(self, panel: Panel | None) -> None:
        """Leave a last panel behind, or none where that is possible."""

    def abandon(self, *, is_blocked: bool) -> None:
        """Give back the streams of the process, after an error. Print nothing if the place blocks."""


def choose_sink(write: Callable[[str], object], streams: tuple[TextIO | None, ...] = ()) -> Sink:
    """Return the place for the display of this process.

    Args:
        write: prints a line where there is no terminal and no notebook.
        streams: the streams of which the first terminal gets the table; by default standard error and standard output.
    """
    # IPython cannot make a new output in another thread.
    if is_notebook() and threading.current_thread() is threading.main_thread():
        return NotebookOutput()
    terminal = next(filter(is_terminal, streams or (sys.stderr, sys.stdout)), None)
    return TerminalTable(terminal) if terminal else ProgressLines(write)
