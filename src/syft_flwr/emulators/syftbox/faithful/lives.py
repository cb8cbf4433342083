"""The lives of emulated processes, and waits that end when such a process is stopped."""

import threading
from collections.abc import Callable

from syft_flwr.clock import Clock


class LifeEndedError(Exception):
    """The emulated process that does this work was stopped."""


class ServerDownError(LifeEndedError):
    """The server was stopped, or a client cannot reach it."""


class Life:
    """One start of a client, of the server, or of a connection. It ends once.

    Args:
        error: the error that a wait for this process raises after its end.
    """

    def __init__(self, error: type[LifeEndedError] = LifeEndedError) -> None:
        self._error = error
        self.ended = False

    def check(self) -> None:
        """Raise the error of this life if it has ended."""
        if self.ended:
            raise self._error


class Waits:
    """One condition for all threads of the emulator; each change of its state notifies them all.

    Args:
        clock: its ``monotonic`` gives the time.
    """

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.changed = threading.Condition()

    def notify(self) -> None:
        with self.changed:
            self.changed.notify_all()

    def end(self, life: Life) -> None:
        """End a life: each wait for it raises from now on."""
        with self.changed:
            life.ended = True
            self.changed.notify_all()

    def until(self, *lives: Life, ready: Callable[[], object] | None = None, due: float | None = None) -> bool:
        """Wait until ``ready`` is true; return False if ``due`` comes first, in seconds of the clock's ``monotonic``.

        Raises:
            LifeEndedError: one of the lives ended.
        """
        with self.changed:
            while True:
                for life in lives:
                    life.check()
                if ready is not None and ready():
                    return True
                if due is not None and self.clock.monotonic() >= due:
                    return False
                self.clock.wait_until(self.changed, due)

    def pause(self, seconds: float, *lives: Life) -> None:
        """Wait for a time.

        Raises:
            LifeEndedError: one of the lives ended.
        """
        self.until(*lives, due=self.clock.monotonic() + seconds)
