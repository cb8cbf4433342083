"""Accepts replies: verifies and records each reply, and opens its objects.

* A reply is recorded before a caller gets it.
* A reply must be signed by the datasite of the request and contain the SHA-256 of the request. Any other file in its
  place is logged once and ignored, so a forged file cannot end the wait.
* Objects are opened as they arrive. The request is done when all have arrived and the reply is decoded.
"""

from collections.abc import Callable, Sequence

from loguru import logger

from syft_flwr._messaging.arrivals import Arrival
from syft_flwr._messaging.asking.endings import Endings
from syft_flwr._messaging.asking.pending import Pending, PendingRequests, Stage
from syft_flwr._messaging.endpoint import Endpoint
from syft_flwr._messaging.log_once import LogOnce
from syft_flwr._messaging.wire.body import Body, Seconds
from syft_flwr._messaging.wire.limits import MAX_ENVELOPE
from syft_flwr._messaging.wire.reasons import Reason, reason_of
from syft_flwr._messaging.wire.verifying import Verified, read_response
from syft_flwr._store.futures import Futures
from syft_flwr.errors import NotFoundError, StoreError, SyftFlwrError, TransportError
from syft_flwr.runs.events import ReplyProgress
from syft_flwr.runs.stream import Emit

#: Minimum seconds between two events about the progress of one reply.
_PROGRESS_EVERY = 1.0
#: Returns the content of a reply from its buffers; raises MalformedError if they are not valid.
Decode = Callable[[Sequence[bytes]], object]


