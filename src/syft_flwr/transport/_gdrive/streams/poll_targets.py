"""The peers to poll: those with a recently missed file or a recent listing.

A poll asks for no other peers. A target lasts a little longer than the time until its caller looks again.
"""

import threading
from collections.abc import Iterable

from syft_flwr.clock import Clock
from syft_flwr.names import writer_of


class PollTargets:
    """The targets of the next polls. Thread-safe.

    Args:
        lasts: seconds after which a target expires if it is not added again.
    """

    def __init__(self, clock: Clock, lasts: float) -> None:
        self._clock = clock
        self._lasts = lasts
        self._lock = threading.Lock()
        self._missed: dict[str, float] = {}
        self._listed: dict[str, float] = {}

    def miss(self, name: str, *, went: bool) -> None:
        """Add the writer of a file that was not found.

        ``went``: the file was deleted. It can be written again, but it is not due.
        """
        writer = writer_of(name)
        if went:
            self.listing({writer})
            return
        with self._lock:
            self._missed[writer] = self._clock.monotonic()

    def listing(self, writers: Iterable[str]) -> None:
        """Add writers; the next polls ask for their new files."""
        with self._lock:
            self._listed.update(dict.fromkeys(writers, self._clock.monotonic()))

    def met(self, writers: Iterable[str]) -> None:
        """Remove the missed files of these writers after new files arrived. A caller that misses more adds it again."""
        with self._lock:
            for writer in writers:
                self._missed.pop(writer, None)

    @property
    def missed(self) -> set[str]:
        """Return the writers of missed files, which are due."""
        return self._fresh(self._missed)

    @property
    def listed(self) -> set[str]:
        """Return the writers that can write a file at any time."""
        return self._fresh(self._listed)

    def _fresh(self, noted: dict[str, float]) -> set[str]:
        oldest = self._clock.monotonic() - self._lasts
        with self._lock:
            for writer in [writer for writer, at in noted.items() if at < oldest]:
                del noted[writer]
            return set(noted)
