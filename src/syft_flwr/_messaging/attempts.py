"""Decides which own objects are written again as a later attempt, and how many at a time.

A sync service gives up a file after some failed transfers. The same bytes under another name are a new file to it. A link
that is too slow for several files at a time can be fast enough for one. So the first attempt is alone, and each attempt
that arrives allows one more at a time.

A peer can name objects as missing that it has. So each peer has a schedule of its own: how many of its objects are written
at a time, and its pause after attempts that did not arrive. The peers share only a bound on the attempts that begin within
some seconds, in which they take turns. An attempt for one peer counts for each other peer that misses the same object.
"""

import math
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

from syft_flwr.clock import Clock
from syft_flwr.names import MAX_ATTEMPTS

#: Seconds without an arrival after which the sync service has given up a file: it tries three times, each time for 30 s.
GIVEN_UP_AFTER = 120.0
#: The most attempts under way at a time for one peer.
_MOST_AT_ONCE = 4
#: The most attempts for all peers that begin within the seconds of one try, and have not arrived.
_MOST_BEGUN = 4
_ONE_TRY = 30.0
#: The pause of a peer doubles this often, at most.
_MOST_DOUBLINGS = 6


@dataclass(slots=True)
class _Latest:
    """The latest attempt of one object: the peer that misses it, its number, its monotonic time, and if it may still arrive."""

    peer: str
    number: int
    written: float
    under_way: bool = True


@dataclass(slots=True)
class _OfPeer:
    """The attempts for one peer."""

    at_once: int = 1
    most: int = _MOST_AT_ONCE
    #: The attempts that did not arrive since the last one that did. Those of one moment count once.
    failed: int = 0
    #: The monotonic time of the next attempt, at the earliest.
    next: float = -math.inf
    #: The number of its last turn.
    turn: int = 0

    def note_arrived(self) -> None:
        self.at_once = min(self.at_once + 1, self.most)
        self.failed, self.next = 0, -math.inf

    def note_failed(self, now: float) -> None:
        self.most, self.at_once = max(1, self.at_once // 2), 1
        self.failed += 1
        # The first failure costs no pause: the link may be too slow for more than one file at a time.
        self.next = now + GIVEN_UP_AFTER * (2 ** min(self.failed - 1, _MOST_DOUBLINGS) - 1)


class Attempts:
    """The later attempts of this participant's objects, by object id. Used by one thread."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._latest: dict[str, _Latest] = {}
        self._peers: dict[str, _OfPeer] = {}
        self._turns = 0

    @property
    def objects(self) -> Collection[str]:
        """Return the ids of the missing objects that have a later attempt."""
        return self._latest.keys()

    def due(
        self, given_up: Mapping[str, Collection[str]], missing: Mapping[str, Collection[str]]
    ) -> Iterator[tuple[str, str]]:
        """Yield the objects that must be written again now, each with its peer. The caller calls :meth:`done` for each.

        Args:
            given_up: by peer, the objects that the sync service has given up.
            missing: by peer, the ids of all own objects that it misses.
        """
        self._settle(missing)
        while next_one := self._next(given_up, missing):
            yield next_one

    def _next(
        self, given_up: Mapping[str, Collection[str]], missing: Mapping[str, Collection[str]]
    ) -> tuple[str, str] | None:
        now = self._clock.monotonic()
        begun = sum(latest.under_way and now - latest.written < _ONE_TRY for latest in self._latest.values())
        if begun >= _MOST_BEGUN:
            return None
        for peer in sorted(given_up, key=lambda peer: self._of(peer).turn):
            schedule = self._of(peer)
            # The attempts for other peers count, too, if they can help this one.
            under_way = sum(object_id in missing[peer] for object_id, each in self._latest.items() if each.under_way)
            if now < schedule.next or under_way >= schedule.at_once:
                continue
            if object_id := next(filter(self._is_due, given_up[peer]), None):
                return peer, object_id
        return None

    def _of(self, peer: str) -> _OfPeer:
        return self._peers.setdefault(peer, _OfPeer())

    def done(self, peer: str, object_id: str) -> None:
        """Record a later attempt of an object for a peer. An attempt that could not be written counts, too."""
        number = self._latest[object_id].number + 1 if object_id in self._latest else 1
        self._latest[object_id] = _Latest(peer, number, self._clock.monotonic())
        self._turns += 1
        self._of(peer).turn = self._turns

    def _settle(self, missing: Mapping[str, Collection[str]]) -> None:
        """End the attempts that arrived and those that did not. After the latter, allow fewer at a time for their peer."""
        now = self._clock.monotonic()
        failed = set()
        for object_id, latest in self._latest.items():
            if latest.under_way and object_id not in missing.get(latest.peer, ()):
                latest.under_way = False
                self._of(latest.peer).note_arrived()
            elif latest.under_way and now - latest.written >= GIVEN_UP_AFTER:
                latest.under_way = False
                failed.add(latest.peer)
        for peer in failed:
            self._of(peer).note_failed(now)
        still = set().union(*missing.values())
        self._latest = {object_id: latest for object_id, latest in self._latest.items() if object_id in still}

    def _is_due(self, object_id: str) -> bool:
        latest = self._latest.get(object_id)
        if latest is None:
            return True
        pause = GIVEN_UP_AFTER * 2**latest.number
        now = self._clock.monotonic()
        return not latest.under_way and latest.number + 1 < MAX_ATTEMPTS and now - latest.written >= pause
