"""Seals requests, records them, then writes their files.

The envelope of a request is in the futures database before its file is written. A request that cannot be sent, or that
waits for the key of its peer, does not delay other requests.
"""

import hashlib
import secrets
from collections.abc import Collection, Sequence
from datetime import datetime, timedelta

from syft_flwr._messaging.asking.broadcast import Broadcast
from syft_flwr._messaging.asking.clean_start import CleanStart
from syft_flwr._messaging.asking.endings import Endings
from syft_flwr._messaging.asking.order import SendingOrder
from syft_flwr._messaging.asking.pending import Ask, Pending, Stage
from syft_flwr._messaging.asking.pending_requests import PendingRequests
from syft_flwr._messaging.asking.request_files import RequestFiles
from syft_flwr._messaging.asking.resume import Digests, Resume
from syft_flwr._messaging.endpoint import Endpoint
from syft_flwr._messaging.layout import personal
from syft_flwr._messaging.threads import on_all_cores
from syft_flwr._messaging.wire.limits import MAX_LIFETIME
from syft_flwr._messaging.wire.reasons import Reason, reason_of
from syft_flwr._messaging.wire.sealing import seal_request
from syft_flwr._store.futures import FutureRow, Futures
from syft_flwr._store.states import Future
from syft_flwr.errors import QuotaError, SyftFlwrError, TransportError, UnavailableError, UnknownPeerError
from syft_flwr.log import logger
from syft_flwr.log_once import LogOnce
from syft_flwr.runs.events import RequestSent, moment
from syft_flwr.runs.stream import Emit

#: The age of a request from which on a missing key is told.
_KEY_IS_LATE = timedelta(seconds=5)


