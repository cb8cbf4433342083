"""Runs the data owner's side of the exchange: one reply for each authentic request.

* It joins three modules: ``inbox`` accepts requests, ``queue`` holds the waiting ones, ``answers`` writes replies.
* It defines the steps at the start, at each change of a file, at each scan, and at the end.
* When the aggregator withdraws a request by deleting its file, the data owner deletes the reply and its objects.
* A request waits until all its objects have arrived.
"""

import threading
from collections.abc import Callable, Collection
from itertools import islice

from loguru import logger

from syft_flwr import names as naming
from syft_flwr._messaging.answering.answers import Answers
from syft_flwr._messaging.answering.inbox import Inbox, Request
from syft_flwr._messaging.answering.queue import RequestQueue
from syft_flwr._messaging.endpoint import Endpoint
from syft_flwr._messaging.log_once import LogOnce
from syft_flwr._messaging.own_files import answer_objects, discard
from syft_flwr._messaging.pulse import Pulse
from syft_flwr._messaging.scanner import Scanner
from syft_flwr._messaging.wire.body import Body, failure
from syft_flwr._messaging.wire.limits import MAX_LISTED
from syft_flwr._messaging.wire.reasons import Reason, reason_of
from syft_flwr._store.ledger import Ledger, ReceivedRow
from syft_flwr._store.states import Received
from syft_flwr.clock import SKEW
from syft_flwr.errors import NotFoundError, StoreError, SyftFlwrError, TransportError
from syft_flwr.names import OBJECT_SUFFIX, REQUEST_SUFFIX

#: Called in the thread of the scanner for each new request. The flag is True if the file existed before this process.
#: A returned body is the reply. With None, :meth:`Responder.next` gives out the request.
Control = Callable[[Request, bool], Body | None]


