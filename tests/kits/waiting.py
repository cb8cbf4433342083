"""Wait for a condition that another thread or process makes true, up to a deadline; repeat work in a thread."""

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from typing import TypeVar

T = TypeVar("T")

#: Seconds to wait for a condition. The value is large, because a busy machine must not fail a test.
PATIENCE = 60.0


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


@contextlib.contextmanager
def repeatedly(work: Callable[[], object], pause: float) -> Iterator[None]:
    """Call ``work`` again and again in a thread, with a pause of some seconds before each call."""
    done = threading.Event()

    def repeat() -> None:
        while not done.wait(pause):
            work()

    thread = threading.Thread(target=repeat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
