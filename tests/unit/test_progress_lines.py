"""Progress as lines: the news that cause a line, and the number of lines."""

from dataclasses import replace

import pytest

from syft_flwr.live.lines import ProgressLines
from syft_flwr.runs.panel import Panel, PanelRow


def row(name: str = "do@x.org", state: str = "online", work: str = "works on train") -> PanelRow:
    return PanelRow((name, "", "", "", "", "", ""), "running", state, work)


PANEL = Panel("Run 7: running, round 1 of 2", "running", (), (row(),), 5, "round 1 of 2", "Waits for do@x.org for 0s")
LATER = replace(PANEL, wait="Waits for do@x.org for 9s")


class Lines:
    """Lines with a clock of their own, without their time of day."""

    def __init__(self) -> None:
        self.written: list[str] = []
        self.now = 0.0
        self.sink = ProgressLines(lambda line: self.written.append(line[9:]), lambda: self.now)

    def show(self, panel: Panel, after: float = 1.0) -> list[str]:
        """Return the lines that a panel causes ``after`` seconds after the one before."""
        self.now += after
        before = len(self.written)
        self.sink.show(panel)
        return self.written[before:]


@pytest.fixture
def lines() -> Lines:
    return Lines()


def test_first_line_tells_the_run_and_each_participant(lines: Lines) -> None:
    assert lines.show(PANEL) == [
        "Run 7: running, round 1 of 2. Waits for do@x.org for 0s. do@x.org: online, works on train"
    ]


def test_unchanged_run_causes_no_line(lines: Lines) -> None:
    lines.show(PANEL)
    assert lines.show(LATER, after=100) == []


def test_round_state_and_metrics_cause_a_line(lines: Lines) -> None:
    lines.show(PANEL)
    assert lines.show(replace(LATER, round="round 2 of 2")) == ["round 2 of 2. Waits for do@x.org for 9s"]
    changed = replace(LATER, round="round 2 of 2", rows=(row(state="silent, 1 failed"),))
    assert lines.show(changed) == ["Waits for do@x.org for 9s. do@x.org: silent, 1 failed, works on train"]
    assert lines.show(replace(changed, wait="", metrics="train: loss 0.5")) == ["train: loss 0.5"]
    ended = replace(changed, wait="", metrics="train: loss 0.5", mood="completed", headline="Run 7: completed")
    assert lines.show(ended) == ["Run 7: completed"]


def test_fast_rounds_cause_one_line_a_second(lines: Lines) -> None:
    for number in range(1000):
        lines.show(replace(PANEL, round=f"round {number} of 1000"), after=0.01)
    assert len(lines.written) == 10


def test_work_alone_causes_a_line_every_ten_seconds(lines: Lines) -> None:
    lines.show(PANEL)
    for number in range(60):
        lines.show(replace(PANEL, rows=(row(work=f"works on {'train' if number % 2 else 'evaluate'}"),)))
    assert 6 <= len(lines.written) <= 7


def test_line_names_few_of_many_participants(lines: Lines) -> None:
    (line,) = lines.show(replace(PANEL, rows=tuple(row(f"do{n}@x.org") for n in range(50))))
    assert line.endswith("do2@x.org: online, works on train. 47 more participants changed")


def test_end_of_the_run_is_always_told(lines: Lines) -> None:
    lines.show(PANEL)
    lines.sink.close(replace(PANEL, mood="failed", headline="Run 7: failed", wait=""))
    assert lines.written[1:] == ["Run 7: failed"]
