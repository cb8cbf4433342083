"""The uplink of one client: bytes per second, shared by all its connections."""

import threading

from syft_flwr.emulators.syftbox.faithful.lives import Life, Waits

_PIECE = 16 << 10


class TooSlowError(Exception):
    """The uplink needs longer for the bytes than the other side waits."""


class Uplink:
    """The link from one client to the server. It counts the bytes also when it has no limit.

    Attributes:
        rate: bytes per second; None for no limit. It may be changed at run time.
        sent: all bytes of frames and bodies that left the client.
    """

    def __init__(self, waits: Waits) -> None:
        self.rate: float | None = None
        self.sent = 0
        self._waits = waits
        self._lock = threading.Lock()
        self._free_at = 0.0
        self._senders = 0

    def send(self, size: int, limit: float, *lives: Life) -> None:
        """Wait as long as the uplink needs for ``size`` bytes.

        The time is computed, not measured: a busy machine does not make an uplink slower.

        Raises:
            TooSlowError: it needs more than ``limit`` seconds; this much of the time has passed then.
            LifeEndedError: one of the lives ended.
        """
        if self.rate is None:
            with self._lock:
                self.sent += size
            return
        with self._lock:
            began = self._begin()
            self._senders += 1
        try:
            while size > 0:
                piece = min(size, _PIECE)
                end = self._take(piece)
                self._waits.until(*lives, due=min(end, began + limit))
                if end > began + limit:
                    raise TooSlowError
                size -= piece
        finally:
            with self._lock:
                self._senders -= 1

    def _begin(self) -> float:
        # Pieces of senders that are at work follow each other without a gap, even if a thread wakes late.
        now = self._waits.clock.monotonic()
        if not self._senders:
            self._free_at = now
        return now

    def _take(self, piece: int) -> float:
        """Reserve the next place on the link, and return the time at which the piece is through."""
        with self._lock:
            self.sent += piece
            self._free_at += piece / self.rate if self.rate else 0.0
            return self._free_at
