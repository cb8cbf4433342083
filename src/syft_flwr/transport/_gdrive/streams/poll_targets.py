"""Which peers to poll: those with a recent miss or a recent listing.

A poll asks for no more than that. A target lasts a little longer than the interval at which its caller looks again.
"""

import threading
from collections.abc import Iterable

from syft_flwr.clock import Clock
from syft_flwr.names import writer_of


class PollTargets:
    """Thread-safe. ``lasts``: seconds after which a target that is not noted again is dropped."""

    def __init__(self, clock: Clock, lasts: float) -> None:
        self._clock = clock
        self._lasts = lasts
        self._lock = threading.Lock()
        self._missed: dict[str, float] = {}
        self._listed: dict[str, float] = {}

    def miss(self, name: str, *, went: bool) -> None:
        """Note that a file was looked for in vain. One that ``went`` may be written again, but no answer is due."""
        writer = writer_of(name)
        if went:
            self.listing({writer})
            return
        with self._lock:
            self._missed[writer] = self._clock.monotonic()

    def listing(self, writers: Iterable[str]) -> None:
        """Say that somebody wants to know of new files of these writers."""
        with self._lock:
            self._listed.update(dict.fromkeys(writers, self._clock.monotonic()))

    def met(self, writers: Iterable[str]) -> None:
        """Say that there is news of these; whoever misses more will say so."""
        with self._lock:
            for writer in writers:
                self._missed.pop(writer, None)

    @property
    def missed(self) -> set[str]:
        """Writers of whom an answer is due."""
        return self._fresh(self._missed)

    @property
    def listed(self) -> set[str]:
        """Writers of whom something may come at any time."""
        return self._fresh(self._listed)

    def _fresh(self, noted: dict[str, float]) -> set[str]:
        oldest = self._clock.monotonic() - self._lasts
        with self._lock:
            for writer in [writer for writer, at in noted.items() if at < oldest]:
                del noted[writer]
            return set(noted)
