"""The data owner's side: takes each authentic request once, and gives it one committed answer.

* Only the aggregator is served. A request counts only if it is signed by the aggregator's pinned key, names this
  datasite, this app and its own file, and is within its time. All else is logged once with its reason, and neither run
  nor answered.
* Record, then release: a request is in the ledger before it is given out; the answer is in the ledger, with the app's
  new state, before its file appears. After a crash the same answer is put again, or the request is given out again.
* A request that the aggregator withdrew (its file went) is closed: our response and objects of it are deleted.
* A request whose objects have not all arrived is kept until they have.
"""

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Callable, Collection
from dataclasses import dataclass

from loguru import logger

from syft_flwr._messaging.acceptance import verify_request
from syft_flwr._messaging.body import Body, Manifest, failure
from syft_flwr._messaging.envelope import Header
from syft_flwr._messaging.heartbeat import Heartbeat
from syft_flwr._messaging.leftovers import answer_objects
from syft_flwr._messaging.limits import HEARTBEAT_INTERVAL, MAX_ENVELOPE
from syft_flwr._messaging.names import AppNames
from syft_flwr._messaging.objects import ObjectFolder
from syft_flwr._messaging.once import Once
from syft_flwr._messaging.reasons import Reason, reason_of
from syft_flwr._messaging.sealing import seal_response
from syft_flwr._messaging.states import RECEIVED_ARROWS, Received, before
from syft_flwr._messaging.trust import Trust
from syft_flwr._messaging.watcher import Watcher
from syft_flwr._store.ledger import Ledger, ReceivedRow
from syft_flwr.clock import SKEW, Clock
from syft_flwr.errors import (
    AddressError,
    LocalProtocolError,
    NotFoundError,
    SyftFlwrError,
    TransportError,
)
from syft_flwr.transport.base import Transport


@dataclass(frozen=True, slots=True)
class Request:
    """An authentic request, opened."""

    header: Header
    body: Body
    #: SHA-256 of its envelope, which the response is bound to.
    digest: str
    #: On the monotonic clock.
    arrived: float


#: Asked in the watcher's thread for each new request; the flag says that it was there before this process. A body
#: returned is the answer, None leaves the request to :meth:`Responder.next`.
Control = Callable[[Request, bool], Body | None]


