"""The figure of the metrics of a run, with matplotlib (extra ``plot``)."""

from collections.abc import Mapping
from typing import Any

from syft_flwr.errors import ConfigError
from syft_flwr.text import printable

#: Characters of a label.
_MOST = 60
#: Digits of a round. A figure has no place for a larger number.
_MOST_DIGITS = 15


def plot_metrics(metrics: Mapping[str, Mapping[str, Mapping[str, Any]]], title: str, axes: Any = None) -> Any:
    """Draw a line for each metric of each source over the rounds, and return the axes.

    Values that are no numbers, and rounds without a number, are left out.

    Args:
        metrics: values by source, round and name.
        title: the title of new axes.
        axes: axes to draw into; by default those of a new figure.

    Raises:
        ConfigError: matplotlib is not installed.
    """
    if axes is None:
        try:
            from matplotlib import pyplot as plt
        except ImportError as error:
            raise ConfigError(
                f"a plot needs the package matplotlib, which cannot be imported: {error}",
                hint="Run: pip install 'matplotlib>=3.8'",
            ) from error
        _, axes = plt.subplots(layout="constrained")
        # A text of a peer is no formula.
        axes.set_title(printable(title, _MOST), parse_math=False)
        axes.set_xlabel("round")
    lines: dict[str, list[tuple[int, float]]] = {}
    for source, by_round in metrics.items():
        for number, values in by_round.items():
            for name, value in values.items():
                is_round = number.isdecimal() and len(number) <= _MOST_DIGITS
                if is_round and isinstance(value, int | float) and not isinstance(value, bool):
                    lines.setdefault(f"{source}: {name}", []).append((int(number), float(value)))
    for label, points in lines.items():
        rounds, numbers = zip(*sorted(points), strict=True)
        axes.plot(rounds, numbers, marker="o", markersize=3, label=printable(label, _MOST))
    if lines:
        axes.xaxis.get_major_locator().set_params(integer=True)
        for text in axes.legend().get_texts():
            text.set_parse_math(False)
    return axes
