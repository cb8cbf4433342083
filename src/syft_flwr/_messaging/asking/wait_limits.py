"""Decides when the wait for a reply ends, and by which limit. The earliest limit wins.

=====================  =================================================================================
limit                  acts
=====================  =================================================================================
``ttl``                at the end of the lifetime of the message
``timeout``            seconds after the call that waits
``round_timeout``      seconds after the first message of the round
``msg_timeout``        after seconds without a heartbeat, counted only while this process could look
``min_replies``        ``grace`` seconds after enough replies of the round are good; it closes the round
=====================  =================================================================================
"""

import math
from enum import StrEnum
from typing import cast

from syft_flwr._messaging.asking.pending import Pending
from syft_flwr._messaging.asking.round_limits import Round, RoundLimits
from syft_flwr._messaging.pulse import HEARTBEATS_IN_TIMEOUT


class Limit(StrEnum):
    """A limit of a wait, by the name of its setting or argument."""

    TTL = "ttl"
    TIMEOUT = "timeout"
    ROUND_TIMEOUT = "round_timeout"
    MSG_TIMEOUT = "msg_timeout"
    MIN_REPLIES = "min_replies"


class WaitLimits:
    """The limits of all waits of one aggregator. Not thread-safe; its owner must hold a lock.

    Args:
        rounds: the limits of rounds.
        silence: seconds without a heartbeat after which a request ends; infinity for never.
    """

    def __init__(self, rounds: RoundLimits, silence: float = math.inf) -> None:
        self.rounds = rounds
        self._silence = silence

    @property
    def longest_pause(self) -> float:
        """Return the seconds between two looks that count as silence: the interval of the heartbeats."""
        return self._silence / HEARTBEATS_IN_TIMEOUT

    def end_of(self, pending: Pending, *, looked: bool = False) -> tuple[float, Limit]:
        """Return the monotonic time at which the wait for a reply ends, and the limit that decides.

        With ``looked``, only the silence until the last look counts. Without it, the time since then is silent, too.
        """
        ends = [(pending.deadline, Limit.TTL), (pending.call_ends, Limit.TIMEOUT)]
        if pending.round:
            silent_until = pending.checked + self._silence - pending.silent
            ends += [
                (math.inf if looked and silent_until > pending.checked else silent_until, Limit.MSG_TIMEOUT),
                (self.rounds.ends(pending.round), Limit.ROUND_TIMEOUT),
                (self.rounds.closes(pending.round), Limit.MIN_REPLIES),
            ]
        return min(ends)

    def end_text(self, pending: Pending, limit: Limit) -> str:
        """Return why the wait for a reply ended, for people."""
        match limit:
            case Limit.TTL:
                return f"no reply within {_number(pending.asked.lifetime)} s, the ttl of the message"
            case Limit.TIMEOUT:
                return f"no reply within {_number(pending.timeout)} s, the timeout of the call"
            case Limit.ROUND_TIMEOUT:
                return f"no reply within {_number(self.rounds.timeout)} s of the round (round_timeout)"
            case Limit.MSG_TIMEOUT:
                return f"no reply, and no heartbeat for {_number(self._silence)} s (msg_timeout)"
        return self.rounds.closed_text(cast("Round", pending.round))


def _number(seconds: float) -> str:
    return f"{seconds:.0f}" if seconds >= 10 else f"{seconds:g}"
