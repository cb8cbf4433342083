"""The table of measurements over a SyftBox network, in Markdown."""

from collections.abc import Callable, Sequence

from measuring.plan import write_seconds, write_size
from measuring.result import Result


def render(results: Sequence[Result]) -> str:
    """Return a table with one row for each result."""
    rows = [list(_COLUMNS), ["---"] * len(_COLUMNS)]
    rows += [[write(result) for write in _COLUMNS.values()] for result in results]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _times(result: Result) -> str:
    times = result.times
    low, middle, high = (write_seconds(value) for value in (min(times.seconds), times.median, max(times.seconds)))
    return f"{low} · **{middle}** · {high} ({len(times.seconds)})"


_COLUMNS: dict[str, Callable[[Result], str]] = {
    "model": lambda result: write_size(result.plan.size),
    "data owners": lambda result: str(result.plan.datasites),
    "workload": lambda result: result.plan.workload,
    "network": lambda result: result.note,
    "round: min · median · max (rounds)": _times,
    "bytes sent / model": lambda result: f"{result.sent / result.plan.rounds / result.plan.size:.2f}",
    "correct replies": lambda result: f"{result.good} of {result.expected}",
}
