"""Logs each warning or error only once, so that a bad file does not fill the log at every scan.

Each peer has a budget of its own, so that no number of files of one peer hides a line about another one.
"""

import hashlib
import threading
from typing import TYPE_CHECKING

from syft_flwr.log import logger

if TYPE_CHECKING:
    from loguru import Logger

#: The lines of one text about one peer; after very many lines in all, each peer still has the smaller number.
_CAPACITY = 1_000
_RESERVED = 100
_MANY = 100_000
#: The peers with a budget of their own. Later ones share the budget of the strangers.
_MOST_PEERS = 10_000
#: In place of the email of a peer: this participant, and all participants that have no part in the exchange.
OURSELVES = "this participant"
STRANGERS = "other participants"


class LogOnce:
    """Remembers the keys of logged lines. After 1000 keys of one text and one peer, it logs no further such line.

    So a peer that writes ever new files fills neither the disk nor the memory, and hides no line of another kind or peer.
    A key must not contain the content of a peer's file: the name of the file or participant and the type of the error are
    enough. Thread-safe.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        #: The digests of the keys, by text and peer: a peer may choose long names.
        self._seen: dict[tuple[str, str], set[bytes]] = {}
        self._peers = {OURSELVES, STRANGERS}
        self._total = 0
        #: The budgets of which a line tells that they are spent.
        self._spent: set[tuple[str, str]] = set()

    def warning(self, peer: str, key: object, text: str, *values: object) -> bool:
        """Log a warning if ``key`` is new for this text and peer; return whether it was logged.

        ``peer`` is the email of a participant of the exchange, :data:`OURSELVES` or :data:`STRANGERS`.
        """
        return self._log("WARNING", peer, key, text, values)

    def error(self, peer: str, key: object, text: str, *values: object) -> bool:
        """Log an error if ``key`` is new for this text and peer; return whether it was logged."""
        return self._log("ERROR", peer, key, text, values)

    def _log(self, level: str, peer: str, key: object, text: str, values: tuple[object, ...]) -> bool:
        is_new, spent = self._add(peer, str(key), text)
        # The log line must name the caller of warning() or error(), which is two calls up.
        if is_new:
            _about(peer).opt(depth=2).log(level, text, *values)
        if spent:
            count, owner = spent
            more = "{} different lines of this kind about {} were logged; further ones are dropped until the next start: {}"
            _about(owner).opt(depth=2).warning(more, count, owner, text)
        return is_new

    def _add(self, peer: str, key: str, text: str) -> tuple[bool, tuple[int, str] | None]:
        """Remember ``key``; return whether it is new, and once for each budget that is spent, its keys and its owner."""
        digest = hashlib.blake2b(key.encode(errors="replace"), digest_size=8).digest()
        with self._lock:
            if len(self._peers) < _MOST_PEERS:
                self._peers.add(peer)
            elif peer not in self._peers:
                peer = STRANGERS
            budget = text, peer
            seen = self._seen.setdefault(budget, set())
            if digest in seen:
                return False, None
            if len(seen) < (_CAPACITY if self._total < _MANY else _RESERVED):
                seen.add(digest)
                self._total += 1
                return True, None
            if budget in self._spent:
                return False, None
            self._spent.add(budget)
            return False, (len(seen), peer)


def _about(peer: str) -> "Logger":
    """Return the logger of lines about a peer. The record of a run counts them in the share of this peer."""
    return logger if peer == OURSELVES else logger.bind(peer=peer)
