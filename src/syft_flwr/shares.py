"""Shares of a budget: a flood of some peers leaves room for each other one."""

import threading
from collections import Counter
from collections.abc import Iterable

#: The peers with a reserved share, in the order in which they come.
MOST_PEERS = 1_024
#: The part of the free common half that one peer can have.
_PART = 8


def leaves_shares(amount: int, *, free: int, share: int, others: Iterable[int]) -> bool:
    """Return whether a further amount of one peer leaves each other peer the unused part of its share.

    Args:
        amount: the further amount.
        free: the unused amount of the whole budget.
        share: the amount that is reserved for each peer.
        others: the used amount of each other peer.
    """
    return amount + sum(max(0, share - used) for used in others) <= free


class FairShares:
    """A budget for peers of which nothing is known before.

    One half of it is reserved for 1,024 peers in equal shares, and the other half is common. A peer uses its reserved share
    first. After that, it can have at most an eighth of the common half that is still free, so the first greedy peers leave
    some of it to the next ones. Thread-safe.

    Args:
        total: the amount for all peers together.
    """

    def __init__(self, total: int) -> None:
        self._reserved = total // (2 * MOST_PEERS)
        self._common = total // 2
        #: By peer, the used amounts: of its reserved share, and of the common half.
        self._own: Counter[str] = Counter()
        self._extra: Counter[str] = Counter()
        self._lock = threading.Lock()

    def take(self, peer: str, amount: int = 1) -> bool:
        """Use an amount for a peer; return False, and use nothing, if it has no share left."""
        with self._lock:
            if amount <= self._unused_share(peer):
                self._own[peer] += amount
                return True
            if (self._extra[peer] + amount) * _PART > self._common - amount:
                return False
            self._use(peer, amount)
            return True

    def note(self, peer: str, amount: int) -> None:
        """Count an amount that a peer uses already, whatever its share is."""
        with self._lock:
            if own := min(amount, self._unused_share(peer)):
                self._own[peer] += own
            self._use(peer, amount - own)

    def give_back(self, peer: str, amount: int = 1) -> None:
        """Free an amount that a peer has used, of the common half first."""
        with self._lock:
            extra = min(amount, self._extra[peer])
            self._use(peer, -extra)
            self._own[peer] -= amount - extra
            if not self._own[peer]:
                del self._own[peer]

    def _unused_share(self, peer: str) -> int:
        has_share = peer in self._own or len(self._own) < MOST_PEERS
        return self._reserved - self._own[peer] if has_share else 0

    def _use(self, peer: str, amount: int) -> None:
        self._common -= amount
        self._extra[peer] += amount
        if not self._extra[peer]:
            del self._extra[peer]
