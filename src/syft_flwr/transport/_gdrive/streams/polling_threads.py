"""The two threads of the Drive transport: one polls Drive for news, the other deletes files and announces ids.

In a short command they do not run. The transport then asks Drive at each call.
"""

from syft_flwr.clock import Clock
from syft_flwr.transport._gdrive.streams.mirror import Mirror
from syft_flwr.transport._gdrive.streams.outbox import Outbox
from syft_flwr.transport._gdrive.streams.own_streams import OwnStreams
from syft_flwr.transport._gdrive.streams.poll_targets import PollTargets
from syft_flwr.transport._gdrive.streams.poller import Poller

#: Polls in one poll interval while a file is due. A round waits for two polls: of the data owner, and of the aggregator.
_POLLS = 3.0
#: Runs of the tidier in one poll interval.
_TIDY = 2.0


class PollingThreads:
    """The poller and the tidier. Thread-safe.

    Args:
        interval: the transport's poll interval in seconds.
    """

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
        """Return whether the threads run. Then the catalogue is up to date, and calls need not ask Drive."""
        return self._poller.started

    def start(self) -> None:
        """Start the threads, and wait until the first poll is over; a second call does nothing."""
        if self._poller.start():
            self._tidier.start()

    def expect_answer(self) -> None:
        """Poll at the shortest interval again, because this process wrote a file and expects a reply."""
        self._poller.hurry()

    def tidy_soon(self) -> None:
        """Run the tidier at its shortest interval again, because files wait for their deletion."""
        self._tidier.hurry()

    def close(self) -> None:
        """End the threads after their running call."""
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
