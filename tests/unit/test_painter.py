"""The thread of a display: an interruption ends it, an error in it ends no run, and a slow paint leaves the run its time."""

import threading
import time
from itertools import pairwise

import pytest
from waiting import PATIENCE, eventually

from syft_flwr.live.painter import Painter
from syft_flwr.runs.panel import Panel

PANEL = Panel("Run 7", "running", (), (), 0)


class Sink:
    """A place that notes its calls, raises ``error`` at a call, and uses the processor for ``seconds`` at each paint."""

    interval = 0.001

    def __init__(self, at: str = "", error: type[BaseException] = ValueError, seconds: float = 0.0) -> None:
        self.calls: list[str] = []
        self.ends: list[float] = []
        self._at, self._error, self._seconds = at, error, seconds

    def _note(self, call: str) -> None:
        self.calls.append(call)
        if call == self._at:
            raise self._error("of the display")

    def open(self) -> None:
        self._note("open")

    def show(self, panel: Panel) -> None:
        end = time.thread_time() + self._seconds
        while time.thread_time() < end:
            pass
        self.ends.append(time.monotonic())
        self._note("show")

    def close(self, panel: Panel | None) -> None:
        self._note("close")

    def abandon(self, *, is_blocked: bool) -> None:
        self._note(f"abandon {is_blocked}")


def displays() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "live-display"]


@pytest.mark.parametrize("at", ["open", "show", "close"])
@pytest.mark.parametrize("error", [ValueError, BrokenPipeError, KeyboardInterrupt, SystemExit, MemoryError])
def test_error_of_the_display_ends_it_alone(at: str, error: type[BaseException], logged: list[str]) -> None:
    sink = Sink(at, error)
    with Painter(sink, lambda: PANEL):
        eventually(lambda: "show" in sink.calls or at == "open", "the first paint")
    assert sink.calls[-1] == "abandon False"
    assert not displays()
    assert sum(f"and the run continues: {error.__name__}" in line for line in logged) == 1


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_error_of_the_run_passes_after_the_last_paint(error: type[BaseException]) -> None:
    sink = Sink()
    with pytest.raises(error), Painter(sink, lambda: PANEL):
        raise error
    assert sink.calls[-1] == "close"
    assert not displays()


def test_interruption_of_the_start_leaves_no_display(monkeypatch: pytest.MonkeyPatch) -> None:
    start = threading.Thread.start

    def interrupted(thread: threading.Thread) -> None:
        start(thread)
        raise KeyboardInterrupt

    painter = Painter(Sink(), lambda: PANEL)
    monkeypatch.setattr(threading.Thread, "start", interrupted)
    with pytest.raises(KeyboardInterrupt), painter:
        pytest.fail("the block must not begin")
    eventually(lambda: not displays(), "the end of the thread")


def test_pause_is_longer_after_a_slow_paint() -> None:
    sink = Sink(seconds=0.02)
    with Painter(sink, lambda: PANEL):
        eventually(lambda: len(sink.ends) > 3, "some paints", PATIENCE)
    gaps = [later - earlier for earlier, later in pairwise(sink.ends[:4])]
    assert min(gaps) > 0.19
