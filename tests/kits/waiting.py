"""Wait for a condition that another thread or process makes true, up to a deadline."""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

#: Seconds to wait for a condition. The value is large, because a busy machine must not fail a test.
PATIENCE = 20.0


def eventually(condition: Callable[[], T], what: str, timeout: float = PATIENCE) -> T:
    """Return the first true value of ``condition``.

    Args:
        condition: called again and again.
        what: description of the condition, for the error.
        timeout: longest wait in seconds.

    Raises:
        AssertionError: the condition was not true in time.
    """
    deadline = time.monotonic() + timeout
    while not (value := condition()):
        assert time.monotonic() < deadline, f"not within {timeout:g} s: {what}"
        time.sleep(0.005)
    return value
