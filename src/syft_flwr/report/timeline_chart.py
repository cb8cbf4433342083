"""The chart of a timeline: for each data owner its name, and below it the bars of its requests."""

from typing import Any

from syft_flwr.report.numbers import span_text
from syft_flwr.report.svg import draw, values_of
from syft_flwr.report.timeline import Bar, Timeline, TimelineRow
from syft_flwr.text import counted, printable, shortened

#: The widths for a phone and for a larger screen.
WIDTHS = {"narrow": 320, "wide": 880}
#: Pixels of a row above its bars, of a lane, of a bar in it, and between rows.
_HEAD, _LANE, _BAR, _GAP = 18, 15, 13, 10
#: Pixels above the first row for the names of rounds.
_ROUNDS = 18
#: The least pixels of a bar, so that it can be seen, and of a part that is drawn.
_LEAST, _LEAST_PART = 2.0, 0.2
#: Units of the axis, with their seconds.
_UNITS = (("hours", 3_600), ("minutes", 60), ("seconds", 1))
#: Pixels of one character of a name.
_CHARACTER = 7.2
_SOFT = {"fill": "var(--soft)", "fontSize": 11}


def timeline_chart(timeline: Timeline, width: str, rows: tuple[TimelineRow, ...]) -> str:
    """Return the SVG of these rows of a timeline, in one of :data:`WIDTHS`."""
    pixels = WIDTHS[width]
    # Those of all rows, so that the charts of some rows have the same scale.
    first = min((bar.start for row in timeline.rows for bar in row.bars), default=0.0)
    end = max((bar.end for row in timeline.rows for bar in row.bars), default=1.0)
    unit, in_unit = next((name, size) for name, size in _UNITS if end - first >= 2 * size or size == 1)
    scale = pixels / max(end - first, 1e-9)
    marks: list[dict[str, Any]] = []
    texts: list[dict[str, Any]] = []
    top = 0.0 if timeline.is_summed or not timeline.rounds else _ROUNDS
    for row in rows:
        texts += _names(row, top, pixels)
        for bar in row.bars:
            marks += _parts(bar, top + _HEAD + bar.lane * _LANE, scale, in_unit)
        top += _HEAD + row.lanes * _LANE + _GAP
    lines = [] if timeline.is_summed else _round_lines(timeline, first, scale, pixels)
    chart = {
        "width": pixels,
        "height": top,
        "padding": {"left": 0, "right": 0, "top": 0, "bottom": 2},
        "layer": [
            *([_rules(lines, first, end, top)] if lines else []),
            _bars(marks, first / in_unit, end / in_unit, unit),
            *([_texts([line for line in lines if line["text"]], align="left", **_SOFT)] if lines else []),
            _texts([text for text in texts if not text["x"]], align="left", fill="var(--ink)", fontSize=12),
            _texts([text for text in texts if text["x"]], align="right", **_SOFT),
        ],
        "resolve": {"scale": {"x": "independent", "y": "independent"}},
    }
    return draw(chart, _label(timeline, rows))


def _names(row: TimelineRow, top: float, pixels: int) -> list[dict[str, Any]]:
    right = f"{counted(row.requests, 'request')}, {_time(row)}"
    room = max(8, int(pixels / _CHARACTER) - len(right) - 2)
    name = shortened(printable(row.name, 254), room)
    return [{"x": 0, "y": top + 8, "text": name}, {"x": pixels, "y": top + 8, "text": right}]


def _time(row: TimelineRow) -> str:
    if not row.unknown:
        return span_text(row.seconds)
    return f"{span_text(row.seconds)} and {row.unknown} not timed" if row.unknown < row.requests else "time not known"


def _parts(bar: Bar, top: float, scale: float, in_unit: int) -> list[dict[str, Any]]:
    if not bar.parts:
        return []
    if bar.seconds * scale < _LEAST:
        longest = max(bar.parts, key=lambda part: part[1])[0]
        return [_part(bar.start, bar.start + _LEAST / scale, top, longest.name, in_unit)]
    found, start = [], bar.start
    for phase, seconds in bar.parts:
        if seconds * scale >= _LEAST_PART:
            found.append(_part(start, start + seconds, top, phase.name, in_unit))
        start += seconds
    return found


def _part(start: float, end: float, top: float, colour: str, in_unit: int) -> dict[str, Any]:
    return {"a": start / in_unit, "b": end / in_unit, "t": top, "u": top + _BAR, "c": f"var(--{colour})"}


def _bars(marks: list[dict[str, Any]], first: float, end: float, unit: str) -> dict[str, Any]:
    axis = {
        "title": unit,
        "titleAnchor": "end",
        "tickCount": 5,
        "ticks": False,
        "domain": False,
        "labelFlush": True,
        "labelBound": True,
        "zindex": 0,
    }
    return {
        "data": values_of(marks),
        "mark": {"type": "rect"},
        "encoding": {
            "x": _seconds("a", first, end) | {"axis": axis},
            "x2": {"field": "b"},
            "y": _pixels("t"),
            "y2": {"field": "u"},
            "fill": {"field": "c", "type": "nominal", "scale": None},
        },
    }


def _texts(texts: list[dict[str, Any]], **style: Any) -> dict[str, Any]:
    return {
        "data": values_of(texts),
        "mark": {"type": "text", "baseline": "middle", **style},
        "encoding": {"x": _pixels("x"), "y": _pixels("y"), "text": {"field": "text", "type": "nominal"}},
    }


def _round_lines(timeline: Timeline, first: float, scale: float, pixels: int) -> list[dict[str, Any]]:
    """Return the begin of each round with its name; the names have some room between them."""
    found: list[dict[str, Any]] = []
    free = 0.0
    for name, start in timeline.rounds:
        place = (start - first) * scale
        text = f"{'' if found else 'round '}{shortened(printable(name), 8)}"
        wide = len(text) * _CHARACTER + 6
        is_named = place >= free and place + wide <= pixels
        found.append({"at": start, "x": place + 3, "y": 6, "text": text if is_named else ""})
        free = place + wide if is_named else free
    return found


def _rules(lines: list[dict[str, Any]], first: float, end: float, height: float) -> dict[str, Any]:
    return {
        "data": values_of(lines),
        "mark": {"type": "rule", "stroke": "var(--line)", "strokeWidth": 1},
        "encoding": {
            "x": _seconds("at", first, end) | {"axis": None},
            "y": {"value": 0},
            "y2": {"value": height},
        },
    }


def _seconds(name: str, first: float, end: float) -> dict[str, Any]:
    return {"field": name, "type": "quantitative", "scale": {"domain": [first, end], "nice": False, "zero": False}}


def _pixels(name: str) -> dict[str, Any]:
    return {"field": name, "type": "quantitative", "scale": None, "axis": None}


def _label(timeline: Timeline, rows: tuple[TimelineRow, ...]) -> str:
    content = "the sums of all requests" if timeline.is_summed else "a bar for each request"
    return f"Timeline of {counted(len(rows), 'row')}: {content}, by phase. The table has all values."