class Sender:
    """Writes requests and their objects. Thread-safe."""

    def __init__(
        self,
        endpoint: Endpoint,
        *,
        futures: Futures,
        resume: Resume,
        broadcast: Broadcast,
        clean_start: CleanStart,
        datasites: Collection[str],
        pending: PendingRequests,
        files: RequestFiles,
        endings: Endings,
        on_event: Emit,
    ) -> None:
        self._endpoint = endpoint
        self._transport = endpoint.transport
        self._names = endpoint.names
        self._clock = endpoint.clock
        self._futures = futures
        self._resume = resume
        self._broadcast = broadcast
        self._clean_start = clean_start
        self._digests = Digests()
        self._readers = list(datasites)
        self._pending = pending
        self._endings = endings
        self._on_event = on_event
        self._files = files
        self._mine = endpoint.mine
        self._logged = LogOnce()
        self._order = SendingOrder()

    def send(self, messages: Sequence[Ask]) -> list[Pending]:
        """Send requests; return them in order. A request that cannot be sent gets a failure as its outcome."""
        now = self._clock.now()
        batch, new = [], []
        for asked in messages:
            pending = self._take_up(asked)
            if pending is None:
                pending = self._register(asked, now)
                new.append(pending)
            else:
                self._order.note(asked.recipient, pending.created)
            batch.append(pending)
        self._pending.add(batch)
        for pending, alone in zip(new, personal([pending.asked.sharable for pending in new]), strict=True):
            if pending.asked.once:
                self._withdraw_rest(pending.asked.recipient)
            self._seal(pending, personal=alone)
        if new:
            self._futures.add(map(_row, new))
        for pending in new:
            self._pending.advance(pending, Stage.SEALING, Stage.TO_WRITE if pending.request else Stage.WAITING_FOR_KEY)
        for pending in batch:
            self._emit_sent(pending)
            if pending.restored:
                self._endings.report_restored(pending)
        self._release(batch)
        return batch

    def send_late(self, pending: Pending) -> None:
        """Send a request that waited for the key of its peer, if the peer has published the key."""
        if pending.request is None:
            # If only the record failed, the envelope exists already, and the buffers are no longer in memory.
            self._seal(pending, personal=False)
        if pending.request is None:
            return
        digest, objects = pending.digest, pending.objects
        recorded = self._futures.set_request(pending.id, pending.request, digest=digest, objects=objects)
        if recorded and self._pending.advance(pending, Stage.WAITING_FOR_KEY, Stage.TO_WRITE):
            self._emit_sent(pending)
            self._release([pending])
        else:
            # The request has ended while it was sealed.
            self._broadcast.release(pending.id)

    def send_again(self, pending: Pending) -> None:
        """Write the file of a recorded request after an earlier attempt failed."""
        self._release([pending])

    def withdraw(self, pending: Pending) -> None:
        """Delete the file of a request, and its objects if no other request needs them."""
        self._files.delete(pending.request_name)
        self._broadcast.release(pending.id)

    def _take_up(self, asked: Ask) -> Pending | None:
        if not asked.once:
            return None
        return self._resume.restore(asked, self._digests.digest(asked.buffers))

    def _withdraw_rest(self, recipient: str) -> None:
        """Withdraw the open requests of an earlier process to a data owner that this process did not repeat."""
        if rows := self._resume.rest(recipient):
            logger.info(
                "run {} ({}): the resumed run did not repeat {} open requests to {}; they are withdrawn, "
                "and no action is needed",
                rows[0].run,
                self._names.app,
                len(rows),
                recipient,
            )
            self._clean_start.withdraw(rows, "the resumed run did not send it again")

    def put_back_objects(self) -> None:
        """Write the objects of open requests again that another program deleted."""
        self._broadcast.put_back(self._readers)

    def close(self) -> None:
        """Delete all objects that this aggregator wrote."""
        self._broadcast.close()
        self._digests.forget()

    def _register(self, asked: Ask, now: datetime) -> Pending:
        message_id = secrets.token_hex(16)
        # A control message is not in the order: a data owner reads it at once.
        created = self._order.next(asked.recipient, now) if asked.once else now
        lifetime = min(asked.lifetime, MAX_LIFETIME.total_seconds())
        return Pending(
            id=message_id,
            asked=asked,
            content=self._digests.digest(asked.buffers) if asked.once else "",
            created=created,
            expires=created + timedelta(seconds=lifetime),
            deadline=self._clock.monotonic() + lifetime,
            seen=self._clock.monotonic(),
            request_name=self._names.request(asked.recipient, self._endpoint.email, message_id),
            response_name=self._names.response(asked.recipient, self._endpoint.email, message_id),
        )

    def _seal(self, pending: Pending, *, personal: bool) -> None:
        """Seal the envelope of a request. If the peer has no key yet, leave it for later; other errors end it.

        ``personal`` tells whether no other data owner gets the large buffers.
        """
        asked = pending.asked
        start = self._clock.monotonic()
        try:
            # The key comes first: if it is missing or wrong, no object must be written.
            peer = self._endpoint.trust.identity_of(asked.recipient)
            body, written = self._broadcast.make_body(
                asked.buffers,
                run=asked.run,
                readers=self._readers,
                holder=pending.id,
                personal=personal or len(self._readers) == 1,
                always_inline=asked.always_inline,
            )
            data = seal_request(
                body.of_round(asked.round),
                email=self._endpoint.email,
                identity=self._endpoint.trust.identity,
                recipient=asked.recipient,
                peer=peer,
                message_id=pending.id,
                run=asked.run,
                app=self._names.app,
                kind=asked.type,
                group=asked.group,
                created=pending.created,
                expires=pending.expires,
                encryption=self._endpoint.encryption,
            )
        except UnknownPeerError as error:
            # At the start of a run, the key of a peer that runs comes within seconds.
            if self._clock.now() - pending.created >= _KEY_IS_LATE:
                text = "{}: {}. {} The request is sent when the key is published."
                self._logged.warning(asked.recipient, error, text, self._label(pending), error, error.hint)
            return
        except SyftFlwrError as error:
            text = "{} to {}: the request was not sent, and has failed: {}"
            logger.error(text, self._label(pending), asked.recipient, error.diagnose())
            self._endings.fail(pending, _why_not_sent(error), str(error))
            return
        objects = sum(self._mine.file_size(ref) for ref in body.manifest.objects)
        pending.account.bytes_written = written + len(data)
        pending.account.bytes_saved = objects - written
        pending.object_bytes = objects
        pending.account.seconds_seal = self._clock.monotonic() - start
        pending.digest = hashlib.sha256(data).hexdigest()
        pending.request, pending.objects = data, body.manifest.object_ids
        # The message is sealed, so its buffers can be freed.
        pending.asked = asked.without_buffers()

    def _emit_sent(self, pending: Pending) -> None:
        if not pending.asked.recorded or not (pending.digest or pending.replayed):
            # It is no part of a run; or it is not sealed, because it waits for a key or has failed.
            return
        asked, account = pending.asked, pending.account
        sent = RequestSent(
            message=pending.id,
            data_owner=asked.recipient,
            kind=asked.type,
            round=asked.round or asked.group,
            bytes=account.bytes_written,
            bytes_saved=account.bytes_saved,
            seconds_seal=round(account.seconds_seal, 4),
            deadline=moment(pending.expires),
            replayed=pending.replayed,
        )
        self._on_event(asked.run, sent)

    def _label(self, pending: Pending) -> str:
        return self._endpoint.label(pending.id, pending.asked.run)

    def _release(self, batch: Sequence[Pending]) -> None:
        """Write the files of the requests that are recorded and not written yet."""
        mine = [pending for pending in batch if self._pending.advance(pending, Stage.TO_WRITE, Stage.SENT)]
        by_recipient: dict[str, list[Pending]] = {}
        for pending in mine:
            by_recipient.setdefault(pending.asked.recipient, []).append(pending)
        threads = self._transport.properties.concurrency
        written = on_all_cores(self._put_in_order, list(by_recipient.values()), threads=threads)
        if sent := [message_id for ids in written for message_id in ids]:
            self._futures.move(sent, Future.SENT)

    def _put_in_order(self, requests: Sequence[Pending]) -> list[str]:
        """Write the files of requests to one data owner; return the ids of those that are written."""
        return [pending.id for pending in requests if self._put(pending)]

    def _put(self, pending: Pending) -> bool:
        request, pending.request = pending.request, None
        pending.sent = self._clock.monotonic()
        try:
            self._files.put(pending, request or b"")
        except (UnavailableError, QuotaError) as error:
            text = "{} to {}: the request cannot be written now, and is tried again at each scan: {}"
            values = self._label(pending), pending.asked.recipient, error.diagnose()
            self._logged.warning(pending.asked.recipient, f"{pending.id} unavailable", text, *values)
            pending.request = request
            self._pending.advance(pending, Stage.SENT, Stage.TO_WRITE)
            return False
        except TransportError as error:
            text = "{} to {}: the request could not be written, and has failed: {}"
            logger.error(text, self._label(pending), pending.asked.recipient, error.diagnose())
            self._endings.fail(pending, _why_not_sent(error), str(error))
            return False
        return True


def _row(pending: Pending) -> FutureRow:
    asked, failure = pending.asked, pending.failure
    return FutureRow(
        id=pending.id,
        run=asked.run,
        recipient=asked.recipient,
        type=asked.type,
        group=asked.group,
        round=asked.round or asked.group,
        content=pending.content,
        state=Future.FAILED if failure else Future.CREATED,
        created=pending.created,
        expires=pending.expires,
        request=pending.request,
        digest=pending.digest,
        objects=tuple(pending.objects),
        code=failure.code if failure else "",
        reason=failure.text if failure else "",
    )


def _why_not_sent(error: SyftFlwrError) -> Reason:
    # The code ``integrity`` concerns received objects; here a file could not be written.
    reason = reason_of(error, default=Reason.NOT_SENT)
    return Reason.NOT_SENT if reason is Reason.INTEGRITY else reason
