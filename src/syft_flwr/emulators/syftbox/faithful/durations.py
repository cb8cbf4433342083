"""The times of SyftBox in seconds, all scaled by one factor.

Sources: ``sync_engine.go``, ``file_watcher.go``, ``events.go``, ``events_socket.go`` and ``server.go``. Rates, sizes, the
debounce time and the delay of the store do not scale.
"""

from dataclasses import dataclass

#: Seconds from the end of one cycle to the start of the next, in the real client.
REAL_CYCLE = 5.0


@dataclass(frozen=True, slots=True)
class Durations:
    """The times after scaling.

    Attributes:
        factor: the scale; 1 is the real SyftBox, 0.04 has a cycle of 0.2 s.
    """

    factor: float

    @property
    def cycle(self) -> float:
        return REAL_CYCLE * self.factor

    @property
    def journaled(self) -> float:
        """Return the time from the queueing of a push to its entry in the sender's journal."""
        return 1.0 * self.factor

    @property
    def ignored(self) -> float:
        """Return the time in which the watcher ignores one event of a received file."""
        return 1.0 * self.factor

    @property
    def frame(self) -> float:
        """Return the longest time for writing a frame."""
        return 5.0 * self.factor

    @property
    def upload(self) -> float:
        """Return the longest time for the body of an upload."""
        return 30.0 * self.factor

    @property
    def reply(self) -> float:
        """Return the longest time until the server replies to an upload or a deletion."""
        return 60.0 * self.factor

    @property
    def download(self) -> float:
        return 120.0 * self.factor

    @property
    def put(self) -> float:
        """Return the longest time that the server tries to store a push: three attempts."""
        return 3 * 30.0 * self.factor

    @property
    def retry(self) -> float:
        """Return the pause before a call to the server is repeated."""
        return 1.0 * self.factor

    @property
    def index(self) -> float:
        """Return the time between two rebuilds of the index."""
        return 900.0 * self.factor

    def reconnect(self, attempt: int) -> float:
        """Return the pause before the attempt to connect again; the first one has the number 0."""
        return min(8.0, 2.0**attempt) * self.factor
