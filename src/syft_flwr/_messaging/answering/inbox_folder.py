"""The folder of the inbox with the requests of one aggregator and the replies to them.

Where files can vanish, the sync service can also bring back a reply after its deletion, and leave conflict copies. They
are deleted at each scan. The ledger decides which replies are over: a client that has not read its open requests yet
deletes none of their replies, and a file without a closed request stays, because another program may have written it.
"""

from collections import Counter
from collections.abc import Collection, Iterator
from functools import partial
from itertools import islice

from syft_flwr._messaging.conflict_copies import ConflictCopies
from syft_flwr._messaging.endpoint import Endpoint
from syft_flwr._messaging.own_files import discard_again, messages_in
from syft_flwr._messaging.wire.limits import MAX_LIFETIME, MAX_LISTED
from syft_flwr._store.ledger import Ledger
from syft_flwr.errors import StoreError, TransportError
from syft_flwr.log_once import OURSELVES, LogOnce
from syft_flwr.transport.base import Entry

#: The most files of each sender that is not the aggregator. They are only logged.
_MOST_OF_OTHERS = 100


class InboxFolder:
    """Lists the files of requests and replies, and deletes the replies to closed requests. Used by one thread."""

    def __init__(self, endpoint: Endpoint, ledger: Ledger, aggregator: str) -> None:
        self._transport = endpoint.transport
        self._ledger = ledger
        self._aggregator = aggregator
        self._names = names = endpoint.names
        self._me = me = endpoint.email
        self._all_senders = names.messages(me)
        self._folder = names.messages_of(me, aggregator)
        small = self._folder, names.status(me), names.status(aggregator)
        large = names.objects(me), names.objects(aggregator)
        self._copies = ConflictCopies(self._transport, endpoint.clock, small, large)
        self._logged = LogOnce()

    def names(self, *, all_senders: bool = False) -> list[str] | None:
        """Return the names of the files of this aggregator, or of all senders; None if they cannot be listed now."""
        listed = self._list(self._folder)
        if listed is None or not all_senders:
            return listed
        # Each other sender has a share, so that one with very many files hides no file of another.
        shares: Counter[str] = Counter()
        for name in self._list(self._all_senders) or ():
            sender = name.removeprefix(self._all_senders).partition("/")[0]
            shares[sender] += not name.startswith(self._folder)
            if 0 < shares[sender] <= _MOST_OF_OTHERS:
                listed.append(name)
        return listed

    def _list(self, folder: str) -> list[str] | None:
        try:
            return [entry.name for entry in islice(self._transport.list(folder), MAX_LISTED)]
        except TransportError as error:
            # The known files are checked in any case. The next scan lists the folder again.
            text = "{} cannot be listed now, and is listed again at the next scan: {}"
            self._logged.warning(OURSELVES, f"{folder} {type(error).__name__}", text, folder, error.diagnose())
            return None

    def tidy(self, listed: Collection[str]) -> None:
        """Delete those of the ``listed`` files that are replies to closed requests, and the conflict copies."""
        self._discard_strays(listed)
        self._copies.delete_some()

    def tidy_at_the_end(self) -> None:
        """Do the same for all folders, because no later scan of this process does it."""
        self._discard_strays(self.names() or [])
        self._copies.delete_all()

    def _discard_strays(self, listed: Collection[str]) -> None:
        """Delete the replies that the sync service brought back, or that an earlier process could not delete."""
        found = {name: self._names.parse_response(self._me, name) for name in listed if name.startswith(self._folder)}
        replies = {parsed[1]: name for name, parsed in found.items() if parsed}
        if not replies:
            return
        try:
            over = self._ledger.closed_among(replies, self._aggregator)
        except StoreError as error:
            text = "replies to closed requests in {} are deleted at a later scan: {}"
            self._logged.warning(OURSELVES, type(error).__name__, text, self._folder, error.diagnose())
            return
        for message_id in over:
            discard_again(self._transport, replies[message_id], self._logged)


def replies_that_are_over(endpoint: Endpoint, ledger: Ledger, aggregators: Collection[str]) -> Iterator[Entry]:
    """Yield the files of own replies to these aggregators that no run needs.

    The ledger forgets closed requests in time, and can be lost. Without a record, a reply with the own signature is kept for
    31 days, because a resumed run can use it.
    """
    names, me = endpoint.names, endpoint.email
    for aggregator in aggregators:
        folder = names.messages_of(me, aggregator)
        found = messages_in(endpoint.transport, folder, partial(names.parse_response, me))
        known = ledger.known_among(found, aggregator)
        signed = endpoint.ownership.signed("response", aggregator, found, known)
        moment = endpoint.clock.now() - MAX_LIFETIME
        over = ledger.closed_among(found, aggregator)
        over.update(message_id for message_id, header in signed.items() if header.created < moment)
        yield from (entry for message_id, entry in found.items() if message_id in over)
