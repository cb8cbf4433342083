"""Runs the data owner's side of the exchange: one reply for each authentic request.

* It joins three modules: ``inbox`` accepts requests, ``queue`` holds the waiting ones, ``answers`` writes replies.
* It defines the steps at the start, at each change of a file, at each scan, and at the end.
* When the aggregator has withdrawn a request, the data owner deletes the reply and its objects.
* A request waits until all its objects have arrived.
"""

import math
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace

from syft_flwr import names as naming
from syft_flwr._messaging.answering.answers import Answers, ReplyReport
from syft_flwr._messaging.answering.closing import ByAbsence, ByStatement, ByTime, Closing
from syft_flwr._messaging.answering.contact import Contact
from syft_flwr._messaging.answering.inbox import Inbox, Request
from syft_flwr._messaging.answering.inbox_folder import InboxFolder
from syft_flwr._messaging.answering.open_requests import OpenRequest, OpenRequests
from syft_flwr._messaging.answering.queue import RequestQueue
from syft_flwr._messaging.answering.reply_transfers import ReplyTransfers
from syft_flwr._messaging.answering.work import Interrupt, Work
from syft_flwr._messaging.endpoint import Endpoint
from syft_flwr._messaging.liveness import Liveness
from syft_flwr._messaging.own_files import answer_objects, restore_permissions
from syft_flwr._messaging.pulse import Pulse
from syft_flwr._messaging.scanner import Scanner
from syft_flwr._messaging.transfer_progress import RequestProgresses
from syft_flwr._messaging.wire import failures
from syft_flwr._messaging.wire.body import Body, ObjectRef
from syft_flwr._messaging.wire.envelope import Header
from syft_flwr._messaging.wire.limits import HEARTBEAT_INTERVAL
from syft_flwr._store.ledger import Ledger, ReceivedRow
from syft_flwr._store.run_table import CROWDED_OUT
from syft_flwr._store.states import Received, RunState
from syft_flwr.clock import SKEW
from syft_flwr.errors import StoreError, SyftFlwrError
from syft_flwr.log import logger
from syft_flwr.log_once import STRANGERS, LogOnce
from syft_flwr.names import in_inbox, is_object
from syft_flwr.runs.events import RequestProgress, RequestReceived, RequestRefused, RequestStarted
from syft_flwr.runs.stream import Emit, ignore

#: Attempts at a request in which the client itself was killed, after which the request is answered without its app.
MOST_DEATHS = 3
#: Listings of the inbox in one scan, while each shows further requests.
_MOST_LISTINGS = 3

#: Called in the thread of the scanner for each new request. The flag is True if the file existed before this process.
#: A returned body is the reply. With None, :meth:`Responder.next` gives out the request.
Control = Callable[[Request, bool], Body | None]
#: Called in the same thread for each new request of a run that is over. With None, the request is refused.
AfterTheEnd = Callable[[Request], Body | None]


