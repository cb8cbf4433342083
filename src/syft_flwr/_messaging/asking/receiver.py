"""Accepts replies: verifies and records each, and opens its objects.

* Record, then release: a response is recorded before anybody is told of it.
* A response counts only if it is signed by the datasite that was asked, for these very request bytes. Other files at its
  place are logged once and passed over, so a forger cannot even make the wait end early.
* Its objects are opened as they arrive; the request is complete when all have, and the answer could be decoded.
"""

from collections.abc import Callable, Sequence

from loguru import logger

from syft_flwr._messaging.arrivals import Arrival
from syft_flwr._messaging.asking.pending import Pending, PendingRequests, Stage
from syft_flwr._messaging.endpoint import Endpoint
from syft_flwr._messaging.log_once import LogOnce
from syft_flwr._messaging.wire.body import Body, Seconds
from syft_flwr._messaging.wire.limits import MAX_ENVELOPE
from syft_flwr._messaging.wire.reasons import Reason, reason_of
from syft_flwr._messaging.wire.verifying import Verified, read_response
from syft_flwr._store.futures import Futures
from syft_flwr.errors import NotFoundError, SyftFlwrError, TransportError

#: What an answer's buffers mean; MalformedError if they mean nothing.
Decode = Callable[[Sequence[bytes]], object]
#: Told of a request that will get no answer, and why.
OnFailure = Callable[[Pending, Reason, str], None]


class Receiver:
    """Takes one request after the other as far as it goes. Used by one thread.

    Args:
        endpoint: where and as whom.
        futures: where responses are recorded.
        pending: the requests, each of which is given its reply.
        decode: what makes an answer of buffers.
        on_failure: told of each answer that cannot be read.
    """

    def __init__(
        self, endpoint: Endpoint, futures: Futures, pending: PendingRequests, *, decode: Decode, on_failure: OnFailure
    ) -> None:
        self._endpoint = endpoint
        self._futures = futures
        self._decode = decode
        self._pending = pending
        self._fail = on_failure
        self._logged = LogOnce()

    def advance(self, pending: Pending, *, look_for_refusal: bool) -> None:
        """Look for a request's response and for the objects of it.

        Args:
            pending: a request that was sent and has no outcome.
            look_for_refusal: look, too, whether the sync service set the request aside.
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
            # Signed by the right datasite, so it is its answer; waiting longer would bring no other.
            self._refuse(pending, error)
            return
        if self._futures.answer(pending.id, response=data):
            pending.account.bytes_received = len(data)
            pending.seen = self._endpoint.clock.monotonic()
            pending.body, pending.arrival = body, arrival
            self._pending.advance(pending, Stage.SENT, Stage.ARRIVING)

    def _open_arrived(self, pending: Pending, arrival: Arrival) -> None:
        """Open what came; every object that arrives is a sign of life."""
        body = pending.body
        if body is None:
            return
        start = self._endpoint.clock.monotonic()
        try:
            if arrival.open_arrived():
                pending.seen = self._endpoint.clock.monotonic()
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

    def _note_arrival(self, pending: Pending, body: Body, arrived: float) -> None:
        account, theirs = pending.account, body.manifest.seconds or Seconds()
        account.bytes_received += sum(self._endpoint.mine.file_size(ref) for ref in body.manifest.objects)
        account.seconds_wait, account.seconds_open_request = theirs.wait, theirs.open
        account.seconds_run, account.seconds_seal_answer = theirs.run, theirs.seal
        there = theirs.wait + theirs.open + theirs.run + theirs.seal
        account.seconds_transfer = max(0.0, arrived - pending.sent - there)

    def _refuse(self, pending: Pending, error: SyftFlwrError) -> None:
        logger.error("{}: {} answered, but {}", self._label(pending), pending.asked.recipient, error.diagnose())
        self._fail(pending, reason_of(error), str(error))

    def _check_refused(self, pending: Pending) -> None:
        if self._endpoint.transport.refused(pending.request_name):
            text = f"the sync service refused the request: no permission to write to {pending.asked.recipient}"
            logger.error("{}: {} ({})", self._label(pending), text, pending.request_name)
            self._fail(pending, Reason.SYNC_REFUSED, text)

    def log_once(self, pending: Pending, error: SyftFlwrError) -> None:
        """Log once that the file of a reply is ignored, or waited for."""
        name, verb = pending.response_name, "waited for" if error.transient else "ignored"
        text = "{}: {} is {}: {}"
        self._logged.warning(f"{name} {error}", text, self._label(pending), name, verb, error.diagnose())

    def _label(self, pending: Pending) -> str:
        return self._endpoint.label(pending.id, pending.asked.run)


def verify_answer(endpoint: Endpoint, pending: Pending, data: bytes) -> Verified:
    """Verify that an envelope is the reply to a request.

    Raises:
        IncompleteError, MalformedError, AddressError, SignatureError, TrustError: it is not.
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
    return unverified.verify(trust.identity_of(asked.recipient))
