"""Accepts replies: verifies and records each reply, and opens its objects.

* A reply is recorded before a caller gets it.
* A reply must be signed by the datasite of the request and contain the SHA-256 of the request. Any other file in its
  place is logged once and ignored, so a forged file cannot end the wait.
* Objects are opened as they arrive. The request is done when all have arrived and the reply is decoded.
* A small reply is read at once, by the thread that looks at the files. Other threads read larger replies.
"""

from collections.abc import Callable, Sequence

from syft_flwr._messaging.arrivals import Arrival
from syft_flwr._messaging.asking.endings import Endings
from syft_flwr._messaging.asking.pending import Pending, Stage
from syft_flwr._messaging.asking.pending_requests import PendingRequests
from syft_flwr._messaging.asking.reply_readers import ReplyReaders
from syft_flwr._messaging.endpoint import Endpoint
from syft_flwr._messaging.transfer_progress import PROGRESS_EVERY
from syft_flwr._messaging.wire.body import Body, Failure, Seconds
from syft_flwr._messaging.wire.limits import MAX_ENVELOPE, MAX_ERROR_TEXT
from syft_flwr._messaging.wire.reasons import OF_AGGREGATOR, Reason, reason_of
from syft_flwr._messaging.wire.verifying import Verified, read_response
from syft_flwr._store.futures import Futures
from syft_flwr.errors import NotFoundError, StoreError, SyftFlwrError, TooLargeError, TransportError
from syft_flwr.log import logger
from syft_flwr.log_once import LogOnce
from syft_flwr.runs.events import ReplyProgress
from syft_flwr.runs.stream import Emit

#: Bytes of an envelope that is read and checked at once.
_SMALL = 65_536
#: Returns the content of a reply from its buffers; raises MalformedError if they are not valid.
Decode = Callable[[Sequence[bytes]], object]


