"""Follows the objects of the replies on their way to the aggregator, and those of the requests on their way here."""

from collections.abc import Sequence
from functools import partial

from syft_flwr._messaging.answering.answers import Answers
from syft_flwr._messaging.endpoint import Endpoint
from syft_flwr._messaging.object_transfers import ObjectTransfers
from syft_flwr._messaging.own_files import answer_objects
from syft_flwr._messaging.wire.body import ObjectRef
from syft_flwr._messaging.wire.heartbeat import Heartbeat
from syft_flwr._messaging.wire.limits import MAX_MISSING


class ReplyTransfers:
    """The transfers between a data owner and its aggregator. Used by one thread.

    Args:
        endpoint: the transport, keys and names of the data owner.
        answers: the replies of the data owner.
        aggregator: the email of the aggregator.
    """

    def __init__(self, endpoint: Endpoint, answers: Answers, aggregator: str) -> None:
        self._endpoint = endpoint
        self._answers = answers
        self._mine = endpoint.mine
        self._aggregator = aggregator
        vanish = endpoint.transport.properties.files_vanish
        put_again = partial(answers.put_object_again, reader=aggregator) if vanish else None
        self._transfers = ObjectTransfers(endpoint.names, endpoint.email, endpoint.clock, put_again)

    def look(self, missing: Sequence[ObjectRef]) -> tuple[str, ...]:
        """Note the objects of requests that have not arrived; return those that the heartbeat names."""
        sizes = {ref.id: self._mine.file_size(ref) for ref in missing}
        self._transfers.note_theirs({self._aggregator: sizes} if sizes else {})
        return self._transfers.missing()

    def hear(self, heartbeat: Heartbeat) -> None:
        """Note which objects of replies the aggregator misses, by its new heartbeat."""
        # The aggregator could name any object, also one of a reply to another aggregator.
        needed = self._answers.objects_for(self._aggregator)
        sizes = self._mine.sizes_of(dict.fromkeys(found for found in heartbeat.missing if found in needed))
        hidden = 1.0
        if sizes and len(heartbeat.missing) >= MAX_MISSING:
            transport, names, me = self._endpoint.transport, self._endpoint.names, self._endpoint.email
            written = sum(1 for _ in answer_objects(transport, names, me, kept=()))
            hidden = max(1.0, written / len(sizes))
        self._transfers.note_ours(self._aggregator, sizes, hidden=hidden)
