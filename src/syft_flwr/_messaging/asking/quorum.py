"""Decides when a round closes early: enough messages are answered and the grace period has passed."""

import math
from dataclasses import dataclass, field

from syft_flwr.clock import Clock

#: Run, type and group: the messages of a round, however many calls they were sent in. Legacy strategies send each from a
#: thread of its own.
Round = tuple[int, str, str]


@dataclass(slots=True)
class _Tally:
    asked: int = 0
    answered: int = 0
    #: Since when enough are answered, on the monotonic clock.
    since: float = math.inf


@dataclass(slots=True)
class Quorum:
    """Counts answers. Not thread-safe: its owner holds a lock.

    Args:
        share: of the messages of a round, above 0 and at most 1; at 1, no round is closed early.
        grace: seconds.
    """

    clock: Clock
    share: float = 1.0
    grace: float = 0.0
    _tallies: dict[Round, _Tally] = field(default_factory=dict)

    def note_asked(self, key: Round) -> None:
        """Count a message that was sent."""
        if self.share < 1:
            self._tally(key).asked += 1
            self._look(key)

    def note_answered(self, key: Round) -> None:
        """Count a message whose data owner did what was asked."""
        if self.share < 1:
            self._tally(key).answered += 1
            self._look(key)

    def closes(self, key: Round) -> float:
        """Return when the round of this message closes, on the monotonic clock; infinity if that cannot be said yet."""
        tally = self._tallies.get(key)
        return tally.since + self.grace if tally else math.inf

    def describe(self, key: Round) -> str:
        """Say for people how the round of this message stands."""
        tally = self._tally(key)
        return f"the round was closed with {tally.answered} of {tally.asked} answers, after {self.grace:g} s of grace"

    def _tally(self, key: Round) -> _Tally:
        return self._tallies.setdefault(key, _Tally())

    def _look(self, key: Round) -> None:
        tally = self._tally(key)
        if tally.answered < math.ceil(self.share * tally.asked - 1e-9):
            tally.since = math.inf
        elif tally.since == math.inf:
            tally.since = self.clock.monotonic()
