"""The HTML of a panel for a notebook. All texts are escaped, because peers choose some of them."""

from html import escape

from syft_flwr.runs.panel import Panel
from syft_flwr.runs.urgency import left_out, most_urgent

#: Colours that can be read on a white and on a dark background.
_COLOURS = {
    "running": "#0e7490",
    "silent": "#b45309",
    "completed": "#15803d",
    "failed": "#dc2626",
    "stopped": "#b45309",
}
_COLOURS["interrupted"] = _COLOURS["failed"]


def panel_html(panel: Panel, most: int | None = None) -> str:
    """Return the table with the lines above it; with ``most``, the table has at most this number of rows."""
    shown = panel.rows if most is None else most_urgent(panel.rows, most)
    style = "text-align:left;vertical-align:top"
    lines = [_element("div", panel.headline, f"font-weight:bold{_colour(panel.mood)}")]
    if panel.wait:
        lines.append(_element("div", panel.wait, "font-weight:bold"))
    if panel.warning:
        lines.append(_element("div", panel.warning))
    lines += [_element("div", note) for note in panel.notes]
    if panel.metrics:
        lines.append(_element("div", panel.metrics))
    heads = "".join(_element("th", column, style) for column in panel.columns)
    rows = "".join(
        "<tr>" + "".join(_element("td", cell, style + _colour(row.mood)) for cell in row.cells) + "</tr>"
        for row in shown
    )
    if missing := left_out(len(panel.rows) - len(shown), "this notebook"):
        lines.append(_element("div", missing))
    table = f"<table><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table>" if panel.rows else ""
    return f"<div>{''.join(lines)}{table}</div>"


def _colour(mood: str) -> str:
    return f";color:{_COLOURS[mood]}" if mood in _COLOURS else ""


def _element(tag: str, text: str, style: str = "") -> str:
    chosen = f' style="{style}"' if style else ""
    return f"<{tag}{chosen}>{escape(text)}</{tag}>"
