"""The two threads of a transport that polls: one asks Drive for news, the other deletes files and announces ids.

Without them, as in a command for people, the transport asks Drive at each call.
"""

from syft_flwr.clock import Clock
from syft_flwr.transport._gdrive.streams.mirror import Mirror
from syft_flwr.transport._gdrive.streams.outbox import Outbox
from syft_flwr.transport._gdrive.streams.own_streams import OwnStreams
from syft_flwr.transport._gdrive.streams.poll_targets import PollTargets
from syft_flwr.transport._gdrive.streams.poller import Poller

#: Polls in a poll interval while an answer is due. Two are awaited in a round, one on each side.
_POLLS = 3.0
#: Rounds of the tidier in a poll interval.
_TIDY = 2.0


class PollingThreads:
    """Thread-safe. ``interval``: the transport's poll interval in seconds."""

    def __init__(
        self, mirror: Mirror, targets: PollTargets, outbox: Outbox, streams: OwnStreams, interval: float, clock: Clock
    ) -> None:
        self._mirror = mirror
        self._targets = targets
        self._outbox = outbox
        self._streams = streams
        self._poller = Poller("drive-poller", self._poll, self._is_due, interval / _POLLS, clock)
        self._tidier = Poller("drive-tidier", self._tidy, lambda: False, interval / _TIDY, clock)

    @property
    def started(self) -> bool:
        """Whether the threads run: the catalogue is up to date without asking Drive."""
        return self._poller.started

    def start(self) -> None:
        """Start, and return when the first poll is over; a second call does nothing."""
        if self._poller.start():
            self._tidier.start()

    def expect_answer(self) -> None:
        """Poll at the shortest interval again: something was written, and will be answered."""
        self._poller.hurry()

    def tidy_soon(self) -> None:
        """Tidy at the shortest interval again: files wait to be deleted."""
        self._tidier.hurry()

    def close(self) -> None:
        """End the threads after their present call."""
        self._poller.close()
        self._tidier.close()

    def _poll(self) -> bool:
        self._mirror.load()
        return self._mirror.poll()

    def _is_due(self) -> bool:
        return bool(self._targets.missed)

    def _tidy(self) -> bool:
        self._outbox.flush()
        self._streams.upkeep()
        return False