class Responder:
    """Receives requests and writes replies, for one participant and one app. Thread-safe."""

    def __init__(self, endpoint: Endpoint, *, ledger: Ledger, aggregator: str, control: Control) -> None:
        self._endpoint = endpoint
        self._transport = transport = endpoint.transport
        self._trust = endpoint.trust
        self._names = names = endpoint.names
        self._clock = clock = endpoint.clock
        self._ledger = ledger
        self._control = control
        self._aggregator = aggregator
        self._me = endpoint.email
        self._theirs = endpoint.objects_of(aggregator)
        self._inbox = Inbox(endpoint, ledger, aggregator, self._refuse_unreadable)
        self._queue = RequestQueue(clock)
        self._answers = Answers(endpoint, ledger)
        self._pulse = Pulse(endpoint, aggregator)
        self._changed = threading.Condition()
        #: The names of the files of requests that are not closed, by id.
        self._open: dict[str, str] = {}
        #: The ids of open requests that this process has accepted.
        self._taken: set[str] = set()
        #: The ids of open requests that get no reply, because their run has ended.
        self._dropped: set[str] = set()
        self._backlog = True
        self._logged = LogOnce()
        self._scanner = Scanner(
            transport,
            [names.messages(self._me), names.objects(aggregator), f"{aggregator}/public/"],
            on_names=self._look_at,
            on_scan=self._look_at_everything,
            clock=clock,
            name=f"responder-{names.app}",
        )

    def start(self) -> None:
        """Open the inbox, write the pending replies of an earlier process, and start the scanner."""
        self._transport.open_inbox(self._names.inbox(self._me))
        self._trust.publish()
        self._ledger.forget_before(self._clock.now() - 2 * SKEW)
        unfinished = self._ledger.unfinished()
        self._delete_orphans(unfinished)
        for row in unfinished:
            self._open[row.id] = self._names.request(self._me, row.sender, row.id)
            if row.state in (Received.ANSWERED, Received.REPLIED):
                self._taken.add(row.id)
            if row.response:
                self._answers.put(row.id, row.sender, row.response)
        self._scanner.start()
        self._backlog = False

    def finish(self) -> None:
        """Let :meth:`next` return None from now on. Written replies are still checked and restored."""
        self._queue.finish()

    def stop(self) -> None:
        """Stop the scanner, and delete the heartbeat."""
        self.finish()
        self._scanner.stop()
        self._pulse.stop()

    def next(self) -> Request | None:
        """Wait for a request with all its objects; return None after :meth:`finish`."""
        while request := self._queue.next():
            try:
                if self._ledger.move(request.header.id, Received.RUNNING):
                    return request
                # The aggregator has withdrawn the request.
                self._queue.done(request.header.id)
            except StoreError as error:
                self.give_back(request, error)
        return None

    def give_back(self, request: Request, error: StoreError) -> None:
        """Log that a request cannot run now, and read it again at the next scan."""
        text = "{}: the request cannot be started now, and is tried again after the next scan: {}"
        logger.error(text, self._label(request), error.diagnose())
        self._read_again(request)
        self._queue.done(request.header.id)

    def answer(self, request: Request, body: Body, *, context: str | None = None) -> bool:
        """Commit the reply with the new state of the app; return whether this reply was recorded.

        If it cannot be recorded now, the request is read again at the next scan. See :meth:`Answers.commit`.
        """
        committed = self._answers.commit(request, body, context=context)
        self._queue.done(request.header.id)
        if committed is None:
            self._read_again(request)
        return bool(committed)

    def _label(self, request: Request) -> str:
        return self._endpoint.label(request.header.id, request.header.run)

    def _read_again(self, request: Request) -> None:
        """Let the next scan accept this request again, so that it runs again."""
        with self._changed:
            self._taken.discard(request.header.id)

    def end_run(self, run: int) -> None:
        """Record the end of a run: refuse its later requests, and drop the waiting ones."""
        self._ledger.end_run(run, self._clock.now())
        with self._changed:
            self._dropped.update(self._queue.drop_run(run))

    def settle(self, timeout: float) -> None:
        """Wait at most ``timeout`` seconds until the aggregator has withdrawn all requests with a reply.

        After that, no file of them is left in the shared folder.
        """
        deadline = self._clock.monotonic() + timeout
        with self._changed:
            # Dropped requests, and a request in an app that was ended, have no reply.
            while self._open.keys() - self._dropped - {self._queue.held()[0]} and self._clock.monotonic() < deadline:
                self._clock.wait_until(self._changed, deadline)

    def _look_at(self, changed: set[str]) -> None:
        if naming.card(self._aggregator) in changed:
            # Requests may wait for the key of the aggregator.
            self._look_at_everything()
        for name in changed:
            self._look_at_name(name)
        if any(name.endswith((REQUEST_SUFFIX, OBJECT_SUFFIX)) for name in changed):
            # Once for all names, so that requests that arrived together are queued in order of creation.
            self._queue.queue_complete(self._is_complete)

    def _look_at_everything(self) -> None:
        for name in list(self._open.values()):
            self._look_at_name(name)
        self._answers.put_again_what_changed()
        # Other senders may have many files, so only the first scan lists their folders. Later, events report changes.
        names, me = self._names, self._me
        for name in self._list(names.messages(me) if self._backlog else names.messages_of(me, self._aggregator)):
            self._look_at_name(name)
        self._queue.queue_complete(self._is_complete)
        running, waiting = self._queue.held()
        # A request with a reply is also held, until the aggregator has read the reply.
        answered = self._open.keys() - {running, *waiting} - self._dropped
        self._pulse.beat(running, (*waiting, *sorted(answered)))

    def _list(self, folder: str) -> list[str]:
        try:
            return [entry.name for entry in islice(self._transport.list(folder), MAX_LISTED)]
        except TransportError as error:
            # The known files are checked in any case. The next scan lists the folder again.
            text = "{} cannot be listed now, and is listed again at the next scan: {}"
            self._logged.warning(f"{folder} {type(error).__name__}", text, folder, error.diagnose())
            return []

    def _look_at_name(self, name: str) -> None:
        try:
            self._look_at_file(name)
        except SyftFlwrError as error:
            # The other files are still handled. The next scan checks this one again.
            key = f"{name} {type(error).__name__}"
            self._logged.warning(key, "{} is checked again at the next scan: {}", name, error.diagnose())

    def _look_at_file(self, name: str) -> None:
        parsed = self._names.parse_request(self._me, name)
        if parsed is None:
            if name.startswith(self._names.messages(self._me)):
                self._inbox.pass_over(name)
            return
        sender, message_id = parsed
        # Another sender could use a known id, so the sender is compared, too.
        known = sender == self._aggregator and message_id in self._open
        if known and (self._close_if_withdrawn(message_id, name) or message_id in self._taken):
            return
        if request := self._inbox.read(name, sender, message_id):
            self._take(request)

    def _take(self, request: Request) -> None:
        header = request.header
        # Before the request counts as accepted: if the database fails here, the next scan reads the request again.
        is_over = self._ledger.has_ended(header.run)
        self._note_open(header.id, header.sender)
        if is_over:
            self._refuse(request, Reason.STOPPED, "this run is over")
            return
        try:
            answer = self._control(request, self._backlog)
        except SyftFlwrError as error:
            text = "{}: a request of {} cannot be carried out, and gets an error as its reply: {}"
            logger.error(text, self._label(request), header.sender, error.diagnose())
            self._refuse(request, reason_of(error), str(error))
            return
        if answer:
            self.answer(request, answer)
            return
        self._queue.add(request)

    def _note_open(self, message_id: str, sender: str) -> None:
        with self._changed:
            self._open[message_id] = self._names.request(self._me, sender, message_id)
            self._taken.add(message_id)

    def _is_complete(self, request: Request) -> bool:
        try:
            return not self._theirs.missing(request.body.manifest.objects)
        except SyftFlwrError as error:
            if error.transient:
                return False
            self._queue.drop(request.header.id)
            self._refuse(request, reason_of(error), str(error))
            return False

    def _refuse(self, request: Request, reason: Reason, text: str) -> None:
        self.answer(request, failure(reason, text))

    def _refuse_unreadable(self, request: Request, error: SyftFlwrError) -> None:
        self._note_open(request.header.id, request.header.sender)
        self._refuse(request, reason_of(error), str(error))

    def _close_if_withdrawn(self, message_id: str, name: str) -> bool:
        try:
            self._transport.stat(name)
        except NotFoundError:
            self._queue.drop(message_id)
            self._answers.close(message_id)
            with self._changed:
                self._open.pop(message_id, None)
                self._taken.discard(message_id)
                self._dropped.discard(message_id)
                self._changed.notify_all()
            return True
        return False

    def _delete_orphans(self, unfinished: Collection[ReceivedRow]) -> None:
        """Delete the objects of replies that were never committed, because of a crash."""
        kept = {object_id for row in unfinished for object_id in row.objects}
        for entry in answer_objects(self._transport, self._names, self._me, kept=kept):
            discard(self._transport, entry.name)
