"""Bar charts as SVG, without a library: groups of bars on a linear or a logarithmic scale."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

_WIDTH = 760
_HEIGHT = 250
_LEFT, _RIGHT, _TOP, _BOTTOM = 70, 10, 44, 30
_COLOURS = ("#0b6e99", "#e08e0b", "#b4bac0", "#7d858d")


@dataclass(frozen=True, slots=True)
class Panel:
    """One diagram.

    Args:
        title: text above the diagram.
        groups: labels below the groups of bars.
        series: name of each series, with one value for each group; None for no bar.
        write: returns the text of a value.
        powers: use a logarithmic scale.
    """

    title: str
    groups: Sequence[str]
    series: Sequence[tuple[str, Sequence[float | None]]]
    write: Callable[[float], str]
    powers: bool = False


@dataclass(frozen=True, slots=True)
class _Scale:
    marks: Sequence[float]
    #: Returns the height of a value, from 0 to 1.
    place: Callable[[float], float]


def draw(panels: Sequence[Panel]) -> str:
    """Return an SVG document with the panels, one below the other; panels without groups are skipped."""
    panels = [panel for panel in panels if panel.groups]
    height = _HEIGHT * len(panels)
    size = f'viewBox="0 0 {_WIDTH} {height}" width="{_WIDTH}" height="{height}"'
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="sans-serif">',
        f'<rect width="{_WIDTH}" height="{height}" fill="#ffffff"/>',
    ]
    for number, panel in enumerate(panels):
        lines += [f'<g transform="translate(0 {number * _HEIGHT})">', *_panel(panel), "</g>"]
    return "\n".join([*lines, "</svg>\n"])


def _panel(panel: Panel) -> list[str]:
    values = [value for _, row in panel.series for value in row if value is not None]
    scale = _powers(min(values), max(values)) if panel.powers else _steps(max(values))
    bottom = _HEIGHT - _BOTTOM

    def y(value: float) -> float:
        return bottom - scale.place(value) * (bottom - _TOP)

    lines = [_text(_LEFT, 16, panel.title, size=13, weight="bold")]
    for mark in scale.marks:
        lines.append(f'<path d="M{_LEFT} {y(mark):.1f}H{_WIDTH - _RIGHT}" stroke="#d8dcdf"/>')
        lines.append(_text(_LEFT - 6, y(mark) + 4, panel.write(mark), anchor="end"))
    group_width = (_WIDTH - _LEFT - _RIGHT) / len(panel.groups)
    bar_width = 0.8 * group_width / len(panel.series)
    for index, group in enumerate(panel.groups):
        start = _LEFT + index * group_width + 0.1 * group_width
        lines.append(_text(start + 0.4 * group_width, bottom + 17, group, anchor="middle", size=12))
        for place, (_, row) in enumerate(panel.series):
            value = row[index]
            if value is not None:
                x, top = start + place * bar_width, y(value)
                lines.append(
                    f'<rect x="{x + 1:.1f}" y="{top:.1f}" width="{bar_width - 2:.1f}" height="{bottom - top:.1f}"'
                    f' fill="{_COLOURS[place]}"/>'
                )
                lines.append(_text(x + bar_width / 2, top - 3, panel.write(value), anchor="middle", size=9))
    x = float(_LEFT)
    for place, (name, _) in enumerate(panel.series):
        lines.append(f'<rect x="{x:.1f}" y="24" width="10" height="10" fill="{_COLOURS[place]}"/>')
        lines.append(_text(x + 14, 33, name))
        x += 30 + 6.5 * len(name)
    return lines


def _powers(least: float, most: float) -> _Scale:
    # The scale starts below the smallest value, so that its bar is visible.
    low = math.floor(math.log10(least / 2))
    high = max(low + 1, math.ceil(math.log10(most)))
    marks = [10.0**power for power in range(low, high + 1)]
    return _Scale(marks, lambda value: (math.log10(value) - low) / (high - low))


def _steps(most: float) -> _Scale:
    """Return a linear scale from 0, with at most five equal steps of 1, 2 or 5 times a power of ten."""
    power = 10.0 ** math.floor(math.log10(most / 5))
    step = next(step for step in (power, 2 * power, 5 * power, 10 * power) if most <= 5 * step)
    count = math.ceil(most / step)
    return _Scale([step * number for number in range(count + 1)], lambda value: value / (step * count))


def _text(x: float, y: float, text: str, *, anchor: str = "start", size: int = 11, weight: str = "normal") -> str:
    attributes = f'x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}" font-weight="{weight}"'
    return f'<text {attributes} fill="#1f2328">{escape(text)}</text>'
