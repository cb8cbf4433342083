"""Decides which own objects are written again as a later attempt, and how many at a time.

A sync service gives up a file after some failed transfers. The same bytes under another name are a new file to it. A link
that is too slow for several files at a time can be fast enough for one. So the first attempt is alone, and each attempt
that arrives allows one more at a time.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from syft_flwr.clock import Clock
from syft_flwr.names import MAX_ATTEMPTS

#: Seconds without an arrival after which the sync service has given up a file: it tries three times, each time for 30 s.
GIVEN_UP_AFTER = 120.0
#: The most attempts under way at a time.
_MOST_AT_ONCE = 4


@dataclass(slots=True)
class _Latest:
    """The latest attempt of one object: its number, its monotonic time, and whether it may still arrive."""

    number: int
    written: float
    under_way: bool = True


class Attempts:
    """The later attempts of this participant's objects, by object id. Used by one thread."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._latest: dict[str, _Latest] = {}
        self._most = _MOST_AT_ONCE
        self._at_once = 1

    @property
    def objects(self) -> Collection[str]:
        """Return the ids of the missing objects that have a later attempt."""
        return self._latest.keys()

    def due(self, given_up: Iterable[str], missing: Collection[str]) -> list[str]:
        """Return the objects of ``given_up`` that must be written again now.

        ``missing`` has the ids of all own objects that a peer misses. An attempt of any other object has arrived.
        """
        for object_id in [object_id for object_id in self._latest if object_id not in missing]:
            del self._latest[object_id]
            self._at_once = min(self._at_once + 1, self._most)
        self._settle_failed()
        room = self._at_once - sum(latest.under_way for latest in self._latest.values())
        return [object_id for object_id in given_up if self._is_due(object_id)][: max(0, room)]

    def done(self, object_id: str) -> None:
        """Record a later attempt of an object. An attempt that could not be written counts, too."""
        number = self._latest[object_id].number + 1 if object_id in self._latest else 1
        self._latest[object_id] = _Latest(number, self._clock.monotonic())

    def _settle_failed(self) -> None:
        """Allow fewer attempts at a time if one did not arrive."""
        now = self._clock.monotonic()
        failed = [
            latest for latest in self._latest.values() if latest.under_way and now - latest.written >= GIVEN_UP_AFTER
        ]
        for latest in failed:
            latest.under_way = False
        if failed:
            self._most, self._at_once = max(1, self._at_once // 2), 1

    def _is_due(self, object_id: str) -> bool:
        latest = self._latest.get(object_id)
        if latest is None:
            return True
        pause = GIVEN_UP_AFTER * 2**latest.number
        now = self._clock.monotonic()
        return not latest.under_way and latest.number + 1 < MAX_ATTEMPTS and now - latest.written >= pause
