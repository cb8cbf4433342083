"""Lets the start of a thread wait for the first call that the thread makes, and fail if the thread ends there."""

import threading
from collections.abc import Callable
from typing import TypeVar

from syft_flwr.errors import TransportError

Result = TypeVar("Result")


class FirstCall:
    """The first call of one thread. ``what`` names it in an error, such as ``the first poll``."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._done = threading.Event()
        #: The cause if the thread ended in the call.
        self._ended_by: BaseException | None = None

    def start(self, thread: threading.Thread) -> None:
        """Start the thread, and return after the call.

        Raises:
            TransportError: the thread ended in the call.
        """
        thread.start()
        self._done.wait()
        if self._ended_by is not None:
            thread.join()
            raise TransportError(
                f"{thread.name}: {self._what} ended with {type(self._ended_by).__name__}: {self._ended_by}",
                hint="Report this as a bug.",
            ) from self._ended_by

    def run(self, call: Callable[[], Result], then: Callable[[Result], None]) -> None:
        """Make the call, and continue with its result; the thread calls this."""
        try:
            result = call()
        except BaseException as error:  # noqa: BLE001 - raised by start()
            self._ended_by = error
            return
        finally:
            self._done.set()
        then(result)