class Receiver:
    """Reads the replies to pending requests. Thread-safe; one reply is read by one thread at a time.

    Args:
        endpoint: the transport, keys and names of the aggregator.
        futures: the database that records replies.
        pending: the requests that wait for a reply.
        endings: ends each request with an unusable reply.
        decode: returns the content of a reply from its buffers.
        error_in: returns the text of the error that a decoded reply contains; empty if there is none.
        on_late: called after a large reply was read, if the request is still open and a limit of its wait has passed.
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
        error_in: Callable[[object], str],
        on_late: Callable[[], None],
        on_event: Emit,
    ) -> None:
        self._endpoint = endpoint
        self._futures = futures
        self._decode = decode
        self._pending = pending
        self._endings = endings
        self._error_in = error_in
        self._on_late = on_late
        self._on_event = on_event
        self._logged = LogOnce()
        self._readers = ReplyReaders(self._read_all, f"replies-{endpoint.names.app}")

    def close(self) -> None:
        """End the threads that read large replies, each after its present reply. Do not wait for a busy one."""
        self._readers.close()

    def advance(self, pending: Pending, *, look_for_refusal: bool) -> None:
        """Read the reply to a request, and those of its objects that have arrived.

        Args:
            pending: a request that was sent and has no outcome.
            look_for_refusal: also check whether the sync service refused the request.
        """
        if self._readers.works_on(pending):
            self._read_soon(pending)
            return
        began = self._endpoint.clock.monotonic()
        try:
            if pending.stage is Stage.SENT and self._needs_reader(pending):
                self._read_soon(pending)
                return
        except TransportError as error:
            # It was no look, so no limit acts by it.
            self.log_once(pending, error)
            return
        if pending.stage is Stage.SENT and look_for_refusal:
            self._check_refused(pending)
        if pending.stage is Stage.ARRIVING and pending.body:
            if _size(pending) > _SMALL or pending.body.manifest.objects:
                self._read_soon(pending)
                return
            self._open_arrived(pending)
        pending.looked = began

    def _read_soon(self, pending: Pending) -> None:
        self._readers.offer(pending, _size(pending))

    def works_on(self, pending: Pending) -> bool:
        """Return whether a thread reads the reply to this request, or will read it."""
        return self._readers.works_on(pending)

    def _needs_reader(self, pending: Pending) -> bool:
        """Read the envelope of a small reply if it has arrived; return True if a reply waits for a reader thread."""
        transport = self._endpoint.transport
        if not transport.properties.concurrency:
            return self._receive(pending, most=_SMALL)
        # Each read waits for a service.
        try:
            transport.stat(pending.response_name)
        except NotFoundError:
            return False
        return True

    def _read_all(self, pending: Pending) -> None:
        """Read the reply to a request as far as it has arrived, of any size."""
        clock = self._endpoint.clock
        began = clock.monotonic()
        try:
            is_new = pending.stage is Stage.SENT
            if is_new:
                self._receive(pending, most=MAX_ENVELOPE)
            if is_new and pending.body and pending.body.manifest.objects:
                # Its number of bytes is known only now.
                self._read_soon(pending)
                return
            if not pending.has_outcome:
                self._open_arrived(pending)
            pending.looked = began
        except SyftFlwrError as error:
            self.log_once(pending, error)
        finally:
            if not pending.has_outcome and clock.monotonic() >= pending.ends[0]:
                self._on_late()

    def _receive(self, pending: Pending, *, most: int) -> bool:
        """Read the envelope of a reply if it has arrived; return True if it has more than ``most`` bytes."""
        try:
            data = self._endpoint.transport.get(pending.response_name, max_size=most)
        except NotFoundError:
            return False
        except TooLargeError as error:
            if most < MAX_ENVELOPE:
                return True
            self.log_once(pending, error)
            return False
        self._accept(pending, data)
        return False

    def _accept(self, pending: Pending, data: bytes) -> None:
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
            self._note_part(pending)
            pending.body, pending.arrival = body, arrival
            self._endpoint.links.need(asked.recipient, pending.id, body.manifest.object_ids)
            if not self._pending.advance(pending, Stage.SENT, Stage.ARRIVING):
                # The request was given up meanwhile, and its other second names are removed already.
                self._endpoint.links.release(asked.recipient, pending.id)

    def _open_arrived(self, pending: Pending) -> None:
        """Open the objects that have arrived. A new object shows that the data owner is alive."""
        body, arrival = pending.body, pending.arrival
        if body is None or arrival is None:
            return
        start = self._endpoint.clock.monotonic()
        try:
            if arrival.open_arrived():
                self._note_part(pending)
                self._emit_progress(pending, arrival)
            if not arrival.complete:
                return
            answer = self._decode(arrival.buffers()) if body.manifest.error is None else None
        except SyftFlwrError as error:
            if pending.has_outcome:
                return
            if error.transient:
                self.log_once(pending, error)
            else:
                self._refuse(pending, error)
            return
        if pending.has_outcome:
            # The request was given up, or this aggregator closed, while the reply was read.
            return
        pending.account.seconds_open += self._endpoint.clock.monotonic() - start
        self._note_arrival(pending, body, start)
        error_text = "" if answer is None else self._error_in(answer)
        self._endings.answer(pending, answer, _failure_of(body), error_text)

    def _note_part(self, pending: Pending) -> None:
        pending.moved = self._endpoint.clock.monotonic()
        pending.note_life(pending.moved)

    def _emit_progress(self, pending: Pending, arrival: Arrival) -> None:
        if not arrival.complete and pending.seen - pending.progress_at >= PROGRESS_EVERY:
            pending.progress_at = pending.seen
            names, size_of = (pending.id, pending.asked.recipient), self._endpoint.mine.file_size
            total = sum(map(size_of, arrival.objects))
            done = total - sum(map(size_of, arrival.missing))
            self._on_event(pending.asked.run, ReplyProgress(*names, *arrival.counts, bytes=done, total_bytes=total))

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
        peer = pending.asked.recipient
        logger.bind(peer=peer).error(text, self._label(pending), peer, error.diagnose())
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
        # Not the text of the error: a data owner can change it again and again.
        key = f"{name} {type(error).__name__}"
        values = self._label(pending), name, verb, error.diagnose()
        self._logged.warning(pending.asked.recipient, key, text, *values)

    def _label(self, pending: Pending) -> str:
        return self._endpoint.label(pending.id, pending.asked.run)


def _failure_of(body: Body) -> Failure | None:
    """Return the failure in a reply. A reason that only the aggregator may decide becomes ``refused``."""
    failure = body.manifest.error
    if failure is None or failure.code not in OF_AGGREGATOR:
        return failure
    return Failure(
        code=Reason.REFUSED,
        text=f"the data owner itself ended the request ({failure.code}): {failure.text}"[:MAX_ERROR_TEXT],
        reference=failure.reference,
    )


def _size(pending: Pending) -> int:
    """Return the number of bytes of a reply, as far as it is known."""
    if pending.body is None:
        return MAX_ENVELOPE
    return pending.account.bytes_received + sum(ref.size for ref in pending.body.manifest.objects)


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
