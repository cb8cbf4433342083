"""Runs a poll function in a thread, at intervals that adapt.

It polls often while a file is due or has just arrived, and rarely after a long time without news.
"""

import random
import threading
import traceback
from collections.abc import Callable
from functools import partial

from syft_flwr.clock import Clock
from syft_flwr.errors import SyftFlwrError
from syft_flwr.first_call import FirstCall
from syft_flwr.log import logger

#: Poll intervals until all peers have seen a new file, if they poll rarely because they had no news for long.
DELAY = 5.0
#: Seconds without news after which the interval grows.
_PATIENCE = 60.0
#: The longest interval, as a multiple of the shortest one.
_SLOWEST = 30.0
#: The random part of an interval, so that participants that start together do not always poll together.
_JITTER = 0.2
#: Seconds between two log lines about the same error.
_SAY_AGAIN = 600.0


class Poller:
    """Calls ``poll`` until it is closed.

    Args:
        name: the name of the thread.
        poll: asks for news; returns whether it found any.
        expects: returns whether a file is due.
        shortest: the shortest time in seconds between two polls.
    """

    def __init__(
        self, name: str, poll: Callable[[], bool], expects: Callable[[], bool], shortest: float, clock: Clock
    ) -> None:
        self._poll = poll
        self._expects = expects
        self._shortest = shortest
        self._clock = clock
        # Not the global numbers: the app may have seeded them, and counts on each one.
        self._random = random.Random()  # noqa: S311 - no secret
        self._changed = threading.Condition()
        self._started = False
        self._closed = False
        self._hurried = False
        self._first = FirstCall("the first poll")
        self._said: dict[str, float] = {}
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    @property
    def started(self) -> bool:
        """Return whether :meth:`start` was called."""
        return self._started

    def start(self) -> bool:
        """Start the thread, and wait until the first poll has succeeded or failed; return False if it was started before.

        Raises:
            TransportError: the thread ended in the first poll.
        """
        with self._changed:
            if self._started:
                return False
            self._started = True
        self._first.start(self._thread)
        return True

    def hurry(self) -> None:
        """Poll at the shortest interval again, because this process wrote a file and expects a reply."""
        with self._changed:
            self._hurried = True
            self._changed.notify_all()

    def close(self) -> None:
        """End the thread after its running poll."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        self._first.run(self._poll_once, partial(self._poll_until_closed, self._clock.monotonic()))

    def _poll_until_closed(self, last_news: float, news: bool) -> None:
        """Poll again and again. ``news`` is the result of the first poll."""
        interval = self._shortest
        while True:
            now = self._clock.monotonic()
            with self._changed:
                if news or self._hurried:
                    last_news, self._hurried = now, False
                calm = not self._expects() and now - last_news > _PATIENCE
                interval = min(2 * interval, _SLOWEST * self._shortest) if calm else self._shortest
                due = now + interval * self._random.uniform(1 - _JITTER, 1)
                while not self._closed and (now := self._clock.monotonic()) < due:
                    if self._hurried and interval > self._shortest:
                        interval, due = self._shortest, min(due, now + self._shortest)
                    self._clock.wait_until(self._changed, due)
                if self._closed:
                    return
            news = self._poll_once()

    def _poll_once(self) -> bool:
        try:
            return self._poll()
        except Exception as error:  # noqa: BLE001 - outermost loop of this thread; a run would wait without end if it stopped
            if not isinstance(error, SyftFlwrError):
                text = "the thread {} met an error and continues; report this as a bug\n{}"
                logger.error(text, self._thread.name, traceback.format_exc())
                return False
            now, text = self._clock.monotonic(), error.diagnose()
            if now >= self._said.get(text, now):
                self._said = {**self._said, text: now + _SAY_AGAIN} if len(self._said) < 100 else {}
                logger.error("a call to Google Drive failed; retrying at the next poll: {}", text)
            return False
