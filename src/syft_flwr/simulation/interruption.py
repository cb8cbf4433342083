"""Delays the signals that end a program until its clean-up is done."""

import math
import signal
import threading
import time
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any, Self

#: Seconds after a cancellation in which processes may end by themselves.
_GRACE = 0.3
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interruption:
    """Records requests to end: a signal in the main thread, or a call of :meth:`cancel` in any thread.

    Inside the ``with`` block a signal is only recorded, so an exception cannot interrupt the clean-up. On exit the signal
    is raised again: Ctrl-C raises KeyboardInterrupt, SIGTERM ends the program.
    """

    def __init__(self) -> None:
        self._previous: dict[signal.Signals, Any] = {}
        self._number: int | None = None
        self._requests = 0
        #: The monotonic time of the first cancellation.
        self._cancelled = math.inf

    @property
    def requested(self) -> bool:
        return self._requests > 0

    @property
    def urgent(self) -> bool:
        """Return whether processes should be killed at once: the end was requested twice, or cancelled long enough ago."""
        return self._requests > 1 or time.monotonic() >= self._cancelled + _GRACE

    def cancel(self) -> None:
        self._requests = max(1, self._requests)
        self._cancelled = min(self._cancelled, time.monotonic())

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            for number in _SIGNALS:
                previous = signal.getsignal(number)
                # Not for ignored signals (nohup, background jobs), or for handlers of C code, which cannot be restored.
                if previous not in (signal.SIG_IGN, None):
                    self._previous[number] = previous
                    signal.signal(number, self._note)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for number, previous in self._previous.items():
            signal.signal(number, previous)
        if self._number is not None:
            signal.raise_signal(self._number)

    def _note(self, number: int, _frame: FrameType | None) -> None:
        self._number = self._number or number
        self._requests += 1


class CancelOnInterrupt:
    """Calls ``cancel`` at the first Ctrl-C, then leaves it to the handler that was there.

    A notebook and asyncio handle Ctrl-C in the main thread, while a run continues in another thread. IPython raises
    KeyboardInterrupt out of its loop, and cancels no task.
    """

    def __init__(self, cancel: Callable[[], None]) -> None:
        self._cancel = cancel
        self._previous: Any = None
        if threading.current_thread() is threading.main_thread():
            previous = signal.getsignal(signal.SIGINT)
            if callable(previous):
                self._previous = previous
                signal.signal(signal.SIGINT, self._on_interrupt)

    def close(self) -> None:
        """Restore the handler, unless another program has replaced this one."""
        if self._previous and signal.getsignal(signal.SIGINT) == self._on_interrupt:
            signal.signal(signal.SIGINT, self._previous)

    def _on_interrupt(self, number: int, frame: FrameType | None) -> None:
        self.close()
        self._cancel()
        self._previous(number, frame)
