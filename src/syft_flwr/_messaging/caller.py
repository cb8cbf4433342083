"""The aggregator's side: sends requests, and gives exactly one outcome for each of them.

* Record, then release: a response is recorded before anybody is told of it; the request's file goes after the outcome
  was collected. Sending is in ``sender``.
* A response counts only if it is signed by the datasite that was asked, for these very request bytes. Other files at its
  place are logged once and passed over, so a forger cannot even make the wait end early.
* A datasite without a key holds up nothing but its own request, which is sealed and sent when the key appears.
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from loguru import logger

from syft_flwr._messaging import names as naming
from syft_flwr._messaging.acceptance import verify_response
from syft_flwr._messaging.body import Body, Failure, Seconds
from syft_flwr._messaging.leftovers import discard, request_objects
from syft_flwr._messaging.limits import MAX_ENVELOPE, MAX_ERROR_TEXT
from syft_flwr._messaging.liveness import Liveness
from syft_flwr._messaging.names import AppNames
from syft_flwr._messaging.objects import ObjectFolder
from syft_flwr._messaging.once import Once
from syft_flwr._messaging.pending import Outgoing, Pending, PendingRequests
from syft_flwr._messaging.reasons import Reason, reason_of
from syft_flwr._messaging.sender import Sender
from syft_flwr._messaging.states import FUTURE_ARROWS, Future, before
from syft_flwr._messaging.trust import Trust
from syft_flwr._messaging.watcher import Watcher
from syft_flwr._store.futures import Futures
from syft_flwr._store.run_log import RunLog
from syft_flwr.clock import Clock
from syft_flwr.errors import NotFoundError, StoreError, SyftFlwrError, TransportError
from syft_flwr.transport.base import Transport

#: Seconds between two lines that say for whom we wait.
_SAY_WAITING = 30.0


@dataclass(frozen=True, slots=True)
class Outcome:
    """The end of one request: buffers, or the reason why there are none."""

    id: str
    recipient: str
    buffers: Sequence[bytes] | None
    failure: Failure | None


class Caller:
    """Sends and waits, for one participant and one app. Thread-safe."""

    def __init__(
        self,
        *,
        transport: Transport,
        trust: Trust,
        futures: Futures,
        names: AppNames,
        datasites: Collection[str],
        encryption: bool,
        clock: Clock,
        run_log: RunLog,
    ) -> None:
        self._transport = transport
        self._trust = trust
        self._futures = futures
        self._names = names
        self._encryption = encryption
        self._clock = clock
        self._mine = ObjectFolder(transport, names, trust.email, encryption)
        self._run_log = run_log
        self._pending = PendingRequests(clock)
        self._sender = Sender(
            transport=transport,
            trust=trust,
            futures=futures,
            names=names,
            datasites=datasites,
            encryption=encryption,
            clock=clock,
            pending=self._pending,
            on_failure=self._fail,
        )
        self._logged = Once()
        self._liveness = Liveness(transport, trust, names, clock)
        self._said_waiting = clock.monotonic()
        self._watcher = Watcher(
            transport,
            [f"{email}/" for email in datasites],
            on_names=self._look_at,
            on_scan=self._look_at_everything,
            clock=clock,
            name=f"caller-{names.app}",
        )

    def start(self) -> None:
        """Start to watch for answers."""
        self._watcher.start()

    def close(self, *, keep: Collection[str] = ()) -> None:
        """Stop watching, withdraw what is still open, except for ``keep``, and delete every object of ours."""
        self._watcher.stop()
        unfinished = [pending.id for pending in self._pending.incomplete() if pending.id not in keep]
        self._give_up(unfinished, Reason.STOPPED, "the run was stopped")
        # Also those whose outcome nobody asked for.
        self._end_with_their_files(self._pending.take_complete(self._pending.ids()))
        self._sender.close()

    def clear_other_runs(self, run: int) -> None:
        """Withdraw what earlier runs of ours left behind after a crash: requests and objects."""
        rows = self._futures.unfinished(except_run=run, final=Future.COLLECTED)
        ids = [row.id for row in rows]
        reason = "the aggregator ended before it was answered"
        self._futures.move(ids, Future.FAILED, before=before(FUTURE_ARROWS, Future.FAILED), reason=reason)
        states = before(FUTURE_ARROWS, Future.COLLECTED)
        self._futures.collect(dict.fromkeys(ids, reason), Future.COLLECTED, before=states)
        for row in rows:
            discard(self._transport, self._names.request(row.recipient, self._trust.email, row.id))
        for entry in request_objects(self._transport, self._names, self._trust.email, except_run=run):
            discard(self._transport, entry.name)

    def send(self, messages: Sequence[Outgoing]) -> list[str]:
        """Send requests; return their ids, in order. What cannot be sent ends as a failure of that request alone."""
        sent = self._sender.send(messages)
        if any(pending.keyless for pending in sent):
            # A key may have come since it was looked for.
            self._watcher.wake()
        return [pending.id for pending in sent]

    def _look_at(self, changed: set[str]) -> None:
        for pending in self._pending.touched_by(changed):
            self._advance(pending, names=changed)

    def _look_at_everything(self) -> None:
        incomplete = self._pending.incomplete()
        for pending in incomplete:
            self._advance(pending, names=None)
        self._look_for_life([pending for pending in incomplete if not pending.complete])

    def _look_for_life(self, waiting: Sequence[Pending]) -> None:
        now = self._clock.monotonic()
        by_datasite: dict[str, list[Pending]] = {}
        for pending in waiting:
            by_datasite.setdefault(pending.asked.recipient, []).append(pending)
        for email, requests in by_datasite.items():
            heartbeat = self._liveness.look(email)
            for pending in requests:
                if heartbeat and heartbeat.holds(pending.id):
                    pending.seen = now
        if by_datasite and now - self._said_waiting >= _SAY_WAITING:
            self._said_waiting = now
            awaited = ", ".join(f"{email} ({self._liveness.last_seen(email)})" for email in sorted(by_datasite))
            logger.info("waiting for {}", awaited)

    def _advance(self, pending: Pending, *, names: set[str] | None) -> None:
        """Take one request as far as it goes now. ``names`` is what changed; None to look at everything."""
        try:
            self._advance_one(pending, names)
        except SyftFlwrError as error:
            # The others go on; this one is looked at again.
            self._log_once(pending.response_name, error)

    def _advance_one(self, pending: Pending, names: set[str] | None) -> None:
        if pending.complete:
            return
        if self._clock.monotonic() >= pending.deadline:
            self._expire(pending)
        elif pending.keyless:
            if names is None or naming.card(pending.asked.recipient) in names:
                self._sender.send_late(pending)
        elif pending.digest:
            if pending.body is None:
                self._receive(pending)
            if pending.body is None and (names is None or pending.request_name in names):
                self._check_refused(pending)
            if pending.body is not None:
                self._check_arrived(pending, pending.body)

    def _receive(self, pending: Pending) -> None:
        try:
            data = self._transport.get(pending.response_name, max_size=MAX_ENVELOPE)
        except NotFoundError:
            return
        except TransportError as error:
            self._log_once(pending.response_name, error)
            return
        asked = pending.asked
        try:
            verified = verify_response(
                data,
                trust=self._trust,
                sender=asked.recipient,
                message_id=pending.id,
                app=self._names.app,
                run=asked.run,
                kind=asked.type,
                group=asked.group,
                answers=pending.digest,
            )
        except SyftFlwrError as error:
            self._log_once(pending.response_name, error)
            return
        try:
            body = verified.open(self._trust, encryption=self._encryption)
        except SyftFlwrError as error:
            # Signed by the right datasite, so it is its answer; waiting longer would bring no other.
            logger.error("{} answered, but {}", asked.recipient, error.diagnose())
            self._fail(pending, reason_of(error), str(error))
            return
        states = before(FUTURE_ARROWS, Future.ANSWERED)
        if self._futures.answer(pending.id, Future.ANSWERED, before=states, response=data):
            pending.missing = body.manifest.objects
            pending.account.bytes_received = len(data)
            pending.seen = self._clock.monotonic()
            pending.body = body

    def _check_arrived(self, pending: Pending, body: Body) -> None:
        """Complete a request whose answer is all there. Every object that arrives is a sign of life."""
        folder = self._folder_of(pending)
        try:
            missing = folder.missing(pending.missing)
        except SyftFlwrError as error:
            self._fail(pending, reason_of(error), str(error))
            return
        if len(missing) < len(pending.missing):
            pending.seen = self._clock.monotonic()
        pending.missing = missing
        if not missing:
            self._note_arrival(pending, body)
            self._pending.complete(pending)

    def _note_arrival(self, pending: Pending, body: Body) -> None:
        account, theirs = pending.account, body.manifest.seconds or Seconds()
        account.bytes_received += sum(self._mine.file_size(ref) for ref in body.manifest.objects)
        account.seconds_wait, account.seconds_open_request = theirs.wait, theirs.open
        account.seconds_run, account.seconds_seal_answer = theirs.run, theirs.seal
        there = theirs.wait + theirs.open + theirs.run + theirs.seal
        account.seconds_transfer = max(0.0, self._clock.monotonic() - pending.sent - there)

    def _check_refused(self, pending: Pending) -> None:
        if self._transport.refused(pending.request_name):
            text = f"the sync service refused the request: no permission to write to {pending.asked.recipient}"
            logger.error("{} ({})", text, pending.request_name)
            self._fail(pending, Reason.SYNC_REFUSED, text)

    def wait(self, ids: Collection[str], *, timeout: float | None = None, silence: float | None = None) -> None:
        """Wait for outcomes.

        Args:
            ids: the requests.
            timeout: return after so many seconds, whatever is still open.
            silence: end a request, as not answered, after so many seconds without a sign of life for it.
        """

        def end(pending: Pending) -> None:
            if self._clock.monotonic() >= pending.deadline:
                self._expire(pending)
            else:
                self.give_up([pending.id], f"no answer, and no sign of life for {silence:.0f} s")

        # Large answers are opened while others are still on their way.
        self._pending.wait(ids, timeout=timeout, silence=silence, on_deadline=end, on_complete=self._read)

    def give_up(self, ids: Collection[str], text: str) -> None:
        """End the requests among these that have no outcome yet, as not answered in time."""
        self._give_up(ids, Reason.NO_ANSWER, text)

    def collect(self, ids: Collection[str]) -> list[Outcome]:
        """Return the outcomes that are there, each once, and delete our files of these requests.

        Ids that are unknown, still open or were collected before are passed over.
        """
        done = self._pending.take_complete(ids)
        for pending in done:
            self._read(pending)
        self._end_with_their_files(done)
        outcomes = [Outcome(p.id, p.asked.recipient, p.buffers, p.failure) for p in done]
        for pending in done:
            # The watcher may hold it for a moment longer, and must not hold a model with it.
            pending.buffers = None
        return outcomes

    def _end_with_their_files(self, done: Collection[Pending]) -> None:
        if done:
            states = before(FUTURE_ARROWS, Future.COLLECTED)
            reasons = {p.id: f"{p.failure.code}: {p.failure.text}" if p.failure else "" for p in done}
            self._futures.collect(reasons, Future.COLLECTED, before=states)
        for pending in done:
            self._sender.withdraw(pending)
            self._log(pending)

    def _log(self, pending: Pending) -> None:
        asked = pending.asked
        facts = {
            "time": self._clock.now().isoformat(timespec="milliseconds"),
            "message": pending.id,
            "datasite": asked.recipient,
            "type": asked.type,
            "round": asked.round or asked.group,
            "outcome": pending.failure.code if pending.failure else "answered",
        }
        try:
            self._run_log.add(asked.run, facts, pending.account)
        except OSError as error:
            if self._logged.first("run log"):
                logger.warning("the run log cannot be written: {}", error.strerror)

    def _read(self, pending: Pending) -> None:
        """Open the answer of a complete request, once; what cannot be read is a failure of that request alone."""
        if pending.failure or pending.body is None or pending.buffers is not None:
            return
        pending.failure = pending.body.manifest.error
        if pending.failure:
            return
        start = self._clock.monotonic()
        try:
            pending.buffers = self._folder_of(pending).read(pending.body, shared=False)
            pending.account.seconds_open = self._clock.monotonic() - start
        except SyftFlwrError as error:
            logger.error("the answer of {} cannot be read: {}", pending.asked.recipient, error.diagnose())
            pending.failure = Failure(code=reason_of(error), text=str(error)[:MAX_ERROR_TEXT])

    def _expire(self, pending: Pending) -> None:
        self._give_up([pending.id], Reason.NO_ANSWER, f"no answer within {pending.asked.lifetime:.0f} s")

    def _give_up(self, ids: Iterable[str], reason: Reason, text: str) -> None:
        for pending in self._pending.incomplete(ids):
            if pending.keyless:
                self._end(pending, Future.EXPIRED, Reason.NO_KEY, f"{pending.asked.recipient} has published no key")
            else:
                self._end(pending, Future.EXPIRED, reason, text)

    def _fail(self, pending: Pending, reason: Reason, text: str) -> None:
        self._end(pending, Future.FAILED, reason, text)

    def _end(self, pending: Pending, state: Future, reason: Reason, text: str) -> None:
        short = text[:MAX_ERROR_TEXT]
        if self._pending.fail(pending, Failure(code=reason, text=short)):
            try:
                self._futures.move([pending.id], state, before=before(FUTURE_ARROWS, state), reason=short)
            except StoreError as error:
                # Whoever waits must be told, whatever becomes of the record.
                logger.error("the end of request {} is not recorded: {}", pending.id, error.diagnose())
            finally:
                self._pending.complete(pending)

    def _folder_of(self, pending: Pending) -> ObjectFolder:
        return ObjectFolder(self._transport, self._names, pending.asked.recipient, self._encryption)

    def _log_once(self, name: str, error: SyftFlwrError) -> None:
        if self._logged.first(f"{name} {error}"):
            logger.warning("{} is {}: {}", name, "waited for" if error.transient else "ignored", error.diagnose())
