"""A table in a notebook: one output below the cell, which changes in place and stays."""

import sys
from typing import Any

from syft_flwr.runs.html import panel_html
from syft_flwr.runs.panel import Panel
from syft_flwr.runs.urgency import most_urgent


def is_notebook() -> bool:
    """Return whether this process is the kernel of a notebook. A terminal of IPython is none."""
    if "IPython" not in sys.modules:
        return False
    from IPython import get_ipython  # type: ignore[attr-defined,unused-ignore]

    shell = get_ipython()
    return shell is not None and getattr(shell, "kernel", None) is not None


#: Rows of the table while it changes, and of the last one. A notebook drops an output that is too large.
_MOST_ROWS, _MOST_AT_END = 50, 500


class NotebookOutput:
    """One output of a cell. Make it in the thread of the cell; all other calls may come from another thread."""

    interval = 1.0

    def __init__(self) -> None:
        from IPython.display import DisplayHandle

        self._shown = "The run starts."
        untyped: Any = DisplayHandle
        self._handle = untyped()
        self._handle.display(_bundle(self._shown, self._shown), raw=True)

    def open(self) -> None:
        """Do nothing: the output exists since the start, in the right cell."""

    def show(self, panel: Panel) -> None:
        """Replace the output, if it would be another one."""
        self._show(panel, _MOST_ROWS)

    def _show(self, panel: Panel, most: int) -> None:
        html = panel_html(panel, most)
        if html != self._shown:
            self._shown = html
            plain = [*panel.lines, *("  ".join(row.cells) for row in most_urgent(panel.rows, most))]
            self._handle.update(_bundle(html, "\n".join(plain)), raw=True)

    def close(self, panel: Panel | None) -> None:
        """Leave the last table behind."""
        if panel:
            self._show(panel, _MOST_AT_END)

    def abandon(self, *, is_blocked: bool) -> None:
        """Change nothing: the last table stays."""


def _bundle(html: str, plain: str) -> dict[str, str]:
    return {"text/html": html, "text/plain": plain}
