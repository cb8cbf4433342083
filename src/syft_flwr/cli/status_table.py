"""The status of a run for a terminal, as one block that changes in place."""

from rich.box import SIMPLE_HEAD
from rich.console import Console, Group, RenderableType
from rich.table import Table

from syft_flwr.console import cell
from syft_flwr.runs.view import COLUMNS, RunView

#: The columns of a narrow terminal, and its width.
_NARROW, _NARROW_WIDTH = 5, 100


def renderable(console: Console, view: RunView) -> RenderableType:
    """Return the lines and the table of a run. Texts of peers are inert, and none is cut."""
    shown = _NARROW if console.width < _NARROW_WIDTH else len(COLUMNS)
    table = Table(box=SIMPLE_HEAD)
    for column in COLUMNS[:shown]:
        table.add_column(cell(console, column), overflow="fold")
    for peer in view.peers:
        table.add_row(*(cell(console, text) for text in peer.as_row(view.now)[:shown]))
    metrics = view.latest_metrics()
    lines = filter(None, (view.headline(), view.wait(), view.warning(), f"Metrics: {metrics}" if metrics else ""))
    headline, *others = (cell(console, line) for line in lines)
    return Group(headline, *others, table)
