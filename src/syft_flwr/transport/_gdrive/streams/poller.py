"""A thread that polls: often while something is due or just came, rarely when nothing has come for long."""

import random
import threading
import traceback
from collections.abc import Callable

from loguru import logger

from syft_flwr.clock import Clock
from syft_flwr.errors import SyftFlwrError

#: Poll intervals until the others have seen a new file, if they poll rarely because nothing came for long.
DELAY = 5.0
#: Seconds without news after which the interval grows.
_PATIENCE = 60.0
#: The longest interval, in shortest ones.
_SLOWEST = 30.0
#: So that participants who were started together do not poll together for ever.
_JITTER = 0.2
#: Seconds between two lines in the log about the same trouble.
_SAY_AGAIN = 600.0


class Poller:
    """Calls ``poll`` until it is closed.

    Args:
        poll: asks for news; returns whether there was any.
        expects: whether an answer is due.
        shortest: seconds between two polls.
    """

    def __init__(
        self, name: str, poll: Callable[[], bool], expects: Callable[[], bool], shortest: float, clock: Clock
    ) -> None:
        self._poll = poll
        self._expects = expects
        self._shortest = shortest
        self._clock = clock
        self._changed = threading.Condition()
        self._started = False
        self._closed = False
        self._hurried = False
        self._done_once = threading.Event()
        self._said: dict[str, float] = {}
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    @property
    def started(self) -> bool:
        """Whether :meth:`start` was called."""
        return self._started

    def start(self) -> bool:
        """Start, and return when the first poll is over, whatever became of it; return False if it was started before."""
        with self._changed:
            if self._started:
                return False
            self._started = True
        self._thread.start()
        self._done_once.wait()
        return True

    def hurry(self) -> None:
        """Poll at the shortest interval again: something was written, and will be answered."""
        with self._changed:
            self._hurried = True
            self._changed.notify_all()

    def close(self) -> None:
        """End the thread after what it is doing."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        interval, last_news = self._shortest, self._clock.monotonic()
        while True:
            news = self._poll_once()
            self._done_once.set()
            now = self._clock.monotonic()
            with self._changed:
                if news or self._hurried:
                    last_news, self._hurried = now, False
                calm = not self._expects() and now - last_news > _PATIENCE
                interval = min(2 * interval, _SLOWEST * self._shortest) if calm else self._shortest
                due = now + interval * random.uniform(1 - _JITTER, 1)  # noqa: S311 - no secret
                while not self._closed and (now := self._clock.monotonic()) < due:
                    if self._hurried and interval > self._shortest:
                        interval, due = self._shortest, min(due, now + self._shortest)
                    self._clock.wait_until(self._changed, due)
                if self._closed:
                    return

    def _poll_once(self) -> bool:
        try:
            return self._poll()
        except Exception as error:  # noqa: BLE001 - the outermost loop of this thread, without which a run would wait for ever
            if not isinstance(error, SyftFlwrError):
                logger.error("{} met an error and goes on\n{}", self._thread.name, traceback.format_exc())
                return False
            now, text = self._clock.monotonic(), error.diagnose()
            if now >= self._said.get(text, now):
                self._said = {**self._said, text: now + _SAY_AGAIN} if len(self._said) < 100 else {}
                logger.error("Google Drive cannot be asked, and is asked again: {}", text)
            return False
