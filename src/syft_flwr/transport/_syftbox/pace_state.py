"""The state of a pace: the daemon's queue as it is estimated, the pushed files, and the losses.

Its encoded form is the file that all processes of a data folder share. Values that cannot be right are dropped.
"""

import struct
from dataclasses import dataclass, field
from enum import Enum, IntFlag, auto

#: Bytes per second, and seconds for each file, at which the daemon and the server of the trials handled pushes. A busy
#: server needs the time for each file, also for a small one.
_RATE = 29e6
_PER_FILE = 0.01
#: The same for a large file while the link is not known to be fast: a message has many such files then.
_PER_LARGE_FILE = 0.03
#: Bytes per second of large files over a longer time, and the bytes that may be ahead of it. Several senders can push to
#: one reader at the same time, and the server's queue for a reader has 8 places, too.
_LASTING_RATE = 13e6
_AHEAD = 20e6
#: The files in the daemon's queue, and how many of them may be large ones. The others are for small files.
_QUEUE = 8
_LARGE = 6
#: The largest plausible time in seconds until the queue is empty.
_LONGEST = 10.0
#: Losses up to this many seconds after another one have the same cause.
_SAME_CAUSE = 5.0
_ENOUGH_LOSSES = 2
#: Seconds after which one loss is forgotten.
_FORGET_AFTER = 600.0
#: Seconds for which nothing large is pushed after two losses, and the longest such time after more of them.
_SLOW_FOR = 300.0
_LONGEST_SLOW = 3_600.0
_MOST_DOUBLINGS = 4
_REMEMBERED = 440
#: Bytes of a push of which the delivery shows a fast link: it takes 5 s at 4.3 Mbit/s, or the connection breaks. At that
#: rate, a scan can upload 8 such files in its 30 s.
PROBE_SIZE = 2_000_000
#: The most delivered probes that count, and how many of them a series of losses outweighs. One delivery can be an error:
#: a file is also present if the daemon could not push it, or has not found its loss yet.
_MOST_PROOFS = 8
_COST_OF_LOSS = 4
KEY_SIZE = 8
_HEAD = struct.Struct(f"<{_QUEUE}dddQB")
_FILE = struct.Struct(f"<{KEY_SIZE}sB")
STATE_SIZE = _HEAD.size + _REMEMBERED * _FILE.size
_NO_KEY = bytes(KEY_SIZE)


class LinkSpeed(Enum):
    """The speed of the link from this data folder to the server, as far as pushes have shown it."""

    UNKNOWN = auto()
    #: As UNKNOWN, and a probe was pushed.
    PROBED = auto()
    #: Probes were delivered. Single losses after that had another cause.
    FAST = auto()
    #: Large pushes are lost, so none is planned for some minutes.
    SLOW = auto()


class PushFacts(IntFlag):
    """The facts about a large file that was pushed."""

    #: So large that its delivery shows a fast link.
    PROBE = 1
    #: It was not delivered.
    LOST = 2
    #: It was pushed before a loss was found, so its own loss is part of the same series.
    BEFORE_A_LOSS = 4


_ALL_FACTS = PushFacts.PROBE | PushFacts.LOST | PushFacts.BEFORE_A_LOSS
#: A loss with one of these facts is counted already.
COUNTED = PushFacts.LOST | PushFacts.BEFORE_A_LOSS


@dataclass(slots=True)
class PaceState:
    """The state at one time. All times are those of the machine's monotonic clock, in seconds."""

    #: The times at which the files in the queue leave it, in order.
    leaving: list[float] = field(default_factory=list)
    #: The time at which all large files would have left at the lasting rate.
    drained: float = 0.0
    losses: int = 0
    lost: float = 0.0
    #: The delivered probes, less those that losses outweigh.
    proofs: int = 0
    #: Large files that were pushed, the latest last, by the digest of the name.
    pushed: dict[bytes, PushFacts] = field(default_factory=dict)

    @classmethod
    def decode(cls, data: bytes, now: float) -> "PaceState":
        """Return the state in a file; an empty one if the file has another size."""
        if len(data) != STATE_SIZE:
            return cls()
        *leaving, drained, lost, losses, proofs = _HEAD.unpack_from(data)
        files = _FILE.iter_unpack(data[_HEAD.size :])
        state = cls(sorted(time for time in leaving if now < time < now + _LONGEST))
        state.proofs = min(proofs, _MOST_PROOFS)
        state.drained = drained if now < drained < now + _LONGEST else now
        state.pushed = {key: PushFacts(facts) for key, facts in files if key != _NO_KEY and facts <= _ALL_FACTS}
        if 0 < lost <= now and (losses >= _ENOUGH_LOSSES or now - lost < _FORGET_AFTER):
            state.losses, state.lost = losses, lost
        return state

    def encode(self) -> bytes:
        """Return the content of the file."""
        leaving = (self.leaving + [0.0] * _QUEUE)[:_QUEUE]
        files = [*list(self.pushed.items())[-_REMEMBERED:], *[(_NO_KEY, 0)] * _REMEMBERED][:_REMEMBERED]
        return _HEAD.pack(*leaving, self.drained, self.lost, min(self.losses, 1 << 32), self.proofs) + b"".join(
            _FILE.pack(*file) for file in files
        )

    @property
    def slow_for(self) -> float:
        """Return the seconds after the last loss in which no large file is pushed."""
        further = self.losses - _ENOUGH_LOSSES
        return min(_SLOW_FOR * 2 ** min(further, _MOST_DOUBLINGS), _LONGEST_SLOW) if further >= 0 else 0.0

    def is_slow(self, now: float) -> bool:
        """Return whether no large file may be pushed."""
        return now - self.lost < self.slow_for

    def link(self, now: float) -> LinkSpeed:
        """Return the speed of the link at the time ``now``."""
        if self.is_slow(now):
            return LinkSpeed.SLOW
        if self.proofs:
            return LinkSpeed.FAST
        probed = any(facts & PushFacts.PROBE and not facts & PushFacts.LOST for facts in self.pushed.values())
        return LinkSpeed.PROBED if probed else LinkSpeed.UNKNOWN

    def turn(self, *, large: bool, now: float) -> float:
        """Return the time from which the queue has room for another file."""
        excess = len(self.leaving) - (_LARGE if large else _QUEUE)
        room = self.leaving[excess] if excess >= 0 else now
        return max(room, self.drained - _AHEAD / _LASTING_RATE) if large else room

    def enter(self, size: int, now: float, *, large: bool) -> None:
        """Record that a file of ``size`` bytes enters the queue."""
        last = self.leaving[-1] if self.leaving else now
        pause = _PER_FILE if self.proofs or not large else _PER_LARGE_FILE
        self.leaving.append(last + pause + size / _RATE)
        self.drained = max(self.drained, now) + size / _LASTING_RATE

    def prove(self) -> None:
        """Record that a probe was delivered."""
        self.proofs, self.losses = min(self.proofs + 1, _MOST_PROOFS), 0

    def lose(self, now: float) -> None:
        """Record that a push was lost."""
        if not self.losses or now - self.lost >= _SAME_CAUSE:
            self.losses += 1
            self.proofs = max(0, self.proofs - _COST_OF_LOSS)
        self.lost = now
        self.pushed = {key: facts | PushFacts.BEFORE_A_LOSS for key, facts in self.pushed.items()}
