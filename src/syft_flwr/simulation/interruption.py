"""Delays the signals that end a program until its clean-up is done."""

import signal
import threading
from types import FrameType, TracebackType
from typing import Any, Self

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

    @property
    def requested(self) -> bool:
        return self._requests > 0

    @property
    def urgent(self) -> bool:
        """Return whether the end was requested more than once, so processes should be killed at once."""
        return self._requests > 1

    def cancel(self) -> None:
        self._requests = max(1, self._requests)

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
