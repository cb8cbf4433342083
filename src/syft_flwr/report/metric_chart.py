"""The chart of one metric over the rounds: a line of the whole run, and thin ones of the data owners, or their range."""

import json
import math
from typing import Any

from syft_flwr.report.metric_lines import WHOLE, MetricLines
from syft_flwr.report.svg import draw, values_of
from syft_flwr.text import counted, shortened

#: The size fits on a phone without scaling.
_WIDTH, _HEIGHT = 320, 168
#: The colours of the range of all data owners, and of the middle half of them.
RANGE, MIDDLE = "var(--range)", "var(--middle)"
#: The dashes of the lines of data owners, so that a line can be told by its form alone. More data owners are a range.
DASHES = ([1, 0], [6, 3], [2, 2], [8, 3, 2, 3], [4, 2, 1, 2, 1, 2], [10, 4])
#: Points of a line up to which each has a mark.
_MOST_MARKS = 25
#: Steps of an axis of rounds, and digits of the largest step.
_MOST_TICKS, _MOST_DIGITS = 6, 12
#: Numbers below and above these get an exponent.
_SMALL, _LARGE = 1e-3, 1e5


def metric_chart(lines: MetricLines, owners: list[str]) -> str:
    """Return the SVG of a metric.

    Args:
        lines: the values.
        owners: all data owners of the run; the place in it chooses the form of a line.
    """
    drawn = [owner for owner in lines.owners if lines.points(owner)]
    layers = [] if is_single(owners) else _ranges(lines)
    # The whole run is above the others.
    single = [owner for owner in drawn if not owner or is_single(owners)]
    for owner in sorted(single, key=lambda owner: (not owner, owner)):
        layers += _layers(lines, owner, owners)
    values = [value for owner in drawn for _, value in lines.points(owner)]
    low, high = min(lines.places.values()), max(lines.places.values())
    x_axis = {"title": "round", "format": "d", "values": _ticks(low, high), "grid": False, "labelFlush": True}
    if not lines.is_numbered:
        names = {place: name for name, place in lines.places.items()}
        labels = " : ".join(f"datum.value == {tick} ? {_quoted(names[tick])}" for tick in _ticks(low, high))
        x_axis |= {"labelExpr": f"{labels} : ''", "title": None}
    x_scale = {"domain": _domain(low, high, 0.5), "nice": False}
    y_axis = {"title": None, "tickCount": 4, "domain": False, "ticks": False, **_format(values)}
    y_scale: dict[str, Any] = {"zero": False, "nice": True}
    if min(values) == max(values):
        # Without a range, the labels would be rounded to a false number.
        y_scale["domain"] = _domain(values[0], values[0], abs(values[0]) / 2 or 1.0)
    x = {"field": "x", "type": "quantitative", "scale": x_scale, "axis": x_axis}
    y = {"field": "y", "type": "quantitative", "scale": y_scale, "axis": y_axis}
    chart = {
        "width": _WIDTH,
        "height": _HEIGHT,
        "autosize": {"type": "fit", "contains": "padding"},
        "padding": {"left": 14, "right": 8, "top": 6, "bottom": 0},
        "encoding": {"x": x, "y": y},
        "layer": layers,
    }
    return draw(chart, _label(lines, drawn))


def colour_of(owner: str, owners: list[str]) -> str:
    """Return the colour of the line of a data owner; empty for the whole run."""
    return f"var(--owner{owners.index(owner) + 1})" if owner in owners else "var(--whole)"


def dash_of(owner: str, owners: list[str]) -> list[int]:
    """Return the dashes of the line of a data owner."""
    return DASHES[owners.index(owner)] if owner in owners else [1, 0]


def is_single(owners: list[str]) -> bool:
    """Return whether each data owner has a line. The lines of more could not be told apart."""
    return len(owners) <= len(DASHES)


def _ranges(lines: MetricLines) -> list[dict[str, Any]]:
    """Return the range of all data owners, and above it that of the middle half of them."""
    found = []
    for share, colour in ((0.0, RANGE), (0.25, MIDDLE)):
        rows = [
            {
                "x": place,
                "y": numbers[int(share * (len(numbers) - 1))],
                "u": numbers[-1 - int(share * (len(numbers) - 1))],
            }
            for place, numbers in lines.spread()
        ]
        area = {"type": "area", "fill": colour, "fillOpacity": 1, "strokeWidth": 0}
        found.append({"data": values_of(rows), "mark": area, "encoding": {"y2": {"field": "u"}}})
    return found


def _layers(lines: MetricLines, owner: str, owners: list[str]) -> list[dict[str, Any]]:
    """Return the line of an owner, and its marks: a line does not cross a round without a value."""
    segments, colour = lines.segments(owner), colour_of(owner, owners)
    line: dict[str, Any] = {"type": "line", "stroke": colour, "strokeWidth": 1.5 if owner else 2.5}
    if (dash := dash_of(owner, owners)) != [1, 0]:
        line["strokeDash"] = dash
    rows = [{"x": x, "y": y, "s": number} for number, segment in enumerate(segments) for x, y in segment]
    part = {"detail": {"field": "s", "type": "nominal"}}
    found: list[dict[str, Any]] = [{"data": values_of(rows), "mark": line, "encoding": part}]
    has_marks = not owner and len(rows) <= _MOST_MARKS
    if marked := [{"x": x, "y": y} for segment in segments if has_marks or len(segment) == 1 for x, y in segment]:
        mark = {"type": "point", "filled": True, "fill": colour, "fillOpacity": 1, "size": 28}
        found.append({"data": values_of(marked), "mark": mark})
    return found


def _domain(low: float, high: float, room: float) -> list[float]:
    """Return the ends of an axis; with some room around a single value."""
    return [low, high] if low < high else [low - room, high + room]


def _ticks(low: float, high: float) -> list[int]:
    """Return some whole numbers between two rounds, with equal steps."""
    steps = (base * 10**power for power in range(_MOST_DIGITS) for base in (1, 2, 5))
    step = next(step for step in steps if (high - low) / step <= _MOST_TICKS)
    return list(range(math.ceil(low / step) * step, int(high) + 1, step))


def _format(values: list[float]) -> dict[str, str]:
    largest = max(map(abs, values), default=0.0)
    # The engine finds the digits by which the labels differ.
    return {"format": "e"} if largest >= _LARGE or 0 < largest < _SMALL else {}


def _label(lines: MetricLines, drawn: list[str]) -> str:
    latest, number = lines.latest
    last = f"; the latest value is {latest} in round {number}" if latest else ""
    whole = f"{WHOLE} and " if "" in drawn else ""
    several = counted(len([owner for owner in drawn if owner]), "data owner")
    return (
        f"{lines.title}: {whole}{several} over {counted(len(lines.places), 'round')}{last}. The table has all values."
    )


def _quoted(text: str) -> str:
    return json.dumps(shortened(text, 12))
