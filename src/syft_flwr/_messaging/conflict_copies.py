"""Deletes the conflict copies of the sync service in the folders of this participant and of its peers.

The sync service makes such a copy, on this machine only, if it met two files of one name.
"""

import math
from collections.abc import Sequence

from syft_flwr._messaging.wire.limits import MAX_LISTED, MAX_OBJECT_FILES
from syft_flwr.clock import Clock
from syft_flwr.errors import TransportError
from syft_flwr.log import logger
from syft_flwr.transport.base import Transport

#: Seconds between two searches in a folder with objects.
_SEARCH_INTERVAL = 10.0


class ConflictCopies:
    """The conflict copies in some folders. Used by one thread at a time.

    Args:
        transport: the transport of this participant.
        clock: the clock of this participant.
        small: folders to search in each scan.
        large: folders with objects; one of them at a time is searched, at intervals.
    """

    def __init__(self, transport: Transport, clock: Clock, small: Sequence[str], large: Sequence[str]) -> None:
        self._transport = transport
        self._clock = clock
        self._small = small
        self._large = large
        self._searched = -math.inf
        self._next = 0

    def delete_some(self) -> None:
        """Delete the copies in the small folders, and from time to time those in the next large one."""
        self._delete(self._small, MAX_LISTED)
        now = self._clock.monotonic()
        if self._large and now - self._searched >= _SEARCH_INTERVAL:
            self._searched = now
            self._delete([self._large[self._next]], MAX_OBJECT_FILES)
            self._next = (self._next + 1) % len(self._large)

    def delete_all(self) -> None:
        """Delete the copies in all folders, because no later scan of this process does it."""
        self._delete(self._small, MAX_LISTED)
        self._delete(self._large, MAX_OBJECT_FILES)

    def _delete(self, folders: Sequence[str], most: int) -> None:
        for folder in folders:
            try:
                self._transport.delete_conflicts(folder, most=most)
            except TransportError as error:
                logger.debug("the conflict copies in {} are deleted at a later scan: {}", folder, error)
