"""Draws a Vega-Lite chart as SVG (extra ``report``), and keeps only the parts that a page needs.

Colours are variables of the style sheet, so a chart follows the light or dark theme of its page. The result has no
script, link or style, whatever texts are in the chart, because it is built again from known elements and attributes.
"""

import re
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any
from xml.etree import ElementTree as ET

from syft_flwr.errors import ConfigError
from syft_flwr.report.markup import shown

_NAMESPACE = "{http://www.w3.org/2000/svg}"
_ELEMENTS = ("g", "path", "line", "rect", "text", "tspan", "circle")
_ATTRIBUTES = (
    *("d", "transform", "x", "y", "x1", "y1", "x2", "y2", "dx", "dy", "r", "cx", "cy", "width", "height"),
    *("fill", "stroke", "stroke-width", "stroke-dasharray", "opacity", "fill-opacity", "stroke-opacity"),
    *("text-anchor", "font-size", "font-weight"),
)
#: Values that are the default in the page.
_DEFAULTS = {"opacity": "1", "text-anchor": "start", "font-weight": "normal", "stroke-width": "1", "fill": ""}
_LONG_NUMBER = re.compile(r"(\d+\.\d)\d+")
#: The configuration of all charts: quiet grid lines, no frame, the font of the page.
_CONFIG = {
    "background": None,
    "aria": False,
    "font": "sans-serif",
    "view": {"stroke": None},
    "axis": {
        "labelColor": "var(--soft)",
        "labelFontSize": 11,
        "labelPadding": 6,
        "titleColor": "var(--soft)",
        "titleFontSize": 11,
        "titleFontWeight": "normal",
        "gridColor": "var(--line)",
        "domainColor": "var(--line)",
        "tickColor": "var(--line)",
        "tickSize": 4,
    },
}


def require_engine() -> Any:
    """Return the module that draws charts.

    Raises:
        ConfigError: it is not installed; it comes with the extra ``report``.
    """
    try:
        import vl_convert
    except ImportError as error:
        raise ConfigError(
            f"a report needs the package vl-convert-python, which cannot be imported: {error}",
            hint="Run: pip install 'vl-convert-python>=1.9'",
        ) from error
    return vl_convert


def draw(chart: Mapping[str, Any], label: str) -> str:
    """Return a chart as an SVG element with ``label`` as its text for screen readers.

    Raises:
        ConfigError: vl-convert is not installed.
    """
    # No address is allowed: a chart has its values in it.
    drawn = require_engine().vegalite_to_svg({**chart, "config": _CONFIG}, allowed_base_urls=[])
    return _cleaned(drawn, label)


def _cleaned(svg: str, label: str) -> str:
    # This process made it, and it has no declaration of entities.
    root = ET.fromstring(svg)  # noqa: S314
    width, height = (float(root.get(name, "0")) for name in ("width", "height"))
    parts = "".join(_rebuilt(child) for child in root)
    return f'<svg role="img" aria-label="{shown(label)}" width="{width:g}" viewBox="0 0 {width:g} {height:g}">{parts}</svg>'


def _rebuilt(element: ET.Element) -> str:
    tag = element.tag.removeprefix(_NAMESPACE)
    if tag not in _ELEMENTS or element.get("class") in ("background", "foreground"):
        return ""
    content = shown(element.text) if tag in ("text", "tspan") and element.text else ""
    content += "".join(map(_rebuilt, element))
    attributes = _attributes(element, tag)
    if tag == "g":
        return f"<g{attributes}>{content}</g>" if content and attributes else content
    is_empty = (tag in ("text", "tspan") and not content) or (tag == "path" and not element.get("d"))
    if is_empty:
        return ""
    return f"<{tag}{attributes}>{content}</{tag}>" if content else f"<{tag}{attributes}/>"


def _attributes(element: ET.Element, tag: str) -> str:
    found = []
    for name in _ATTRIBUTES:
        value = element.get(name)
        is_default = value is None or value == _DEFAULTS.get(name) or value == "translate(0,0)"
        if value is not None and not is_default and not (tag == "g" and name == "fill" and value == "none"):
            found.append(f' {name}="{escape(_LONG_NUMBER.sub(_shortened, value))}"')
    return "".join(found)


def _shortened(number: re.Match[str]) -> str:
    return number[1]


def values_of(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return rows as the data of a chart."""
    return {"values": list(rows)}
