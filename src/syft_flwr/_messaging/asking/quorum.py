"""Decides when a round closes early: enough requests have a reply, and the grace period has passed."""

import math
from dataclasses import dataclass, field

from syft_flwr.clock import Clock

#: Run, type and group, the key of a round. Its messages may be sent in several calls: legacy strategies send each one
#: from its own thread.
Round = tuple[int, str, str]


@dataclass(slots=True)
class _Tally:
    asked: int = 0
    answered: int = 0
    #: The monotonic time since which enough requests have a reply.
    since: float = math.inf


@dataclass(slots=True)
class Quorum:
    """Counts the replies of each round. Not thread-safe; its owner must hold a lock.

    Args:
        clock: the clock of the grace period.
        share: the sufficient share of replies, above 0 and at most 1. With 1, no round is closed early.
        grace: seconds to wait for more replies after the share is reached.
    """

    clock: Clock
    share: float = 1.0
    grace: float = 0.0
    _tallies: dict[Round, _Tally] = field(default_factory=dict)

    def note_asked(self, key: Round) -> None:
        """Count a request that was sent."""
        if self.share < 1:
            self._tally(key).asked += 1
            self._look(key)

    def note_answered(self, key: Round) -> None:
        """Count a request with a successful reply."""
        if self.share < 1:
            self._tally(key).answered += 1
            self._look(key)

    def closes(self, key: Round) -> float:
        """Return the monotonic time at which the round closes; infinity if it is not known yet."""
        tally = self._tallies.get(key)
        return tally.since + self.grace if tally else math.inf

    def describe(self, key: Round) -> str:
        """Return a text for people about the counts of a closed round."""
        tally = self._tally(key)
        return f"the round was closed with {tally.answered} of {tally.asked} replies, after {self.grace:g} s of grace"

    def _tally(self, key: Round) -> _Tally:
        return self._tallies.setdefault(key, _Tally())

    def _look(self, key: Round) -> None:
        tally = self._tally(key)
        if tally.answered < math.ceil(self.share * tally.asked - 1e-9):
            tally.since = math.inf
        elif tally.since == math.inf:
            tally.since = self.clock.monotonic()
