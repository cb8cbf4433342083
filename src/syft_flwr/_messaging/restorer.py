"""Takes up requests of an earlier process of the same run, in place of asking again.

What was answered is answered from the record, what is on its way is waited for, and what cannot be taken up (its answer was
not kept, or its time passed while nobody waited) is asked again, by the caller's asking.
"""

from loguru import logger

from syft_flwr._messaging.arrivals import Arrival
from syft_flwr._messaging.body import Failure
from syft_flwr._messaging.endpoint import Endpoint
from syft_flwr._messaging.journal import Journal
from syft_flwr._messaging.pending import Outgoing, Pending
from syft_flwr._messaging.reasons import Reason
from syft_flwr._messaging.receiver import Decode, verify_answer
from syft_flwr._messaging.resumption import Resumption
from syft_flwr._messaging.states import Future
from syft_flwr._store.futures import FutureRow, Futures
from syft_flwr.errors import SyftFlwrError, TransportError

#: Seconds to read an answer that came while nobody waited for it.
_TIME_TO_READ = 60.0


class Restorer:
    """Matches what is asked with what is on record. Thread-safe.

    Args:
        endpoint: where and as whom.
        futures: the record.
        journal: the objects of answers that were given before.
        decode: what makes an answer of buffers.
    """

    def __init__(self, endpoint: Endpoint, futures: Futures, journal: Journal, decode: Decode) -> None:
        self._endpoint = endpoint
        self._futures = futures
        self._journal = journal
        self._decode = decode
        self._resumption = Resumption()

    def open_run(self, run: int) -> int:
        """Load what is on record of a run; return how many requests of it can be taken up."""
        # What we withdrew ourselves is no outcome.
        rows = [row for row in self._futures.of_run(run) if row.content and row.code != Reason.STOPPED]
        self._resumption = Resumption(rows)
        return len(rows)

    def restore(self, asked: Outgoing, content: str) -> Pending | None:
        """Return the request on record that asks the same, as far as it came; None if it has to be asked (again)."""
        while row := self._resumption.take((asked.recipient, asked.type, asked.group, content)):
            if pending := self._take_up(asked, row):
                return pending
        return None

    def _take_up(self, asked: Outgoing, row: FutureRow) -> Pending | None:
        pending = self._pending(asked, row)
        if row.state == Future.COLLECTED:
            pending.restored = True
            return pending if self._answer(pending, row) else None
        if row.code or row.request is None or not self._can_be_waited_for(pending):
            # Nobody was told of its end, so nobody is misled if it is tried again.
            self._resumption.give_back(row)
            return None
        pending.request = row.request
        return pending

    def rest(self, recipient: str | None = None) -> list[FutureRow]:
        """Take the requests on their way, to one addressee or to all, that nobody asked for again."""
        rows = [row for row in self._resumption.rest(recipient) if row.state != Future.COLLECTED]
        self._resumption.drop(rows)
        return rows

    def _pending(self, asked: Outgoing, row: FutureRow) -> Pending:
        clock, names, me = self._endpoint.clock, self._endpoint.names, self._endpoint.email
        now = clock.monotonic()
        return Pending(
            id=row.id,
            asked=asked.without_buffers(),
            created=row.created,
            expires=row.expires,
            deadline=now + (row.expires - clock.now()).total_seconds(),
            seen=now,
            request_name=names.request(row.recipient, me, row.id),
            response_name=names.response(row.recipient, me, row.id),
            content=row.content,
            digest=row.digest,
            objects=row.objects,
            sent=now,
        )

    def _can_be_waited_for(self, pending: Pending) -> bool:
        """Say whether its time is not over, or an answer came before it was: then there is time to read it."""
        now = self._endpoint.clock.monotonic()
        if pending.deadline > now:
            return True
        try:
            self._endpoint.transport.stat(pending.response_name)
        except TransportError:
            return False
        pending.deadline = now + _TIME_TO_READ
        return True

    def _answer(self, pending: Pending, row: FutureRow) -> bool:
        """Give a request the outcome on record; False if its answer cannot be read any more."""
        if row.code:
            pending.failure = Failure(code=row.code, text=row.reason, reference=row.reference)
            pending.complete = True
            return True
        response = self._futures.response(row.id)
        if response is None:
            return False
        encryption = self._endpoint.encryption
        try:
            verified = verify_answer(self._endpoint, pending, response)
            body = verified.open(self._endpoint.trust, encryption=encryption)
            kept = self._journal.objects_of(row.recipient, encryption=encryption)
            arrival = Arrival(kept, body, shared=False)
            arrival.open_arrived()
            pending.answer = self._decode(arrival.buffers())
        except SyftFlwrError as error:
            logger.warning("the answer of {} on record cannot be used, and is asked again: {}", row.recipient, error)
            return False
        pending.complete = True
        return True
