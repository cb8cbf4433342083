"""The figure of the metrics of a run."""

import math
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from syft_flwr.errors import ConfigError
from syft_flwr.runs.plot import plot_metrics


@pytest.fixture
def axes(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Yield new axes without a screen."""
    monkeypatch.setenv("MPLBACKEND", "agg")
    from matplotlib import pyplot as plt

    plt.switch_backend("agg")
    _, made = plt.subplots()
    yield made
    plt.close("all")


def lines(axes: Any) -> dict[str, list[tuple[float, float]]]:
    return {line.get_label(): list(zip(*line.get_data(), strict=True)) for line in axes.get_lines()}


def test_each_metric_of_each_source_is_a_line_over_rounds(axes: Any) -> None:
    metrics = {
        "train": {"2": {"loss": 0.5, "n": 3}, "10": {"loss": 0.25}, "1": {"loss": 1.0}},
        "central": {"0": {"loss": 2}},
    }
    assert plot_metrics(metrics, "run 7", axes) is axes
    assert lines(axes) == {
        "train: loss": [(1, 1.0), (2, 0.5), (10, 0.25)],
        "train: n": [(2, 3.0)],
        "central: loss": [(0, 2.0)],
    }


def test_values_that_are_no_numbers_are_left_out(axes: Any) -> None:
    plot_metrics(
        {"train": {"1": {"a": "nan", "b": [1, 2], "c": True}, "final": {"d": 1.0}, "9" * 400: {"e": 1.0}}}, "", axes
    )
    assert lines(axes) == {}


def test_hostile_names_can_be_drawn(axes: Any) -> None:
    plot_metrics({"train": {"1": {r"$\frac{": 1.0, "\x1b]0;title\x07" * 99: math.pi, "_hidden": 2}}}, "", axes)
    axes.figure.canvas.draw()

    texts = [text.get_text() for text in axes.get_legend().get_texts()]
    assert texts[0] == r"train: $\frac{"
    assert texts[2] == "train: _hidden"
    assert all(text.isprintable() and len(text) <= 60 for text in texts)


def test_new_figure_has_the_run_as_its_title(axes: Any) -> None:
    made = plot_metrics({"train": {"1": {"loss": 1.0}}}, r"$\frac{", None)
    made.figure.canvas.draw()

    assert made is not axes
    assert (made.get_title(), made.get_xlabel()) == (r"$\frac{", "round")


def test_missing_matplotlib_names_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ConfigError, match="a plot needs the package matplotlib") as failed:
        plot_metrics({}, "")
    assert failed.value.hint == "Run: pip install 'matplotlib>=3.8'"
