"""Follows the transfers of objects between this participant and its peers, and reports those without progress.

* A transfer has one direction. The objects of a peer that have not arrived here are known from the envelopes that name
  them. The objects of this participant that have not arrived at a peer are in the heartbeats of that peer.
* A transfer makes progress when one of its missing objects is no longer missing.
* If a sync service gave up an object, this module has it written again under the name of a later attempt.
"""

import math
from collections.abc import Callable, Collection, Iterable, Mapping
from datetime import datetime
from functools import partial
from itertools import chain, zip_longest

from syft_flwr._messaging.attempts import GIVEN_UP_AFTER, Attempts
from syft_flwr._messaging.wire.limits import HEARTBEAT_INTERVAL, MAX_MISSING
from syft_flwr.clock import Clock
from syft_flwr.errors import SyftFlwrError
from syft_flwr.log import logger
from syft_flwr.names import AppNames

#: Bytes per second of the slowest link that counts as one that works: 1 Mbit/s.
SLOWEST_LINK = 125_000
#: Seconds without progress after which a warning is logged.
_WARN_AFTER = 60.0
#: Seconds between two warnings of one transfer that still makes no progress.
_WARN_AGAIN = 600.0
#: Seconds after which a missing object is named in the heartbeat. Most objects arrive sooner.
_NAME_AFTER = 5.0
#: Seconds for which a heartbeat tells which objects are missing.
_STILL_MISSING = 2 * HEARTBEAT_INTERVAL

_THEIRS = (
    "no object of {peer} has arrived since {since:%Y-%m-%d %H:%M:%S} UTC; missing objects: {count} ({size}), the first "
    "one is {name}. Check the network and the sync service of both participants."
)
_OURS = (
    "our upload to {peer} has made no progress since {since:%Y-%m-%d %H:%M:%S} UTC; missing objects: {count} ({size}), "
    "the first one is {name}. Check the uplink of this machine, its sync service, and that {peer} runs syft-flwr."
)

#: Writes an own object again as a later attempt. Returns the name of the file, an empty string if there is no further
#: attempt, or None to be called again at the next heartbeat.
PutAgain = Callable[[str], str | None]


