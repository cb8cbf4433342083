"""A function of the user that gets each event, in a thread of its own: it can neither stop nor slow down the run."""

import threading
import traceback
from collections.abc import Callable
from contextlib import suppress
from queue import Empty, SimpleQueue

from syft_flwr.errors import ConfigError
from syft_flwr.log import logger
from syft_flwr.runs.entry import RecordEntry
from syft_flwr.runs.events import LoggedWarning

#: Called with each entry of the record, one at a time, in order.
OnEvent = Callable[[RecordEntry], None]

#: Entries that wait for a slow subscriber; later ones are lost for it.
_MAX_QUEUED = 10_000
#: A warning waits only in the first half of the queue.
_WARNING = LoggedWarning.name


class Subscriber:
    """Calls ``on_event`` for each entry. Counts the entries that it did not get, or for which it raised an exception."""

    def __init__(self, on_event: OnEvent) -> None:
        if not callable(on_event):
            raise ConfigError(f"on_event: {on_event!r} is not a function", hint="Pass a function with one parameter.")
        self._on_event = on_event
        self._queue: SimpleQueue[RecordEntry | threading.Event | None] = SimpleQueue()
        self._skipped = 0
        self._raised = 0
        self._calling = False
        self._thread = threading.Thread(target=self._run, name="run-subscriber", daemon=True)
        self._thread.start()

    @property
    def lost(self) -> int:
        """Return the number of lost entries so far."""
        return self._skipped + self._raised

    def is_calling(self) -> bool:
        """Return whether this code runs inside a call of ``on_event``."""
        return self._calling and threading.current_thread() is self._thread

    def offer(self, entry: RecordEntry) -> None:
        """Queue an entry, or count it as lost if the queue is full. Called by one thread only."""
        if self._queue.qsize() >= (_MAX_QUEUED // 2 if entry.event == _WARNING else _MAX_QUEUED):
            self._skipped += 1
        else:
            self._queue.put(entry)

    def drain(self, seconds: float) -> None:
        """Wait until the subscriber got all queued entries, at most for ``seconds``. The others count as lost then."""
        done = threading.Event()
        self._queue.put(done)
        if not done.wait(seconds):
            self._skipped += self._discard()

    def close(self, seconds: float) -> None:
        """End the thread after the queued entries; a blocked one is left behind after ``seconds``."""
        self._queue.put(None)
        self._thread.join(seconds)

    def _discard(self) -> int:
        # The entry in the blocked call is lost, too.
        count = 1
        # Not if the queue is empty after a check: a slow call may end meanwhile, and take the last item.
        with suppress(Empty):
            while True:
                count += isinstance(self._queue.get_nowait(), RecordEntry)
        return count

    def _run(self) -> None:
        while (item := self._queue.get()) is not None:
            if isinstance(item, threading.Event):
                item.set()
                continue
            self._calling = True
            try:
                self._on_event(item)
            except BaseException as error:  # noqa: BLE001 - it is the user's code, and exit() must not end this thread
                self._calling = False
                self._raised += 1
                if self._raised == 1:
                    text = "on_event raised {} for the event {}; the run continues, and further exceptions are only counted:\n{}"
                    logger.warning(text, type(error).__name__, item.event, traceback.format_exc())
            finally:
                self._calling = False
