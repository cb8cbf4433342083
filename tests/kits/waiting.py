"""Waiting for what another thread or process does: a condition and a deadline, never a guess of how long it takes."""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

#: Seconds after which a condition that should have come true has failed. Generous: a busy machine is no fault.
PATIENCE = 20.0


def eventually(condition: Callable[[], T], what: str, timeout: float = PATIENCE) -> T:
    """Return the first true value of ``condition``; AssertionError, naming ``what``, if there is none in time."""
    deadline = time.monotonic() + timeout
    while not (value := condition()):
        assert time.monotonic() < deadline, f"not within {timeout:g} s: {what}"
        time.sleep(0.005)
    return value
