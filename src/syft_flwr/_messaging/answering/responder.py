"""The data owner's side: takes each authentic request once, and gives it one committed reply.

* What is a request is decided by ``inbox``, what waits and runs is in ``queue``, and ``answers`` records before it
  releases. Here they are joined: what happens at the start, at each change, and at the end.
* A request that the aggregator withdrew (its file went) is closed: our response and objects of it are deleted.
* A request whose objects have not all arrived is kept until they have.
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

#: Asked in the scanner's thread for each new request; the flag says that it was there before this process. A body
#: returned is the answer, None leaves the request to :meth:`Responder.next`.
Control = Callable[[Request, bool], Body | None]


class Responder:
    """Receives and answers, for one participant and one app. Thread-safe."""

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
        #: Requests that are not closed, by id: the name of their file.
        self._open: dict[str, str] = {}
        #: Those of them that this process has read.
        self._taken: set[str] = set()
        #: Those of them that will not be answered, because their run ended.
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
        """Open the inbox, finish what an earlier process left, and start to watch."""
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
        """Give out no more requests: :meth:`next` returns None. What was answered is still looked after."""
        self._queue.finish()

    def stop(self) -> None:
        """Stop watching, and take back the sign of life."""
        self.finish()
        self._scanner.stop()
        self._pulse.stop()

    def next(self) -> Request | None:
        """Wait for a request whose objects have all arrived; None after :meth:`finish`."""
        while request := self._queue.next():
            try:
                if self._ledger.move(request.header.id, Received.RUNNING):
                    return request
                # Withdrawn just now.
                self._queue.done(request.header.id)
            except StoreError as error:
                self.give_back(request, error)
        return None

    def give_back(self, request: Request, error: StoreError) -> None:
        """Take a request again at the next scan, since it cannot be run now."""
        logger.error("{}: a request waits: {}", self._label(request), error.diagnose())
        self._read_again(request)
        self._queue.done(request.header.id)

    def answer(self, request: Request, body: Body, *, context: str | None = None) -> bool:
        """Commit the answer, and the app's new state with it, then release it; as :meth:`Answers.commit`."""
        committed = self._answers.commit(request, body, context=context)
        self._queue.done(request.header.id)
        if committed is None:
            self._read_again(request)
        return bool(committed)

    def _label(self, request: Request) -> str:
        return self._endpoint.label(request.header.id, request.header.run)

    def _read_again(self, request: Request) -> None:
        """Take this request anew at the next scan, and run it again."""
        with self._changed:
            self._taken.discard(request.header.id)

    def end_run(self, run: int) -> None:
        """Refuse this run's requests from now on, and drop those that wait."""
        self._ledger.end_run(run, self._clock.now())
        with self._changed:
            self._dropped.update(self._queue.drop_run(run))

    def settle(self, timeout: float) -> None:
        """Wait until the aggregator has withdrawn what was answered, so that no file is left; at most ``timeout`` s."""
        deadline = self._clock.monotonic() + timeout
        with self._changed:
            # What was dropped, or runs in an app that was ended, has no answer to be withdrawn.
            while self._open.keys() - self._dropped - {self._queue.held()[0]} and self._clock.monotonic() < deadline:
                self._clock.wait_until(self._changed, deadline)

    def _look_at(self, changed: set[str]) -> None:
        if naming.card(self._aggregator) in changed:
            # Its requests may have waited for its key.
            self._look_at_everything()
        for name in changed:
            self._look_at_name(name)
        if any(name.endswith((REQUEST_SUFFIX, OBJECT_SUFFIX)) for name in changed):
            # After all of them, so that requests that came together are queued in the order of their making.
            self._queue.queue_complete(self._is_complete)

    def _look_at_everything(self) -> None:
        for name in list(self._open.values()):
            self._look_at_name(name)
        self._answers.put_again_what_changed()
        # Folders of others are looked at once; later only by what changes in them, however much they hold.
        names, me = self._names, self._me
        for name in self._list(names.messages(me) if self._backlog else names.messages_of(me, self._aggregator)):
            self._look_at_name(name)
        self._queue.queue_complete(self._is_complete)
        running, waiting = self._queue.held()
        # What was answered and is on its way is held too, until the aggregator has it.
        answered = self._open.keys() - {running, *waiting} - self._dropped
        self._pulse.beat(running, (*waiting, *sorted(answered)))

    def _list(self, folder: str) -> list[str]:
        try:
            return [entry.name for entry in islice(self._transport.list(folder), MAX_LISTED)]
        except TransportError as error:
            # What is known is looked after all the same; the folder is read again at the next scan.
            key, text = f"{folder} {type(error).__name__}", "{} cannot be read, and is read again later: {}"
            self._logged.warning(key, text, folder, error.diagnose())
            return []

    def _look_at_name(self, name: str) -> None:
        try:
            self._look_at_file(name)
        except SyftFlwrError as error:
            # The other files go on; this one is looked at again.
            key = f"{name} {type(error).__name__}"
            self._logged.warning(key, "{} is looked at again later: {}", name, error.diagnose())

    def _look_at_file(self, name: str) -> None:
        parsed = self._names.parse_request(self._me, name)
        if parsed is None:
            if name.startswith(self._names.messages(self._me)):
                self._inbox.pass_over(name)
            return
        sender, message_id = parsed
        # The sender counts: a file of another's with a known id is none of ours.
        known = sender == self._aggregator and message_id in self._open
        if known and (self._close_if_withdrawn(message_id, name) or message_id in self._taken):
            return
        if request := self._inbox.read(name, sender, message_id):
            self._take(request)

    def _take(self, request: Request) -> None:
        header = request.header
        # Asked before it counts as taken: where the database cannot say it now, the next scan looks again.
        is_over = self._ledger.has_ended(header.run)
        self._note_open(header.id, header.sender)
        if is_over:
            self._refuse(request, Reason.STOPPED, "this run is over")
            return
        try:
            answer = self._control(request, self._backlog)
        except SyftFlwrError as error:
            text = "{}: a request of {} cannot be followed: {}"
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
        """Delete objects of ours that no answer refers to: a crash came between writing them and the commit."""
        kept = {object_id for row in unfinished for object_id in row.objects}
        for entry in answer_objects(self._transport, self._names, self._me, kept=kept):
            discard(self._transport, entry.name)
