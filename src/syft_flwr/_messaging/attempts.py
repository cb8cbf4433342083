"""Decides which own objects are written again as a later attempt, and how many at a time.

A sync service gives up a file after some failed transfers. The same bytes under another name are a new file to it. A link
that is too slow for several files at a time can be fast enough for one. So the first attempt is alone, and each attempt
that arrives allows one more at a time.

A peer can name objects as missing that it has. So a peer with failed attempts lets each waiting peer with fewer ones go first.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from syft_flwr._messaging.wire.limits import HEARTBEAT_INTERVAL
from syft_flwr.clock import Clock
from syft_flwr.names import MAX_ATTEMPTS

#: Seconds without an arrival after which the sync service has given up a file: it tries three times, each time for 30 s.
GIVEN_UP_AFTER = 120.0
#: The most attempts under way at a time.
_MOST_AT_ONCE = 4
#: Seconds for which a peer counts as waiting after it named objects that were given up.
_STILL_WAITS = 2 * HEARTBEAT_INTERVAL


@dataclass(slots=True)
class _Latest:
    """The latest attempt of one object: the peer that misses it, its number, its monotonic time, and if it may still arrive."""

    peer: str
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
        #: By peer, the attempts that did not arrive since the last one that did.
        self._failed: Counter[str] = Counter()
        #: By peer, the monotonic time at which it last named objects that are due.
        self._waiting: dict[str, float] = {}

    @property
    def objects(self) -> Collection[str]:
        """Return the ids of the missing objects that have a later attempt."""
        return self._latest.keys()

    def due(self, peer: str, given_up: Iterable[str], missing: Mapping[str, Collection[str]]) -> list[str]:
        """Return the objects of ``given_up`` that must be written again now, for a peer.

        ``missing`` has the ids of all own objects that each peer misses.
        """
        self._settle(missing)
        wanted = [object_id for object_id in given_up if self._is_due(object_id)]
        if not wanted:
            self._waiting.pop(peer, None)
            return []
        self._waiting[peer] = now = self._clock.monotonic()
        waiting = [other for other, since in self._waiting.items() if now - since <= _STILL_WAITS]
        if self._failed[peer] > min(self._failed[other] for other in waiting):
            return []
        room = self._at_once - sum(latest.under_way for latest in self._latest.values())
        return wanted[: max(0, room)]

    def done(self, peer: str, object_id: str) -> None:
        """Record a later attempt of an object for a peer. An attempt that could not be written counts, too."""
        number = self._latest[object_id].number + 1 if object_id in self._latest else 1
        self._latest[object_id] = _Latest(peer, number, self._clock.monotonic())

    def _settle(self, missing: Mapping[str, Collection[str]]) -> None:
        """End the attempts that arrived and those that did not. After the latter, allow fewer at a time."""
        now = self._clock.monotonic()
        failed = False
        for object_id, latest in self._latest.items():
            if latest.under_way and object_id not in missing.get(latest.peer, ()):
                latest.under_way = False
                self._at_once = min(self._at_once + 1, self._most)
                del self._failed[latest.peer]
            elif latest.under_way and now - latest.written >= GIVEN_UP_AFTER:
                latest.under_way = False
                self._failed[latest.peer] += 1
                failed = True
        if failed:
            self._most, self._at_once = max(1, self._at_once // 2), 1
        still = set().union(*missing.values())
        self._latest = {object_id: latest for object_id, latest in self._latest.items() if object_id in still}

    def _is_due(self, object_id: str) -> bool:
        latest = self._latest.get(object_id)
        if latest is None:
            return True
        pause = GIVEN_UP_AFTER * 2**latest.number
        now = self._clock.monotonic()
        return not latest.under_way and latest.number + 1 < MAX_ATTEMPTS and now - latest.written >= pause
