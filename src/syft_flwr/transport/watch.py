"""The watch of all transports in this package: collects changed names for one waiting thread."""

import threading
from collections.abc import Callable, Collection
from types import TracebackType
from typing import Self


class NameWatch:
    """Collects the changed names below some prefixes until a thread waits for them.

    Args:
        prefixes: the beginnings of the names.
        on_close: called with this watch at the end of its ``with`` block.
    """

    def __init__(self, prefixes: Collection[str], on_close: Callable[["NameWatch"], None]) -> None:
        self.prefixes = tuple(prefixes)
        self._on_close = on_close
        self._changed: set[str] = set()
        self._woken = False
        self._condition = threading.Condition()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._on_close(self)

    def notify(self, name: str) -> None:
        if name.startswith(self.prefixes):
            with self._condition:
                self._changed.add(name)
                self._condition.notify()

    def wait(self, timeout: float | None) -> set[str]:
        with self._condition:
            self._condition.wait_for(lambda: self._changed or self._woken, timeout)
            changed, self._changed, self._woken = self._changed, set(), False
            return changed

    def wake(self) -> None:
        with self._condition:
            self._woken = True
            self._condition.notify()
