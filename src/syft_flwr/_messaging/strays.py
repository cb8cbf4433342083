"""Deletes own files that came back after their deletion, and the conflict copies of the sync service.

A late upload or download of the sync service can bring back a file that its writer deleted. So the writer remembers the
names that it deleted, and looks for them in each scan.
"""

import math
import threading
from collections import OrderedDict
from collections.abc import Collection, Iterable, Sequence

from loguru import logger

from syft_flwr._messaging.own_files import discard
from syft_flwr.clock import Clock
from syft_flwr.errors import TransportError
from syft_flwr.transport.base import Transport

#: The most names to remember; the oldest ones are forgotten first.
_MOST_NAMES = 4_096
#: Seconds between two searches in a large folder.
_SEARCH_INTERVAL = 10.0


class Strays:
    """The names that this process deleted. Thread-safe."""

    def __init__(self, transport: Transport, clock: Clock) -> None:
        self._transport = transport
        self._clock = clock
        self._lock = threading.Lock()
        self._deleted: OrderedDict[str, None] = OrderedDict()
        self._searched = -math.inf
        self._next = -1

    def discard(self, name: str) -> None:
        """Delete an own file, and remember that it must not be there any more."""
        with self._lock:
            self._deleted[name] = None
            while len(self._deleted) > _MOST_NAMES:
                self._deleted.popitem(last=False)
        discard(self._transport, name)

    def discard_again(self, names: Iterable[str]) -> None:
        """Delete those of ``names``, which exist, that were deleted before."""
        for name in names:
            with self._lock:
                was_deleted = name in self._deleted
            if was_deleted:
                discard(self._transport, name)

    def delete_conflicts(self, small: Collection[str], large: Sequence[str]) -> None:
        """Delete the conflict copies in some folders.

        Args:
            small: the folders to search now.
            large: folders with many subfolders; one of them at a time is searched, at intervals.
        """
        for folder in small:
            self._delete_conflicts(folder)
        now = self._clock.monotonic()
        if large and now - self._searched >= _SEARCH_INTERVAL:
            self._searched = now
            self._next = (self._next + 1) % len(large)
            self._delete_conflicts(large[self._next])

    def _delete_conflicts(self, folder: str) -> None:
        try:
            self._transport.delete_conflicts(folder)
        except TransportError as error:
            logger.debug("the conflict copies in {} are deleted at a later scan: {}", folder, error)
