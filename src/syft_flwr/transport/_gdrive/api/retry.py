"""Decides when a failed call is made again.

* Waits grow, 1, 2, 4 … up to ``CAP`` seconds; what the service says in Retry-After counts instead. A random part of a
  second is added to each, so that those who failed together do not come back together.
* A call ends when the next attempt would start after its time limit. Progress (bytes that arrived) starts the limit anew.
* An answer that says "too fast" holds back every call of the account, because the limits are the account's.
* ``close`` wakes whoever waits.
"""

import itertools
import random
import threading
from collections.abc import Callable
from typing import TypeVar

from loguru import logger

from syft_flwr.clock import Clock
from syft_flwr.errors import TransportError, UnavailableError
from syft_flwr.transport._gdrive.api.http import closed

READ_LIMIT = 60.0
WRITE_LIMIT = 300.0
CAP = 64.0

T = TypeVar("T")


class RetryableError(Exception):
    """An attempt failed in a way that a later one may not. Never leaves this package.

    Args:
        why: what went wrong, for the error that a person may see in the end.
        after: seconds that the service asks to wait.
        rate: the account was too fast, and nothing was done.
    """

    def __init__(self, why: str, *, after: float | None = None, rate: bool = False, hint: str = "") -> None:
        super().__init__(why)
        self.why, self.after, self.rate, self.hint = why, after, rate, hint


class Patience:
    """The attempts of one account's calls. Thread-safe."""

    def __init__(self, clock: Clock, jitter: Callable[[], float] = random.random) -> None:
        self._clock = clock
        self._jitter = jitter
        self._changed = threading.Condition()
        self._closed = False
        self._not_before = 0.0
        self._strikes = 0

    def run(
        self, what: str, limit: float, attempt: Callable[[float], T], *, progress: Callable[[], int] = lambda: 0
    ) -> T:
        """Call ``attempt`` with the time until which it may wait, until it returns or the limit is over.

        Raises:
            UnavailableError: the time is over.
        """
        deadline = self._clock.monotonic() + limit
        number = itertools.count()
        reached = progress()
        while True:
            self._wait_until(self._not_before, deadline, what, "the account is asked to slow down")
            try:
                result = attempt(deadline)
            except RetryableError as error:
                failure = error
            else:
                self._calm()
                return result
            if (now_reached := progress()) > reached:
                reached, number = now_reached, itertools.count()
                deadline = self._clock.monotonic() + limit
            start = self._next_start(failure, next(number))
            if start > deadline:
                raise _give_up(what, failure) from None
            logger.debug("Drive: {}: {}; again in {:.1f} s", what, failure.why, start - self._clock.monotonic())
            self._wait_until(start, deadline, what, failure.why)

    def pause_until(self, start: float) -> None:
        """Wait until ``start`` on the monotonic clock."""
        with self._changed:
            while not self._closed and self._clock.monotonic() < start:
                self._clock.wait_until(self._changed, start)
            if self._closed:
                raise closed()

    def close(self) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _wait_until(self, start: float, deadline: float, what: str, why: str) -> None:
        if start > deadline:
            raise _give_up(what, RetryableError(why, after=start - self._clock.monotonic()))
        self.pause_until(start)

    def _next_start(self, failure: RetryableError, number: int) -> float:
        now = self._clock.monotonic()
        with self._changed:
            # Calls that were under way together are told so together: that is one strike, not one for each.
            if failure.rate and now >= self._not_before:
                self._strikes += 1
            if failure.rate:
                number = max(number, self._strikes - 1)
            wait = failure.after or min(2.0 ** min(number, 16), CAP - 1)
            wait += self._jitter()
            if failure.rate:
                self._not_before = max(self._not_before, now + wait)
            return now + wait

    def _calm(self) -> None:
        with self._changed:
            if self._clock.monotonic() >= self._not_before:
                self._strikes = 0


def _give_up(what: str, failure: RetryableError) -> TransportError:
    asked = f"; it asks for a pause of {failure.after:.0f} s" if failure.after else ""
    hint = failure.hint or "Check the connection to the internet; otherwise try again later."
    return UnavailableError(f"Google Drive: {what}: {failure.why}{asked}", hint=hint)