class Responder:
    """Receives requests and writes replies, for one participant and one app. Thread-safe."""

    def __init__(
        self,
        endpoint: Endpoint,
        *,
        ledger: Ledger,
        aggregator: str,
        control: Control,
        after_the_end: AfterTheEnd | None = None,
        interrupt: Interrupt = lambda _: None,
        is_in_run: Callable[[], bool] = lambda: False,
        on_event: Emit = ignore,
        on_heard: Callable[[], object] = lambda: None,
        on_scan: Callable[[], object] = lambda: None,
        on_turn: Callable[[str], object] = lambda _: None,
        received: set[str] | None = None,
    ) -> None:
        self._endpoint = endpoint
        self._transport = transport = endpoint.transport
        self._names = names = endpoint.names
        self._clock = clock = endpoint.clock
        self._ledger = ledger
        self._control = control
        self._after_the_end = after_the_end
        self._is_in_run = is_in_run
        self._aggregator = aggregator
        self._on_event = on_event
        self._on_heard = on_heard
        self._on_scan = on_scan
        self._progress = RequestProgresses(clock, on_event)
        #: Ids of the open requests that this process has emitted as received, also by an earlier responder.
        self._received = set[str]() if received is None else received
        self._me = endpoint.email
        self._theirs = endpoint.objects_of(aggregator)
        self._links = endpoint.links
        self._inbox = Inbox(endpoint, ledger, aggregator, self._refuse_unreadable, on_event)
        self._queue = RequestQueue(clock)
        self._answers = Answers(endpoint, ledger, on_event)
        self._transfers = ReplyTransfers(endpoint, self._answers, aggregator)
        self._pulse = Pulse(endpoint, "data-owner", [aggregator])
        self._open = OpenRequests(clock)
        self._work = Work(endpoint, ledger, self._queue, self._answers, self._open, interrupt)
        self._files_vanish = transport.properties.files_vanish
        liveness = Liveness(endpoint, "aggregator")
        self._contact = Contact(endpoint, aggregator, liveness)
        self._closing: Closing = (
            ByStatement(endpoint, ledger, aggregator, liveness) if self._files_vanish else ByAbsence(transport)
        )
        self._by_time = ByTime(endpoint, ledger)
        self._folder = InboxFolder(endpoint, ledger, aggregator)
        #: The names of the requests from before this client showed itself; None if they could not be listed.
        self._backlog: frozenset[str] | None = None
        self._has_scanned = False
        self._started = False
        #: Why a request could not be recorded since the last scan; empty if there was no such request.
        self._trouble = ""
        self._logged = LogOnce()
        # The folder of the aggregator is named too, so that the folders of other senders do not use its share.
        theirs = names.messages_of(self._me, aggregator), names.objects(aggregator)
        self._scanner = Scanner(
            transport,
            [names.messages(self._me), *theirs, f"{aggregator}/public/", names.status(aggregator)],
            on_names=self._look_at,
            on_scan=self._look_at_everything,
            clock=clock,
            name=f"responder-{names.app}",
            on_turn=lambda trouble: on_turn(trouble or self._pulse.trouble or self._trouble),
        )

    def start(self) -> None:
        """Open the inbox, write the pending replies of an earlier process, and start the scanner."""
        self._transport.open_inbox(self._names.inbox(self._me))
        # Before the key is there: an aggregator may send as soon as it reads the key, also during the first scan.
        listed = self._folder.names()
        self._endpoint.publish([self._aggregator], [self._names.messages_of(self._me, self._aggregator)])
        self._ledger.forget_before(self._clock.now() - 2 * SKEW)
        unfinished = self._ledger.unfinished()
        if listed is not None:
            # The files of recorded requests may have vanished.
            recorded = (self._names.request(self._me, row.sender, row.id) for row in unfinished)
            self._backlog = frozenset((*listed, *recorded))
        if interval := self._ledger.interval():
            self._pulse.set_interval(interval)
        self._links.follow(self._aggregator, answers=False)
        self._delete_orphans(unfinished)
        for row in unfinished:
            served = row.sender == self._aggregator
            self._open.add(
                row.id,
                row.sender,
                self._names.request(self._me, row.sender, row.id),
                expires=row.expires,
                received=row.received,
                taken=not served or row.state in (Received.ANSWERED, Received.REPLIED),
            )
            if not served:
                # Its aggregator does not read the heartbeat of this client, so it states nothing while this client runs.
                self._open.drop([row.id])
            # One at a time, because all replies together can fill the memory.
            if response := self._ledger.response(row.id):
                # A killed process may have written the file, but not the event.
                self._answers.put(row.id, row.sender, response)
        self._started = True
        self._scanner.start()
        self._has_scanned = True

    def finish(self) -> None:
        """Let :meth:`next` return None from now on. Written replies are still checked and restored."""
        self._queue.finish()
        self._work.finish()

    def stop(self, *, keep_heartbeat: bool = False) -> None:
        """Stop the scanner, and delete the heartbeat unless the caller keeps it for the next responder."""
        self.finish()
        self._scanner.stop()
        if not keep_heartbeat:
            self._pulse.stop()
        if self._files_vanish and self._started:
            self._folder.tidy_at_the_end()
        self._links.prune()

    def delete_uncommitted(self) -> None:
        """Delete the objects of replies that are not committed. No app may run meanwhile."""
        try:
            self._delete_orphans(self._ledger.unfinished())
        except SyftFlwrError as error:
            text = "{}: objects of an interrupted reply stay in the folder until the next start: {}"
            logger.warning(text, self._names.app, error.diagnose())

    def next(self, on_idle: Callable[[], object] = lambda: None, *, after: float = math.inf) -> Request | None:
        """Wait for a request with all its objects; return None after :meth:`finish`.

        ``on_idle`` is called once if no request came for ``after`` seconds. The wait then continues.
        """
        while request := self._queue.next(on_idle, after=after):
            if self._work.is_late(request):
                self._refuse(request, failures.late())
                continue
            try:
                attempt = self._ledger.start(request.header.id)
            except StoreError as error:
                self.give_back(request, error)
                continue
            if attempt is None:
                # The aggregator has withdrawn the request.
                self._queue.done(request.header.id)
            elif attempt.deaths >= MOST_DEATHS:
                self._refuse_deadly(request)
            else:
                self._on_event(request.header.run, RequestStarted(request.header.id, attempt.number))
                return request
        return None

    def _refuse_deadly(self, request: Request) -> None:
        text = "{}: the client itself was killed {} times on this message, so the app does not work on it again"
        logger.error(text, self._label(request), MOST_DEATHS)
        self._refuse(request, failures.deadly(MOST_DEATHS))

    def give_attempt_back(self) -> bool:
        """Record that this process ends in an orderly way; return False if that was not possible, see :class:`Work`."""
        return self._work.give_attempt_back()

    def give_back(self, request: Request, error: StoreError) -> None:
        """Log that a request cannot run now, and read it again at the next scan."""
        text = "{}: the request cannot be started now, and is tried again after the next scan: {}"
        logger.error(text, self._label(request), error.diagnose())
        self._read_again(request)
        self._queue.done(request.header.id)

    def answer(
        self, request: Request, body: Body, *, context: str | None = None, about: ReplyReport | None = None
    ) -> bool:
        """Commit the reply with the new state of the app; return whether this reply was recorded.

        The reply gets the seconds of downloading the objects and of waiting for the app. While it cannot be recorded, this
        method waits, see :meth:`Work.commit`.
        """
        spent = request.seconds(self._clock.monotonic())
        return self._work.commit(request, body.spent(**spent), context=context, about=about)

    def _answer_without_app(self, request: Request, body: Body) -> None:
        """Commit a reply without work of the app. If it cannot be recorded now, the next scan reads the request again."""
        committed = self._answers.commit(request, body)
        self._queue.done(request.header.id)
        if committed is None:
            self._answers.discard(body)
            self._read_again(request)

    def _label(self, request: Request) -> str:
        return self._endpoint.label(request.header.id, request.header.run)

    def _read_again(self, request: Request) -> None:
        """Let the next scan accept this request again, so that it runs again."""
        self._open.give_back(request.header.id)

    def end_run(self, run: int, state: RunState, cause: str) -> None:
        """Record the end of a run: refuse its later requests, and drop the waiting ones."""
        self._ledger.end_run(run, state, cause, self._clock.now())
        self._pulse.set_interval(self._ledger.interval() or HEARTBEAT_INTERVAL)
        self._links.end_run(self._aggregator, run)
        self._open.drop(self._queue.drop_run(run))

    def set_interval(self, run: int, seconds: float) -> None:
        """Write a heartbeat at least once in ``seconds`` until the end of a run, as its aggregator asks.

        Raises:
            StoreError: the interval cannot be recorded for the next process.
        """
        self._ledger.set_interval(run, seconds)
        self._pulse.set_interval(seconds)

    def last_seen(self) -> str:
        """Return when the last request or heartbeat of the aggregator has come, as text for a person."""
        return self._contact.last_seen()

    def occupation(self) -> tuple[str, int]:
        """Return the message type of the running request (or an empty string), and the number of waiting requests."""
        return self._queue.running_type(), len(self._queue.held()[1])

    def running_run(self) -> int | None:
        """Return the run of the request that the app works on; None if there is none."""
        return self._queue.running_run()

    def settle(self, timeout: float) -> None:
        """Wait at most ``timeout`` seconds until the aggregator has withdrawn all requests with a reply.

        After that, no file of them is left in the shared folder. Later requests are recorded for the next client.
        """
        if self._files_vanish:
            # The heartbeat must name all held requests, so that the aggregator states which of them are withdrawn.
            self._scanner.wake()
        # Dropped requests, and a request in an app that was ended, have no reply.
        self._open.wait_until_closed(lambda: self._queue.held()[0], timeout)

    def _look_at(self, changed: set[str]) -> None:
        # First, because the sync service can delete an arrived file at any moment.
        self._links.note(changed)
        self._answers.note(changed)
        if changed & {naming.card(self._aggregator), self._names.pushed_card(self._aggregator)}:
            # Requests may wait for the key of the aggregator.
            self._look_at_everything()
        if self._closing.statement in changed:
            self._hear_the_aggregator()
            for request in self._open.all():
                self._look_at_name(request.name)
        for name in changed:
            self._look_at_name(name)
        if self._files_vanish:
            # A request that comes back may have lost its reply, too.
            back = [found[1] for name in changed if (found := self._names.parse_request(self._me, name))]
            self._answers.put_back_if_missing(back)
        if any(in_inbox(name) or is_object(name) for name in changed):
            # Once for all names, so that requests that arrived together are queued in order of creation.
            self._queue.queue_complete(self._missing_of)

    def _hear_the_aggregator(self) -> None:
        if heartbeat := self._closing.look():
            self._transfers.hear(heartbeat)

    def look_soon(self) -> None:
        """Start a scan. Safe from any thread."""
        self._scanner.wake()

    def _look_at_everything(self) -> None:
        self._on_scan()
        self._trouble = ""
        restore_permissions(self._transport, self._logged)
        self._links.look([self._aggregator])
        self._hear_the_aggregator()
        if not self._files_vanish:
            self._contact.look()
        for request in self._open.all():
            self._look_at_name(request.name)
        self._answers.put_again_what_changed()
        self._answers.put_back_objects(self._aggregator)
        listed = self._look_at_folder()
        if self._files_vanish:
            self._folder.tidy(listed)
        self._queue.queue_complete(self._missing_of)
        self._work.end_if_late()
        self._work.note_scan()
        running, waiting = self._queue.held()
        # A request with a reply is also held, until the aggregator has read the reply.
        held = (*waiting, *self._open.without((running, *waiting)))
        self._contact.remind(in_run=self._is_in_run())
        if self._contact.has_news():
            self._on_heard()
        self._pulse.beat(running=running, waiting=held, missing=self._transfers.look(self._queue.missing()))

    def _look_at_folder(self) -> list[str]:
        """Look at all files of the inbox; return their names."""
        known: set[str] = set()
        # A listing can miss a file that was written meanwhile, and yet show a later one. A second one shows both.
        for _ in range(_MOST_LISTINGS):
            # Other senders may have many files, so only the first scan lists their folders. Later, events report changes.
            listed = self._folder.names(all_senders=not self._has_scanned) or []
            new = [name for name in listed if name not in known]
            for name in new:
                self._look_at_name(name)
            if not any(self._names.parse_request(self._me, name) for name in new):
                break
            known.update(new)
        return listed

    def _look_at_name(self, name: str) -> None:
        try:
            self._look_at_file(name)
        except SyftFlwrError as error:
            # The other files are still handled. The next scan checks this one again.
            if isinstance(error, StoreError):
                # Of this participant alone: no file of a peer causes it.
                self._trouble = error.diagnose()
            key = f"{name} {type(error).__name__}"
            parsed = self._names.parse_request(self._me, name)
            peer = parsed[0] if parsed and parsed[0] == self._aggregator else STRANGERS
            self._logged.warning(peer, key, "{} is checked again at the next scan: {}", name, error.diagnose())

    def _look_at_file(self, name: str) -> None:
        parsed = self._names.parse_request(self._me, name)
        if parsed is None:
            if name.startswith(self._names.messages(self._me)):
                self._inbox.pass_over(name)
            return
        sender, message_id = parsed
        known = self._open.get(message_id)
        # Another sender could use a known id.
        known = known if known and known.sender == sender else None
        if known and (self._close_if_over(known) or self._open.is_taken(message_id)):
            return
        recorded = self._inbox.read_recorded(message_id) if known and self._files_vanish else None
        if request := recorded or self._inbox.read(name, sender, message_id):
            self._take(request)

    def _take(self, request: Request) -> None:
        header = request.header
        self._contact.note_request()
        # Before the request counts as accepted: if the database fails here, the next scan reads the request again.
        is_over = self._ledger.runs.has_ended(header.run)
        opened = self._note_open(header)
        if opened is None or (self._files_vanish and self._close_if_over(opened)):
            # The client ends, or the request arrived after the statement that it is withdrawn.
            return
        try:
            answer = self._answer_at_once(request, is_over=is_over)
        except StoreError:
            # The begin or the end of the run cannot be recorded now. The next scan reads the request again.
            self._read_again(request)
            raise
        except SyftFlwrError as error:
            text = "{}: a request of {} cannot be carried out, and gets an error as its reply: {}"
            about = logger.bind(peer=header.sender)
            about.error(text, self._label(request), header.sender, error.diagnose())
            self._emit_received(request)
            self._refuse_for(request, error)
            return
        # Not before, because the control may begin the run.
        self._emit_received(request)
        if answer:
            self._answer_without_app(request, answer)
            return
        if is_over:
            run = self._ledger.runs.get(header.run)
            self._refuse(request, failures.run_over(crowded_out=run is not None and run.cause == CROWDED_OUT))
            return
        if not self._queue.has_room(request):
            self._refuse(request, failures.too_many())
            return
        self._links.need(header.sender, header.id, request.body.manifest.object_ids)
        # A restart of the client does not begin its lifetime again.
        self._queue.add(replace(request, arrived=min(request.arrived, opened.received)))

    def _answer_at_once(self, request: Request, *, is_over: bool) -> Body | None:
        if not is_over:
            return self._control(request, self._is_backlog(request.header))
        return self._after_the_end(request) if self._after_the_end else None

    def _is_backlog(self, header: Header) -> bool:
        """Return whether a request is older than this process. In doubt, each request of the first scan is."""
        if self._backlog is None:
            return not self._has_scanned
        return self._names.request(self._me, header.sender, header.id) in self._backlog

    def _note_open(self, header: Header) -> OpenRequest | None:
        name = self._names.request(self._me, header.sender, header.id)
        opened = header.id, header.sender, name
        return self._open.add(*opened, expires=header.expires, received=self._clock.now(), taken=True)

    def _missing_of(self, request: Request) -> Sequence[ObjectRef] | None:
        try:
            missing = self._theirs.missing(request.body.manifest.objects)
        except SyftFlwrError as error:
            if not error.transient:
                self._queue.drop(request.header.id)
                self._refuse_for(request, error)
            return None
        self._note_progress(request, missing)
        return missing

    def _note_progress(self, request: Request, missing: Sequence[ObjectRef]) -> None:
        objects, size_of = request.body.manifest.objects, self._endpoint.mine.file_size

        def bytes_of() -> tuple[int, int]:
            total = sum(map(size_of, objects))
            return total - sum(map(size_of, missing)), total

        arrived = RequestProgress(request.header.id, arrived=len(objects) - len(missing), total=len(objects))
        self._progress.note(request.header.run, arrived, bytes_of)

    def _emit_received(self, request: Request) -> None:
        # Also for a request that an earlier process recorded: it may have been killed before it wrote the event.
        header = request.header
        if header.id in self._received:
            return
        self._received.add(header.id)
        named = request.body.manifest.round or header.group
        received = RequestReceived(header.id, header.sender, header.type, named, request.size, request.digest)
        self._on_event(header.run, received)

    def _refuse_for(self, request: Request, error: SyftFlwrError) -> None:
        # The record of the data owner has the whole text, and the aggregator gets less.
        self._refuse(request, failures.of_error(error), str(error))

    def _refuse(self, request: Request, answer: Body, text: str = "") -> None:
        header, error = request.header, answer.manifest.error
        if error:
            self._on_event(header.run, RequestRefused(header.id, header.sender, error.code, text or error.text))
        spent = request.seconds(self._clock.monotonic())
        self._answer_without_app(request, answer.spent(**spent))

    def _refuse_unreadable(self, request: Request, error: SyftFlwrError) -> None:
        if self._note_open(request.header):
            self._emit_received(request)
            self._refuse_for(request, error)

    def _close_if_over(self, request: OpenRequest) -> bool:
        closing = self._closing if request.sender == self._aggregator else self._by_time
        if not closing.is_over(request):
            return False
        self._queue.drop(request.id)
        try:
            self._answers.close(request.id)
        finally:
            # Also if the end cannot be recorded now.
            self._work.end_if_withdrawn(request.id)
        self._links.release(request.sender, request.id)
        self._open.remove(request.id)
        self._received.discard(request.id)
        return True

    def _delete_orphans(self, unfinished: Collection[ReceivedRow]) -> None:
        """Delete the objects of replies that were never committed, because of a crash or a stop."""
        kept = {object_id for row in unfinished for object_id in row.objects}
        orphans = answer_objects(self._transport, self._names, self._me, kept=kept)
        own = self._endpoint.ownership.of_runs(orphans, self._ledger.recorded_runs)
        self._endpoint.mine.delete_orphans(own)
        self._links.drop_own(answers=True, kept=kept)