class Responder:
    """Receives and answers, for one participant and one app. Thread-safe."""

    def __init__(
        self,
        *,
        transport: Transport,
        trust: Trust,
        ledger: Ledger,
        names: AppNames,
        aggregator: str,
        encryption: bool,
        clock: Clock,
        control: Control,
    ) -> None:
        self._transport = transport
        self._trust = trust
        self._ledger = ledger
        self._names = names
        self._aggregator = aggregator
        self._encryption = encryption
        self._clock = clock
        self._control = control
        self._me = trust.email
        self._theirs = ObjectFolder(transport, names, aggregator, encryption)
        self._mine = ObjectFolder(transport, names, self._me, encryption)
        self._changed = threading.Condition()
        #: Requests that are not closed, by id: the name of their file.
        self._open: dict[str, str] = {}
        #: Those of them that this process has read.
        self._taken: set[str] = set()
        #: Those of them that will not be answered, because their run ended.
        self._dropped: set[str] = set()
        #: Answers that were put, by request id: the name and the SHA-256 of the file.
        self._answers: dict[str, tuple[str, bytes]] = {}
        #: Held while an answer is put or taken away, so that none is put after its request was closed.
        self._placing = threading.Lock()
        self._incomplete: OrderedDict[str, Request] = OrderedDict()
        self._queue: OrderedDict[str, Request] = OrderedDict()
        self._running = ""
        self._since = clock.now()
        self._beat = 1
        self._published: tuple[float, str, tuple[str, ...]] | None = None
        self._backlog = True
        self._stopped = False
        self._logged = Once()
        self._watcher = Watcher(
            transport,
            [names.messages(self._me), names.objects(aggregator), f"{aggregator}/public/"],
            on_names=self._look_at,
            on_scan=self._look_at_everything,
            clock=clock,
            name=f"responder-{names.app}",
        )

    def start(self) -> None:
        """Open the inbox, finish what an earlier process left, and start to watch."""
        self._transport.open_inbox(self._names.inbox(self._me))
        self._trust.publish()
        self._ledger.forget_before(self._clock.now() - 2 * SKEW, Received.CLOSED)
        unfinished = self._ledger.unfinished(Received.CLOSED)
        self._delete_orphans(unfinished)
        for row in unfinished:
            self._open[row.id] = self._names.request(self._me, row.sender, row.id)
            if row.state in (Received.ANSWERED, Received.REPLIED):
                self._taken.add(row.id)
            if row.response:
                self._put_response(row.id, row.sender, row.response)
        self._watcher.start()
        self._backlog = False

    def finish(self) -> None:
        """Give out no more requests: :meth:`next` returns None. What was answered is still looked after."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()

    def stop(self) -> None:
        """Stop watching, and take back the sign of life."""
        self.finish()
        self._watcher.stop()
        self._transport.delete(self._names.heartbeat(self._me))

    def next(self) -> Request | None:
        """Wait for a request whose objects have all arrived; None after :meth:`finish`."""
        with self._changed:
            while not self._queue and not self._stopped:
                self._clock.wait_until(self._changed, None)
            if self._stopped:
                return None
            message_id, request = self._queue.popitem(last=False)
            self._running = message_id
        self._ledger.move(message_id, Received.RUNNING, before=before(RECEIVED_ARROWS, Received.RUNNING))
        return request

    def answer(self, request: Request, body: Body, *, context: str | None = None) -> bool:
        """Commit the answer, and the app's new state with it, then release it.

        Returns False if the request has an answer already or was withdrawn, or if there is no trusted key to seal it
        for; the body's objects are deleted then.
        """
        header = request.header
        try:
            response = self._seal(request, body)
        except LocalProtocolError as error:
            self._mine.delete(body.manifest.objects)
            return self.answer(request, failure(Reason.INVALID, str(error)))
        except SyftFlwrError as error:
            logger.error("the answer to {} waits: {}", header.sender, error.diagnose())
            self._mine.delete(body.manifest.objects)
            with self._changed:
                # Looked at again at every scan, and run again when its sender can be trusted.
                self._taken.discard(header.id)
                self._running = "" if self._running == header.id else self._running
            return False
        first = self._ledger.answer(
            header.id,
            Received.ANSWERED,
            before=before(RECEIVED_ARROWS, Received.ANSWERED),
            response=response,
            objects=[ref.id for ref in body.manifest.objects],
            context=None if context is None else (header.run, context),
        )
        with self._changed:
            if self._running == header.id:
                self._running = ""
        if not first:
            self._mine.delete(body.manifest.objects)
            return False
        self._put_response(header.id, header.sender, response)
        return True

    def end_run(self, run: int) -> None:
        """Refuse this run's requests from now on, and drop those that wait."""
        self._ledger.end_run(run, self._clock.now())
        with self._changed:
            for waiting in (self._queue, self._incomplete):
                for message_id in [i for i, request in waiting.items() if request.header.run == run]:
                    del waiting[message_id]
                    self._dropped.add(message_id)

    def settle(self, timeout: float) -> None:
        """Wait until the aggregator has withdrawn what was answered, so that no file is left; at most ``timeout`` s."""
        deadline = self._clock.monotonic() + timeout
        with self._changed:
            # What was dropped, or runs in an app that was ended, has no answer to be withdrawn.
            while self._open.keys() - self._dropped - {self._running} and self._clock.monotonic() < deadline:
                self._clock.wait_until(self._changed, deadline)

    def _look_at(self, changed: set[str]) -> None:
        for name in changed:
            self._look_at_name(name)
        if any(name.endswith(".blob") for name in changed):
            self._queue_complete()

    def _look_at_everything(self) -> None:
        for message_id, name in list(self._open.items()):
            self._close_if_withdrawn(message_id, name)
        for message_id, (name, digest) in list(self._answers.items()):
            self._put_again_if_changed(message_id, name, digest)
        found = [entry.name for entry in self._transport.list(self._names.messages(self._me))]
        for name in found:
            self._look_at_name(name)
        self._queue_complete()
        self._publish_heartbeat()

    def _publish_heartbeat(self) -> None:
        """Rewrite the sign of life if what it says changed, or if it is old."""
        with self._changed:
            running, waiting = self._running, (*self._queue, *self._incomplete)
        now = self._clock.monotonic()
        last = self._published
        if last and last[1:] == (running, waiting) and now - last[0] < HEARTBEAT_INTERVAL:
            return
        heartbeat = Heartbeat(self._me, self._names.app, self._since, self._beat, running, waiting)
        self._beat += 1
        name = self._names.heartbeat(self._me)
        try:
            data = heartbeat.encode(self._trust.identity)
            self._transport.put(name, data, readers=[self._aggregator], replace=True)
        except TransportError as error:
            logger.warning("the sign of life could not be written: {}", error.diagnose())
            return
        self._published = (now, running, waiting)

    def _look_at_name(self, name: str) -> None:
        if parsed := self._names.parse_request(self._me, name):
            self._look_at_request(*parsed, name)
        elif name.startswith(self._names.messages(self._me)) and name.endswith(".request") and self._logged.first(name):
            logger.warning("{} is ignored: its name is not that of a request of this protocol", name)

    def _look_at_request(self, sender: str, message_id: str, name: str) -> None:
        if message_id in self._taken:
            self._close_if_withdrawn(message_id, name)
            return
        try:
            if sender != self._aggregator:
                raise AddressError(f"{sender} is not the aggregator that this datasite serves ({self._aggregator})")
            request = self._receive(sender, message_id, name)
        except NotFoundError:
            return
        except SyftFlwrError as error:
            if self._logged.first(f"{name} {error}"):
                logger.warning("{} is {}: {}", name, "waited for" if error.transient else "ignored", error.diagnose())
            return
        if request:
            self._take(request)

    def _receive(self, sender: str, message_id: str, name: str) -> Request | None:
        """Read and verify one file; None if it was received before."""
        data = self._transport.get(name, max_size=MAX_ENVELOPE)
        verified = verify_request(
            data,
            trust=self._trust,
            sender=sender,
            message_id=message_id,
            app=self._names.app,
            now=self._clock.now(),
        )
        header, digest = verified.header, verified.digest
        if not self._record(header, digest):
            return None
        self._open[message_id] = name
        self._taken.add(message_id)
        try:
            body = verified.open(self._trust, encryption=self._encryption)
        except SyftFlwrError as error:
            # Authentic, but not to be opened: the aggregator can act on it, so it is told.
            logger.error("a request of {} cannot be opened: {}", sender, error.diagnose())
            request = Request(header, Body(Manifest(), b""), digest, self._clock.monotonic())
            self._refuse(request, reason_of(error), str(error))
            return None
        return Request(header, body, digest, self._clock.monotonic())

    def _record(self, header: Header, digest: str) -> bool:
        """Return whether this request is to be run: new, or known and unanswered since an earlier process."""
        row = ReceivedRow(
            id=header.id,
            run=header.run,
            sender=header.sender,
            type=header.type,
            round=header.group,
            state=Received.RECEIVED,
            digest=digest,
            received=self._clock.now(),
            expires=header.expires,
        )
        if self._ledger.add(row):
            return True
        known = self._ledger.get(header.id)
        if known is None or known.digest != digest:
            raise AddressError("its id was used before, for another request")
        if known.state == Received.CLOSED:
            raise AddressError("it was answered and closed before; this is a replay")
        return known.state in (Received.RECEIVED, Received.RUNNING)

    def _take(self, request: Request) -> None:
        header = request.header
        if self._ledger.has_ended(header.run):
            self._refuse(request, Reason.STOPPED, "this run is over")
            return
        try:
            answer = self._control(request, self._backlog)
        except SyftFlwrError as error:
            logger.error("a request of {} cannot be followed: {}", header.sender, error.diagnose())
            self._refuse(request, reason_of(error), str(error))
            return
        if answer:
            self.answer(request, answer)
            return
        with self._changed:
            self._incomplete[header.id] = request
        self._queue_complete()

    def _queue_complete(self) -> None:
        """Queue, in the order of their making, the requests whose objects have arrived."""
        with self._changed:
            waiting = sorted(self._incomplete.values(), key=lambda request: request.header.created)
        for request in waiting:
            try:
                if self._theirs.missing(request.body.manifest.objects):
                    continue
            except SyftFlwrError as error:
                self._drop(request.header.id)
                self._refuse(request, reason_of(error), str(error))
                continue
            with self._changed:
                if self._incomplete.pop(request.header.id, None):
                    self._queue[request.header.id] = request
                    self._changed.notify_all()

    def _refuse(self, request: Request, reason: Reason, text: str) -> None:
        self.answer(request, failure(reason, text))

    def _drop(self, message_id: str) -> None:
        with self._changed:
            self._incomplete.pop(message_id, None)
            self._queue.pop(message_id, None)

    def _close_if_withdrawn(self, message_id: str, name: str) -> None:
        try:
            self._transport.stat(name)
        except NotFoundError:
            self._close(message_id)

    def _close(self, message_id: str) -> None:
        row = self._ledger.get(message_id)
        self._drop(message_id)
        with self._placing:
            if row:
                self._transport.delete(self._names.response(self._me, row.sender, message_id))
                for object_id in row.objects:
                    self._transport.delete(self._names.object(self._me, object_id))
                self._ledger.close_request(message_id, Received.CLOSED, before=before(RECEIVED_ARROWS, Received.CLOSED))
            self._answers.pop(message_id, None)
            with self._changed:
                self._open.pop(message_id, None)
                self._taken.discard(message_id)
                self._dropped.discard(message_id)
                self._changed.notify_all()

    def _seal(self, request: Request, body: Body) -> bytes:
        return seal_response(
            self._trust,
            body,
            request=request.header,
            digest=request.digest,
            created=self._clock.now(),
            encryption=self._encryption,
        )

    def _put_response(self, message_id: str, sender: str, response: bytes) -> None:
        name = self._names.response(self._me, sender, message_id)
        with self._placing:
            if message_id not in self._open:
                return
            self._answers[message_id] = name, hashlib.sha256(response).digest()
            try:
                # Its place is ours alone: whatever somebody else put there is replaced.
                self._transport.put(name, response, readers=[sender], replace=True)
            except TransportError as error:
                if self._logged.first(f"{name} {error}"):
                    logger.error("{} cannot be written, and is tried again at each scan: {}", name, error.diagnose())
                return
        self._ledger.move(message_id, Received.REPLIED, before=before(RECEIVED_ARROWS, Received.REPLIED))

    def _put_again_if_changed(self, message_id: str, name: str, digest: bytes) -> None:
        """Put an answer again that somebody else with access to the folder deleted or overwrote."""
        try:
            found = hashlib.sha256(self._transport.get(name, max_size=MAX_ENVELOPE)).digest()
        except TransportError:
            found = b""
        row = self._ledger.get(message_id) if found != digest else None
        if row and row.response:
            if row.state == Received.REPLIED and self._logged.first(f"{name} changed"):
                logger.warning("{} was deleted or overwritten by somebody else; it is put again", name)
            self._put_response(message_id, row.sender, row.response)

    def _delete_orphans(self, unfinished: Collection[ReceivedRow]) -> None:
        """Delete objects of ours that no answer refers to: a crash came between writing them and the commit."""
        kept = {object_id for row in unfinished for object_id in row.objects}
        for entry in answer_objects(self._transport, self._names, self._me, kept=kept):
            self._transport.delete(entry.name)
