"""The rows of a panel that a display without room for all of them shows."""

from collections.abc import Sequence

from syft_flwr.runs.panel import PanelRow
from syft_flwr.text import counted

_URGENCY = {"failed": 0, "interrupted": 0, "silent": 0, "running": 1}


def most_urgent(rows: Sequence[PanelRow], most: int) -> Sequence[PanelRow]:
    """Return at most ``most`` rows: if there are more, the failed and silent ones first, then those that work."""
    if len(rows) <= most:
        return rows
    return sorted(rows, key=lambda row: _URGENCY.get(row.mood, 2))[:most]


def left_out(number: int, place: str) -> str:
    """Return the line about rows without room; empty if all are shown."""
    return f"{counted(number, 'more participant')} without room in {place}" if number else ""
