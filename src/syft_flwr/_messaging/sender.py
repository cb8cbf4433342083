"""Seals requests, records them and releases their files: the first half of what an aggregator does.

Record, then release: a request is in the futures database with its bytes before its file appears. One that cannot be
sent, or whose peer has no key yet, holds up no other.
"""

import hashlib
import secrets
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from loguru import logger

from syft_flwr._messaging.broadcast import Broadcast
from syft_flwr._messaging.endpoint import Endpoint
from syft_flwr._messaging.leftovers import discard
from syft_flwr._messaging.limits import MAX_LIFETIME
from syft_flwr._messaging.once import Once
from syft_flwr._messaging.parallel import on_all_cores
from syft_flwr._messaging.pending import Outgoing, Pending, PendingRequests
from syft_flwr._messaging.reasons import Reason, reason_of
from syft_flwr._messaging.sealing import seal_request
from syft_flwr._messaging.states import FUTURE_ARROWS, Future, before
from syft_flwr._store.futures import FutureRow, Futures
from syft_flwr.errors import SyftFlwrError, TransportError, UnknownPeerError

#: Told of a request that can never be sent, and why.
OnFailure = Callable[[Pending, Reason, str], None]


class Sender:
    """Writes requests and their objects. Thread-safe."""

    def __init__(
        self,
        endpoint: Endpoint,
        *,
        futures: Futures,
        datasites: Collection[str],
        pending: PendingRequests,
        on_failure: OnFailure,
    ) -> None:
        self._endpoint = endpoint
        self._transport = endpoint.transport
        self._names = endpoint.names
        self._clock = endpoint.clock
        self._futures = futures
        self._readers = list(datasites)
        self._pending = pending
        self._fail = on_failure
        self._mine = endpoint.mine
        self._broadcast = Broadcast(self._mine)
        self._logged = Once()

    def send(self, messages: Sequence[Outgoing]) -> list[Pending]:
        """Send requests; return them in order. What cannot be sent ends as a failure of that request alone."""
        now = self._clock.now()
        batch = [self._register(asked, now) for asked in messages]
        sealed = [(pending, self._seal(pending)) for pending in batch]
        self._futures.add(self._row(pending, request) for pending, request in sealed)
        self._release([(pending, request) for pending, request in sealed if request])
        keyless = [pending for pending, request in sealed if not request and not pending.failure]
        for pending in keyless:
            pending.keyless = True
        return batch

    def send_late(self, pending: Pending) -> None:
        """Send a request that waited for its peer's key, if the key is there now."""
        request = self._seal(pending)
        if request:
            pending.keyless = False
            self._futures.set_request(pending.id, request)
            self._release([(pending, request)])

    def withdraw(self, pending: Pending) -> None:
        """Delete the file of a request, and its objects if no other request needs them."""
        discard(self._transport, pending.request_name)
        self._broadcast.release(pending.id)

    def close(self) -> None:
        """Delete every object of ours."""
        self._broadcast.close()

    def _register(self, asked: Outgoing, now: datetime) -> Pending:
        message_id = secrets.token_hex(16)
        lifetime = min(asked.lifetime, MAX_LIFETIME.total_seconds())
        pending = Pending(
            id=message_id,
            asked=asked,
            created=now,
            expires=now + timedelta(seconds=lifetime),
            deadline=self._clock.monotonic() + lifetime,
            seen=self._clock.monotonic(),
            request_name=self._names.request(asked.recipient, self._endpoint.email, message_id),
            response_name=self._names.response(asked.recipient, self._endpoint.email, message_id),
        )
        self._pending.add(pending)
        return pending

    def _seal(self, pending: Pending) -> bytes | None:
        """Return the request's envelope; None if it cannot be made now (no key yet) or ever (a failure)."""
        asked = pending.asked
        start = self._clock.monotonic()
        try:
            # Asked first, so that nothing large is written for a peer that cannot be written to.
            self._endpoint.trust.identity_of(asked.recipient)
            body, written = self._broadcast.make_body(
                asked.buffers, run=asked.run, readers=self._readers, holder=pending.id
            )
            data = seal_request(
                self._endpoint.trust,
                body,
                message_id=pending.id,
                run=asked.run,
                app=self._names.app,
                recipient=asked.recipient,
                kind=asked.type,
                group=asked.group,
                created=pending.created,
                expires=pending.expires,
                encryption=self._endpoint.encryption,
            )
        except UnknownPeerError as error:
            if self._logged.first(error):
                logger.warning("{}. {} The request waits for it.", error, error.hint)
            return None
        except SyftFlwrError as error:
            logger.error("{}: nothing was sent: {}", asked.recipient, error.diagnose())
            self._fail(pending, _why_not_sent(error), str(error))
            return None
        objects = sum(self._mine.file_size(ref) for ref in body.manifest.objects)
        pending.account.bytes_written = written + len(data)
        pending.account.bytes_saved = objects - written
        pending.account.seconds_seal = self._clock.monotonic() - start
        pending.digest = hashlib.sha256(data).hexdigest()
        # Sealed and recorded: from here on the message need not stay in memory.
        pending.asked = replace(asked, buffers=())
        return data

    def _row(self, pending: Pending, request: bytes | None) -> FutureRow:
        asked = pending.asked
        return FutureRow(
            id=pending.id,
            run=asked.run,
            recipient=asked.recipient,
            type=asked.type,
            round=asked.round or asked.group,
            state=Future.FAILED if pending.failure else Future.CREATED,
            created=pending.created,
            expires=pending.expires,
            request=request,
        )

    def _release(self, batch: Sequence[tuple[Pending, bytes]]) -> None:
        released = on_all_cores(self._put, batch)
        if sent := [pending.id for (pending, _), there in zip(batch, released, strict=True) if there]:
            self._futures.move(sent, Future.SENT, before=before(FUTURE_ARROWS, Future.SENT))

    def _put(self, sealed: tuple[Pending, bytes]) -> bool:
        pending, request = sealed
        pending.sent = self._clock.monotonic()
        try:
            self._transport.put(pending.request_name, request, readers=[pending.asked.recipient])
        except TransportError as error:
            logger.error("{}: the request could not be written: {}", pending.asked.recipient, error.diagnose())
            self._fail(pending, _why_not_sent(error), str(error))
            return False
        return True


def _why_not_sent(error: SyftFlwrError) -> Reason:
    # Of a file of ours that could not be written, there is no integrity to speak of.
    reason = reason_of(error, default=Reason.NOT_SENT)
    return Reason.NOT_SENT if reason is Reason.INTEGRITY else reason
