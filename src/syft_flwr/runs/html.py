"""The HTML of a panel for a notebook. All texts are escaped, because peers choose some of them."""

from html import escape

from syft_flwr.runs.panel import Panel, PanelRow
from syft_flwr.runs.urgency import left_out, most_urgent

#: Colours of the bar that shows a state. No colour is legible as text on each background of a notebook, from white to the
#: dark grey of Colab, so a text has the notebook's own colour. A bar needs less contrast, 3:1, and these colours have it.
_COLOURS = {
    "running": "#0e8fb5",
    "silent": "#c77708",
    "completed": "#1a9c4b",
    "failed": "#e8484a",
    "stopped": "#c77708",
}
_COLOURS["interrupted"] = _COLOURS["failed"]


def panel_html(panel: Panel, most: int | None = None) -> str:
    """Return the table with the lines above it; with ``most``, the table has at most this number of rows."""
    shown = panel.rows if most is None else most_urgent(panel.rows, most)
    style = "text-align:left;vertical-align:top"
    lines = [_element("div", panel.headline, f"font-weight:bold{_bar(panel.mood)}")]
    if panel.wait:
        lines.append(_element("div", panel.wait, "font-weight:bold"))
    if panel.warning:
        lines.append(_element("div", panel.warning))
    lines += [_element("div", note) for note in panel.notes]
    if panel.metrics:
        lines.append(_element("div", panel.metrics))
    heads = "".join(_element("th", column, style) for column in panel.columns)
    rows = "".join(
        f"<tr>{''.join(_element('td', cell, style + bar) for cell, bar in zip(row.cells, _bars(row), strict=True))}</tr>"
        for row in shown
    )
    if missing := left_out(len(panel.rows) - len(shown), "this notebook"):
        lines.append(_element("div", missing))
    table = f"<table><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table>" if panel.rows else ""
    return f"<div>{''.join(lines)}{table}</div>"


def _bar(mood: str) -> str:
    return f";border-left:4px solid {_COLOURS[mood]};padding-left:6px" if mood in _COLOURS else ""


def _bars(row: PanelRow) -> list[str]:
    return [_bar(row.mood), *[""] * len(row.cells)][: len(row.cells)]


def _element(tag: str, text: str, style: str = "") -> str:
    chosen = f' style="{style}"' if style else ""
    return f"<{tag}{chosen}>{escape(text)}</{tag}>"
