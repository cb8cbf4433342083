"""Decides when a round ends before all its replies have come: its time is over, or enough replies are good.

A round is a run, a type and a group. Strategies of the Message API leave the group empty; there, one call is a round. The
legacy API sends each message of a round in a call of its own.
"""

import math
from dataclasses import dataclass, field

from syft_flwr.clock import Clock

#: Run, type and group; without a group, also the number of the call.
Round = tuple[int, str, str, int]


@dataclass(slots=True)
class _Tally:
    #: The monotonic time of its first message.
    began: float
    asked: int = 0
    good: int = 0
    #: The monotonic time since which enough replies are good.
    since: float = math.inf


@dataclass(slots=True)
class RoundLimits:
    """Counts the good replies of each round. Not thread-safe; its owner must hold a lock.

    Args:
        clock: the clock of the limits.
        share: the sufficient share of good replies, above 0 and at most 1. With 1, no round is closed early.
        grace: seconds to wait for more replies after the share is reached.
        timeout: seconds from the first message of a round to its end.
    """

    clock: Clock
    share: float = 1.0
    grace: float = 0.0
    timeout: float = math.inf
    _tallies: dict[Round, _Tally] = field(default_factory=dict)

    def note_asked(self, key: Round, *, age: float = 0.0) -> None:
        """Count a request that was sent ``age`` seconds ago."""
        sent = self.clock.monotonic() - age
        tally = self._tallies.setdefault(key, _Tally(sent))
        tally.began = min(tally.began, sent)
        tally.asked += 1
        self._look(tally)

    def note_good(self, key: Round) -> None:
        """Count a reply without an error."""
        tally = self._tallies[key]
        tally.good += 1
        self._look(tally)

    def closes(self, key: Round) -> float:
        """Return the monotonic time at which enough good replies close the round; infinity if it is not known yet."""
        return self._tallies[key].since + self.grace

    def ends(self, key: Round) -> float:
        """Return the monotonic time at which the time of the round is over."""
        return self._tallies[key].began + self.timeout

    def closed_text(self, key: Round) -> str:
        """Return a text for people about the counts of a closed round."""
        tally = self._tallies[key]
        return f"the round was closed with {tally.good} of {tally.asked} replies, after {self.grace:g} s of grace (min_replies)"

    def _look(self, tally: _Tally) -> None:
        if self.share == 1 or tally.good < math.ceil(self.share * tally.asked - 1e-9):
            tally.since = math.inf
        elif tally.since == math.inf:
            tally.since = self.clock.monotonic()
