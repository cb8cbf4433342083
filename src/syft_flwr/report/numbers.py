"""Writes numbers, times and values for people."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from syft_flwr.text import duration

#: Numbers of a list that are shown.
_MOST_ITEMS = 8
#: A larger number has an exponent.
_LARGE = 1e15
#: The largest and the smallest size of a number that a chart can draw. The steps of an axis are still smaller.
_DRAWABLE, _SMALLEST = 1e100, 1e-250


def value_text(value: Any) -> str:
    """Return the value of a metric: a number with four significant digits, a short list, or a text."""
    if isinstance(value, bool) or value is None:
        return str(value).lower()
    if isinstance(value, int):
        return str(value) if abs(value) < _LARGE else f"{value:.4e}" if value.bit_length() < 1_000 else "very large"
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, list | tuple):
        more = f", … ({len(value)} values)" if len(value) > _MOST_ITEMS else ""
        return f"[{', '.join(map(value_text, value[:_MOST_ITEMS]))}{more}]"
    return str(value)


def exact_text(value: Any) -> str:
    """Return a value with all of its digits and items."""
    return value if isinstance(value, str) else json.dumps(value, default=str)


def drawable(value: Any) -> float | None:
    """Return a value as a number that a chart can draw; None for all others."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if number == 0 or _SMALLEST <= abs(number) <= _DRAWABLE else None


def seconds_text(seconds: float) -> str:
    """Return seconds with three significant digits; empty for none."""
    return f"{seconds:.3g}" if 0 < seconds < 1000 else f"{seconds:.0f}" if seconds else ""


def milliseconds_text(seconds: float) -> str:
    """Return seconds as milliseconds, short for the many rows of a large run; empty for none."""
    milliseconds = seconds * 1000
    return f"{milliseconds:.0f}" if milliseconds >= 10 else f"{milliseconds:.1f}" if milliseconds >= 0.05 else ""


def span_text(seconds: float) -> str:
    """Return a time span with its unit: ``12 ms``, ``1.3 s``, ``2m 5s``."""
    if seconds >= 59.95:
        return duration(round(seconds))
    return f"{seconds:.3g} s" if seconds >= 1 else f"{seconds * 1000:.3g} ms"


def moment_text(time: datetime | None) -> str:
    """Return a time in UTC; a dash if it is not known. A report can be read in another time zone."""
    return f"{time.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC" if time else "-"


def clock_text(time: datetime) -> str:
    """Return the time of a day with milliseconds, in UTC."""
    return f"{time.astimezone(UTC):%Y-%m-%d %H:%M:%S.%f}"[:-3]


def number_of(value: Any) -> float:
    """Return a finite number that is not negative; 0 for a value of another form."""
    if type(value) is float and 0 < value < _DRAWABLE:
        return value
    number = drawable(value)
    return number if number and number > 0 else 0.0


def seconds_by(fields: Mapping[str, Any]) -> dict[str, float]:
    """Return seconds by phase from the field of an event, without values of another form."""
    return {name: number for name, value in fields.items() if (number := number_of(value))}
