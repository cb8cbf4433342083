"""Counts the steps of a reader: the lines of Python that it executes. A step needs no clock, so each run counts the same.

A parser whose cost is not linear exceeds any budget that grows with its input. The work of native code is not counted.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any


class Steps:
    """The steps of one ``with`` block of :func:`bounded_steps`, in the thread that opened it."""

    def __init__(self, most: float, place: str) -> None:
        self.taken = 0
        self._most = most
        self._place = place

    def count(self, frame: FrameType, event: str, _: Any) -> Any:
        """Count a line; this is the trace function of Python."""
        if event == "call" and self._place not in frame.f_code.co_filename:
            return None
        if event == "line":
            self.taken += 1
            if self.taken > self._most:
                self.require_bounded()
        return self.count

    def require_bounded(self) -> None:
        """Raise AssertionError if there were too many steps."""
        assert self.taken <= self._most, f"a reader took more than {self._most:.0f} steps"


@contextmanager
def bounded_steps(most: float, place: str = "") -> Iterator[Steps]:
    """Raise AssertionError if the calls inside the ``with`` block take more than ``most`` steps.

    Only the code of files with ``place`` in their path counts. To count all code takes ten times as long.
    """
    steps, before = Steps(most, place), sys.gettrace()
    sys.settrace(steps.count)
    try:
        yield steps
    finally:
        sys.settrace(before)
    # A reader that takes any exception for a malformed message also takes that of the step above.
    steps.require_bounded()
