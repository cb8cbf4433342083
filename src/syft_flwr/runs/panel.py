"""The content of a display of a run at one moment, the same for a terminal, a notebook and lines.

Each text is one line of a bounded length without invisible characters, because peers choose some of them.
"""

import re
from dataclasses import dataclass

from syft_flwr.runs.peer_view import COLUMNS, SILENT, PeerView
from syft_flwr.runs.view import RunView
from syft_flwr.text import printable, shortened

#: Characters of a cell, and of a line above the table.
_MOST_CELL = 80
_MOST_LINE = 400
#: The columns of a view that a narrow display shows: those without the bytes.
_NARROW = 5


@dataclass(frozen=True, slots=True)
class PanelRow:
    """One participant."""

    cells: tuple[str, ...]
    #: The state that chooses the colour: ``running``, ``silent``, ``completed``, ``failed``, ``stopped``, or empty.
    mood: str = ""
    #: The part that is worth a line as soon as it changes, and the work, which changes often.
    state: str = ""
    work: str = ""


@dataclass(frozen=True, slots=True)
class Panel:
    """The content of a display."""

    headline: str
    mood: str
    columns: tuple[str, ...]
    rows: tuple[PanelRow, ...]
    #: The number of columns in a narrow display.
    narrow: int
    #: The round, the wait, the latest metrics and the latest warning; empty if there are none.
    round: str = ""
    wait: str = ""
    metrics: str = ""
    warning: str = ""
    #: The latest failures, and the next step of the user.
    notes: tuple[str, ...] = ()

    @property
    def lines(self) -> tuple[str, ...]:
        """Return the lines above the table."""
        return tuple(filter(None, (self.headline, self.wait, self.warning, *self.notes, self.metrics)))


def panel_of(view: RunView) -> Panel:
    """Return the content for the view of a run."""
    return Panel(
        headline=bounded_line(view.headline()),
        mood=view.state,
        columns=COLUMNS,
        rows=tuple(_row(peer, view) for peer in view.peers),
        narrow=_NARROW,
        round=bounded_line(view.round_text()),
        wait=bounded_line(view.wait()),
        warning=bounded_line(view.warning()),
        metrics=bounded_line(view.latest_metrics()),
        notes=tuple(map(bounded_line, view.notes())),
    )


def bounded_line(text: str) -> str:
    """Return a text as one visible line of a bounded length."""
    return _visible(text, _MOST_LINE)


def bounded_cell(text: str) -> str:
    """Return a text as one visible line that fits into a cell."""
    return _visible(text, _MOST_CELL)


def steady_part(work: str) -> str:
    """Return the part of a work before its first number: ``train`` for ``train: 3 of 10 parts of the reply arrived``."""
    return re.split(r"[:\d]", work, maxsplit=1)[0].strip()


def _row(peer: PeerView, view: RunView) -> PanelRow:
    failed = f"{peer.failed} failed: {peer.last_failure}" if peer.failed else ""
    return PanelRow(
        cells=tuple(map(bounded_cell, peer.as_row(view.now))),
        mood=SILENT if view.is_open and peer.presence != "online" else "running" if peer.since else "",
        state=bounded_cell(", ".join(filter(None, (peer.presence, failed)))),
        work=bounded_cell(steady_part(peer.doing)),
    )


def _visible(text: str, most: int) -> str:
    # Cut first, because a text can be long. An escape has up to 10 characters in place of one.
    return shortened(" ".join(printable(text[: most + 1]).split()), most)
