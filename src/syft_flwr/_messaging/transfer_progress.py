"""Emits the progress of transfers: at most once a second for a message, and only if its numbers have changed."""

from collections import OrderedDict
from collections.abc import Callable

from syft_flwr.clock import Clock
from syft_flwr.runs.events import RequestProgress
from syft_flwr.runs.stream import Emit

#: Minimum seconds between two events about one message. The event that all has arrived does not wait.
PROGRESS_EVERY = 1.0
#: Messages that are remembered, the latest ones.
_MOST_KNOWN = 1_000


class RequestProgresses:
    """The progress of the requests on their way to data owners. Used by one thread."""

    def __init__(self, clock: Clock, on_event: Emit) -> None:
        self._clock = clock
        self._on_event = on_event
        #: By message: the number of arrived objects in the last event, whether those are all, and its monotonic time.
        self._told: OrderedDict[str, tuple[int, bool, float]] = OrderedDict()

    def is_open(self, message: str) -> bool:
        """Return whether the last event told that a part of the message is missing."""
        told = self._told.get(message)
        return told is not None and not told[1]

    def note(self, run: int, progress: RequestProgress, bytes_of: Callable[[], tuple[int, int]]) -> None:
        """Emit the progress of a request, if its numbers have changed and the last event is old enough.

        Args:
            run: the run of the request.
            progress: the event without its bytes.
            bytes_of: returns the bytes that have arrived, and all bytes. It is only called for an event.
        """
        arrived, is_all, now = progress.arrived, progress.arrived >= progress.total, self._clock.monotonic()
        if told := self._told.get(progress.message):
            if told[:2] == (arrived, is_all) or (now - told[2] < PROGRESS_EVERY and not is_all):
                return
        elif is_all:
            # It arrived at once, and needs no event.
            return
        self._told[progress.message] = arrived, is_all, now
        self._told.move_to_end(progress.message)
        if len(self._told) > _MOST_KNOWN:
            self._told.popitem(last=False)
        done, total = bytes_of()
        names = progress.message, progress.data_owner, arrived, progress.total
        self._on_event(run, RequestProgress(*names, bytes=done, total_bytes=total))