class ObjectTransfer:
    """The missing objects of one direction between two participants. Used by one thread."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        #: For each missing object, by id: its bytes, and the monotonic time at which it was first missing.
        self._missing: dict[str, tuple[int, float]] = {}
        #: The time of the last progress, or of the start if no object has arrived.
        self._moved_at: datetime = clock.now()
        self._moved = self._moved_unaided = self._checked = clock.monotonic()
        self._warned = -math.inf
        self._hidden = 1.0

    def update(self, sizes: Mapping[str, int], *, aided: Collection[str] = (), hidden: float = 1.0) -> None:
        """Note the objects that are missing now.

        Args:
            sizes: the ids of the missing objects that are known here, with their bytes.
            aided: the ids of objects with a later attempt. Their arrival does not show that first attempts arrive.
            hidden: the number of objects for each one that is known here; at least 1. The progress of the others is not
                seen, so progress can be that many times slower.
        """
        now = self._clock.monotonic()
        arrived = self._missing.keys() - sizes.keys()
        if arrived or not self._missing:
            self._moved, self._moved_at, self._warned = now, self._clock.now(), -math.inf
        if not self._missing or any(object_id not in aided for object_id in arrived):
            self._moved_unaided = now
        known = self._missing
        self._missing = {i: (size, known[i][1] if i in known else now) for i, size in sizes.items()}
        self._checked, self._hidden = now, hidden

    @property
    def missing(self) -> Collection[str]:
        """Return the ids of the missing objects."""
        return self._missing.keys()

    @property
    def given_up(self) -> bool:
        """Return whether the sync service seems to have given up the objects that it has not transferred."""
        return self._checked - self._moved_unaided >= GIVEN_UP_AFTER * self._hidden

    @property
    def is_current(self) -> bool:
        """Return whether the peer told lately which objects are missing."""
        return self._clock.monotonic() - self._checked <= _STILL_MISSING

    def moved_within(self, seconds: float) -> bool:
        """Return whether objects are missing and the last progress was at most ``seconds`` ago."""
        return bool(self._missing) and self._clock.monotonic() - self._moved <= seconds

    def longest_missing(self) -> list[str]:
        """Return the objects that are missing for some seconds, the longest first."""
        by_time = sorted(self._missing.items(), key=lambda item: item[1][1])
        return [object_id for object_id, (_, since) in by_time if self._checked - since >= _NAME_AFTER]

    def warn(self, text: str, peer: str, name_of: Callable[[str], str]) -> None:
        """Log ``text`` if there was no progress for too long, and again after a longer time."""
        now = self._clock.monotonic()
        largest = max((size for size, _ in self._missing.values()), default=0)
        patience = max(_WARN_AFTER, largest / SLOWEST_LINK) * self._hidden
        if not self._missing or self._checked - self._moved < patience or now - self._warned < _WARN_AGAIN:
            return
        self._warned = now
        logger.warning(
            text,
            peer=peer,
            since=self._moved_at,
            count=len(self._missing),
            size=f"{sum(size for size, _ in self._missing.values()) / 1e6:,.3f} MB",
            name=name_of(next(iter(self._missing))),
        )


class ObjectTransfers:
    """The transfers of one participant in one app. Used by one thread.

    Args:
        names: the names of the files of the app.
        me: the email of this participant.
        clock: the clock of this participant.
        put_again: writes a later attempt of an object that the sync service gave up. None: no file is given up.
    """

    def __init__(self, names: AppNames, me: str, clock: Clock, put_again: PutAgain | None) -> None:
        self._names = names
        self._me = me
        self._clock = clock
        self._put_again = put_again
        self._attempts = Attempts(clock)
        self._theirs: dict[str, ObjectTransfer] = {}
        self._ours: dict[str, ObjectTransfer] = {}

    def note_theirs(self, missing: Mapping[str, Mapping[str, int]]) -> None:
        """Note all objects that have not arrived here: by peer, their ids with their bytes."""
        self._theirs = {peer: self._theirs.get(peer) or ObjectTransfer(self._clock) for peer in missing}
        for peer, transfer in self._theirs.items():
            transfer.update(missing[peer])
            transfer.warn(_THEIRS, peer, partial(self._names.object, peer))

    def missing(self) -> tuple[str, ...]:
        """Return the objects that the heartbeat names. Each peer in turn gets a place, for its longest missing object."""
        in_turn = zip_longest(*(transfer.longest_missing() for transfer in self._theirs.values()))
        return tuple(object_id for object_id in chain.from_iterable(in_turn) if object_id)[:MAX_MISSING]

    def note_ours(self, peer: str, missing: Mapping[str, int], *, hidden: float = 1.0) -> None:
        """Note the own objects that are missing at a peer, according to its new heartbeat, and act on it.

        Args:
            peer: the email of the peer.
            missing: the ids of own objects that the heartbeat names, with the bytes of their files, in its order.
            hidden: the number of objects that the peer may miss for each named one; at least 1. A heartbeat names a
                limited number.
        """
        transfer = self._ours.setdefault(peer, ObjectTransfer(self._clock))
        transfer.update(missing, aided=self._attempts.objects, hidden=hidden)
        transfer.warn(_OURS, peer, partial(self._names.object, self._me))
        if self._put_again:
            self._write_again(self._put_again)
        if not missing:
            del self._ours[peer]

    def is_under_way(self, peer: str, objects: Iterable[str]) -> bool:
        """Return whether a peer misses some of these own objects, and its missing objects became fewer lately."""
        transfer = self._ours.get(peer)
        return (
            transfer is not None
            and transfer.moved_within(2 * HEARTBEAT_INTERVAL)
            and any(object_id in transfer.missing for object_id in objects)
        )

    def _write_again(self, put_again: PutAgain) -> None:
        """Write the objects that are due for any peer: a peer whose heartbeat comes late must not lose its turn."""
        missing = {peer: each.missing for peer, each in self._ours.items()}
        given_up = {peer: each.missing for peer, each in self._ours.items() if each.given_up and each.is_current}
        for peer, object_id in self._attempts.due(given_up, missing):
            try:
                name = put_again(object_id)
            except SyftFlwrError as error:
                logger.warning("object {} cannot be written again now: {}", object_id, error.diagnose())
                name = ""
            if name is None:
                return
            self._attempts.done(peer, object_id)
            if name:
                text = "object {} has not arrived at {} for {:.0f} s, and is written again as {}; no action is needed"
                logger.info(text, object_id, peer, GIVEN_UP_AFTER, name)
