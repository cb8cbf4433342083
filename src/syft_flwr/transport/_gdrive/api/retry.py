"""Decides when a failed call is repeated.

* The wait doubles after each attempt: 1, 2, 4 … up to ``CAP`` seconds. A Retry-After header replaces it. A random part of
  a second is added, so that calls that failed together are not repeated together.
* With a time-out of more than a minute, the time limits grow in proportion: a slow link must not lose its second attempt.
* A call fails when the next attempt would start after its time limit. Progress, such as received bytes, restarts the limit.
* A response of "too many requests" delays every call of the account, because Google's limits apply to the account.
* ``close`` ends all waits.
"""

import itertools
import random
import threading
from collections.abc import Callable
from typing import TypeVar

from syft_flwr.clock import Clock
from syft_flwr.errors import TransportError, UnavailableError
from syft_flwr.log import logger
from syft_flwr.transport._gdrive.api.http import closed

READ_LIMIT = 60.0
WRITE_LIMIT = 300.0
CAP = 64.0

T = TypeVar("T")


class RetryableError(Exception):
    """An attempt failed temporarily, so a later attempt may succeed. It is raised only within this package.

    Args:
        why: the reason, for the error that a person sees if all attempts fail.
        after: seconds to wait, if the service asks for that.
        rate: the account sent too many requests, and Google did not execute this one.
        hint: the hint of that error.
    """

    def __init__(self, why: str, *, after: float | None = None, rate: bool = False, hint: str = "") -> None:
        super().__init__(why)
        self.why, self.after, self.rate, self.hint = why, after, rate, hint


class Patience:
    """Repeats the failed calls of one account, whose requests have this time-out. Thread-safe."""

    def __init__(self, clock: Clock, jitter: Callable[[], float] | None = None, *, timeout: float = READ_LIMIT) -> None:
        self._clock = clock
        self._stretch = max(1.0, timeout / READ_LIMIT)
        # Not the global numbers: the app may have seeded them, and counts on each one.
        self._jitter = jitter or random.Random().random  # noqa: S311 - no secret
        self._changed = threading.Condition()
        self._closed = False
        self._not_before = 0.0
        self._strikes = 0

    def run(
        self, what: str, limit: float, attempt: Callable[[float], T], *, progress: Callable[[], int] = lambda: 0
    ) -> T:
        """Call ``attempt`` until it does not raise a RetryableError; return its result.

        Args:
            what: a name of the call, for messages.
            limit: seconds without progress after which the call is given up.
            attempt: receives the deadline, on the monotonic clock.
            progress: returns a number that grows with the progress of the call.

        Raises:
            UnavailableError: the time limit is over.
        """
        limit *= self._stretch
        deadline = self._clock.monotonic() + limit
        number = itertools.count()
        reached = progress()
        while True:
            self._wait_until(self._not_before, deadline, what, "Google asks this account to slow down")
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
            logger.debug("Drive: {}: {}; retrying in {:.1f} s", what, failure.why, start - self._clock.monotonic())
            self._wait_until(start, deadline, what, failure.why)

    def pause_until(self, start: float) -> None:
        """Wait until ``start`` on the monotonic clock.

        Raises:
            TransportError: the client was closed.
        """
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
            # Calls that ran at the same time get this response together; they count as one strike.
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
    asked = f"; Google asks for a pause of {failure.after:.0f} s" if failure.after else ""
    hint = failure.hint or "Check the connection to the internet. If it works, try again later."
    return UnavailableError(f"Google Drive: {what}: {failure.why}{asked}", hint=hint)