class Receiver:
    """Reads the replies to pending requests. Used by one thread.

    Args:
        endpoint: the transport, keys and names of the aggregator.
        futures: the database that records replies.
        pending: the requests that wait for a reply.
        endings: ends each request with an unusable reply.
        decode: returns the content of a reply from its buffers.
        on_event: gets the progress of large replies.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        futures: Futures,
        pending: PendingRequests,
        endings: Endings,
        *,
        decode: Decode,
        on_event: Emit,
    ) -> None:
        self._endpoint = endpoint
        self._futures = futures
        self._decode = decode
        self._pending = pending
        self._endings = endings
        self._on_event = on_event
        self._logged = LogOnce()

    def advance(self, pending: Pending, *, look_for_refusal: bool) -> None:
        """Read the reply to a request, and those of its objects that have arrived.

        Args:
            pending: a request that was sent and has no outcome.
            look_for_refusal: also check whether the sync service refused the request.
        """
        if pending.stage is Stage.SENT:
            self._receive(pending)
        if pending.stage is Stage.SENT and look_for_refusal:
            self._check_refused(pending)
        if pending.stage is Stage.ARRIVING and pending.arrival:
            self._open_arrived(pending, pending.arrival)

    def _receive(self, pending: Pending) -> None:
        try:
            data = self._endpoint.transport.get(pending.response_name, max_size=MAX_ENVELOPE)
        except NotFoundError:
            return
        except TransportError as error:
            self.log_once(pending, error)
            return
        asked = pending.asked
        try:
            verified = verify_answer(self._endpoint, pending, data)
        except SyftFlwrError as error:
            self.log_once(pending, error)
            return
        try:
            body = verified.open(self._endpoint.trust.identity, encryption=self._endpoint.encryption)
            arrival = Arrival(self._endpoint.objects_of(asked.recipient), body, shared=False)
        except SyftFlwrError as error:
            # The right datasite signed it, so this is its reply, and no other reply can follow.
            self._refuse(pending, error)
            return
        if self._futures.answer(pending.id, response=data):
            pending.account.bytes_received = len(data)
            pending.seen = self._endpoint.clock.monotonic()
            pending.body, pending.arrival = body, arrival
            self._endpoint.links.need(asked.recipient, pending.id, body.manifest.object_ids)
            if not self._pending.advance(pending, Stage.SENT, Stage.ARRIVING):
                # The request was given up meanwhile, and its other second names are removed already.
                self._endpoint.links.release(asked.recipient, pending.id)

    def _open_arrived(self, pending: Pending, arrival: Arrival) -> None:
        """Open the objects that have arrived. A new object restarts the silence timeout."""
        body = pending.body
        if body is None:
            return
        start = self._endpoint.clock.monotonic()
        try:
            if arrival.open_arrived():
                pending.seen = self._endpoint.clock.monotonic()
                self._emit_progress(pending, arrival)
            if not arrival.complete:
                return
            answer = self._decode(arrival.buffers()) if body.manifest.error is None else None
        except SyftFlwrError as error:
            if error.transient:
                self.log_once(pending, error)
            else:
                self._refuse(pending, error)
            return
        pending.account.seconds_open += self._endpoint.clock.monotonic() - start
        self._note_arrival(pending, body, start)
        self._pending.answer(pending, answer, body.manifest.error)

    def _emit_progress(self, pending: Pending, arrival: Arrival) -> None:
        if not arrival.complete and pending.seen - pending.progress_at >= _PROGRESS_EVERY:
            pending.progress_at = pending.seen
            progress = ReplyProgress(pending.id, pending.asked.recipient, *arrival.counts)
            self._on_event(pending.asked.run, progress)

    def _note_arrival(self, pending: Pending, body: Body, arrived: float) -> None:
        account, theirs = pending.account, body.manifest.seconds or Seconds()
        account.bytes_received += sum(self._endpoint.mine.file_size(ref) for ref in body.manifest.objects)
        account.seconds_download, account.seconds_wait = theirs.download, theirs.wait
        account.seconds_open_request = theirs.open
        account.seconds_run, account.seconds_seal_answer = theirs.run, theirs.seal
        there = theirs.download + theirs.wait + theirs.open + theirs.run + theirs.seal
        pending.round_trip = arrived - pending.sent
        account.seconds_transfer = max(0.0, pending.round_trip - there)

    def _refuse(self, pending: Pending, error: SyftFlwrError) -> None:
        text = "{}: the reply of {} cannot be used, and the request has failed: {}"
        logger.error(text, self._label(pending), pending.asked.recipient, error.diagnose())
        self._endings.fail(pending, reason_of(error), str(error))

    def _check_refused(self, pending: Pending) -> None:
        if self._endpoint.transport.refused(pending.request_name):
            text = f"the sync service refused the request: no permission to write to {pending.asked.recipient}"
            line = "{}: {} ({}). Ask {} to start its client again, which grants the permission."
            logger.error(line, self._label(pending), text, pending.request_name, pending.asked.recipient)
            self._endings.fail(pending, Reason.SYNC_REFUSED, text)

    def log_once(self, pending: Pending, error: SyftFlwrError) -> None:
        """Log once that the file of a reply is ignored, or read again at the next scan."""
        name, again = pending.response_name, error.transient or isinstance(error, StoreError)
        verb = "read again at the next scan" if again else "ignored"
        text = "{}: {} is {}: {}"
        self._logged.warning(f"{name} {error}", text, self._label(pending), name, verb, error.diagnose())

    def _label(self, pending: Pending) -> str:
        return self._endpoint.label(pending.id, pending.asked.run)


def verify_answer(endpoint: Endpoint, pending: Pending, data: bytes) -> Verified:
    """Return the verified envelope of the reply to ``pending``.

    Raises:
        IncompleteError: the file has not arrived completely.
        MalformedError, AddressError, SignatureError, TrustError: the file is not the reply to this request.
    """
    asked, trust = pending.asked, endpoint.trust
    unverified = read_response(
        data,
        email=endpoint.email,
        identity=trust.identity.public,
        sender=asked.recipient,
        message_id=pending.id,
        app=endpoint.names.app,
        run=asked.run,
        kind=asked.type,
        group=asked.group,
        answers=pending.digest,
    )
    verified = unverified.verify(trust.identity_of(asked.recipient))
    trust.note_accepted()
    return verified
