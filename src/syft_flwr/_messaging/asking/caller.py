"""The aggregator's side: sends requests, and gives exactly one outcome for each of them.

* Sending is in ``sender``, reading in ``receiver``. Here they are joined: what happens at each change, what is waited for
  and how long, and what goes when an outcome was collected.
* A datasite without a key holds up nothing but its own request, which is sealed and sent when the key appears.
"""

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar, cast

from loguru import logger

from syft_flwr import names as naming
from syft_flwr._messaging.asking.broadcast import Broadcast
from syft_flwr._messaging.asking.clean_start import CleanStart
from syft_flwr._messaging.asking.kept_answers import KeptAnswers
from syft_flwr._messaging.asking.pending import Ask, Pending, PendingRequests, Stage
from syft_flwr._messaging.asking.quorum import Quorum
from syft_flwr._messaging.asking.receiver import Receiver
from syft_flwr._messaging.asking.resume import Resume
from syft_flwr._messaging.asking.sender import Sender
from syft_flwr._messaging.endpoint import Endpoint
from syft_flwr._messaging.liveness import Liveness
from syft_flwr._messaging.log_once import LogOnce
from syft_flwr._messaging.scanner import Scanner
from syft_flwr._messaging.wire.body import Failure
from syft_flwr._messaging.wire.limits import MAX_ERROR_TEXT
from syft_flwr._messaging.wire.reasons import Reason
from syft_flwr._store.futures import Ended, Futures
from syft_flwr._store.states import Future
from syft_flwr.errors import StoreError, SyftFlwrError
from syft_flwr.runs.costs import RunLog

Answer = TypeVar("Answer")

#: Seconds between two lines that say for whom we wait.
_SAY_WAITING = 30.0


@dataclass(frozen=True, slots=True)
class Outcome(Generic[Answer]):
    """The end of one request: an answer, or the reason why there is none."""

    id: str
    recipient: str
    answer: Answer | None
    failure: Failure | None


class Caller(Generic[Answer]):
    """Sends and waits, for one participant and one app. Thread-safe.

    Args:
        endpoint: where and as whom.
        futures: the record of all requests.
        kept_answers: the objects of replies, for a run that is taken up again.
        datasites: whom it may ask.
        run_log: where the account of each message goes.
        quorum: when a round is closed though not all have answered; never, by default.
        watch_all: look for signs of life of all datasites at every scan, not only of those that are waited for.
        decode: what makes an answer of buffers; MalformedError makes it a failure.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        *,
        futures: Futures,
        kept_answers: KeptAnswers,
        datasites: Collection[str],
        run_log: RunLog,
        quorum: Quorum | None = None,
        watch_all: bool = False,
        decode: Callable[[Sequence[bytes]], Answer],
    ) -> None:
        self._endpoint = endpoint
        self._transport = endpoint.transport
        self._names = endpoint.names
        self._clock = clock = endpoint.clock
        self._futures = futures
        self._kept_answers = kept_answers
        self._datasites = list(datasites)
        self._run_log = run_log
        self._run = 0
        self._watch_all = watch_all
        self._pending = PendingRequests(clock, quorum)
        self._resume = Resume(endpoint, futures, kept_answers, decode)
        broadcast = Broadcast(endpoint.mine)
        self._clean_start = CleanStart(endpoint, futures, broadcast, datasites)
        self._sender = Sender(
            endpoint,
            futures=futures,
            resume=self._resume,
            broadcast=broadcast,
            clean_start=self._clean_start,
            datasites=datasites,
            pending=self._pending,
            on_failure=self._fail,
        )
        self._receiver = Receiver(endpoint, futures, self._pending, decode=decode, on_failure=self._fail)
        #: Replies that may still come to rounds that were closed without them, by name: their message and data owner.
        self._late: dict[str, tuple[str, str]] = {}
        self._logged = LogOnce()
        self._liveness = Liveness(endpoint)
        self._said_waiting = clock.monotonic()
        self._scanner = Scanner(
            self._transport,
            [f"{email}/" for email in datasites],
            on_names=self._look_at,
            on_scan=self._look_at_everything,
            clock=clock,
            name=f"caller-{self._names.app}",
        )

    def start(self) -> None:
        """Start to watch for answers."""
        self._scanner.start()

    def close(self, *, keep: Collection[str] = ()) -> None:
        """Stop watching, withdraw what is still open, except for ``keep``, and delete every object of ours."""
        self._scanner.stop()
        unfinished = [pending.id for pending in self._pending.open() if pending.id not in keep]
        self._give_up(unfinished, Reason.STOPPED, "the run was stopped")
        # Also those whose outcome nobody asked for.
        left = self._pending.take_done(self._pending.ids())
        self._record_ends(left)
        self._delete_files(left)
        self._clean_start.withdraw(self._resume.rest(), "the run is over")
        self._sender.close()
        self._kept_answers.close_run()
        self._futures.forget(self._run)

    def open_run(self, run: int) -> int:
        """Clear what other runs of ours left behind, and take up what is on record of this one.

        Returns how many requests of it an earlier process made.
        """
        if run == self._run:
            # What this process asked itself is no matter of record.
            return 0
        self._run = run
        self._clean_start.clear_other_runs(run)
        self._kept_answers.open_run(run)
        count = self._resume.open_run(run)
        self._clean_start.take_over(run)
        return count

    def send(self, messages: Sequence[Ask]) -> list[str]:
        """Send requests; return their ids, in order. What cannot be sent ends as a failure of that request alone."""
        sent = self._sender.send(messages)
        if any(pending.stage is Stage.WAITING_FOR_KEY for pending in sent):
            # A key may have come since it was looked for.
            self._scanner.wake()
        return [pending.id for pending in sent]

    def _look_at(self, changed: set[str]) -> None:
        for name in changed & self._late.keys():
            label, recipient = self._late.pop(name)
            logger.warning("{}: {} answered after its round was closed; the answer is not counted", label, recipient)
        for pending in self._pending.touched_by(changed):
            self._advance(pending, names=changed)

    def _look_at_everything(self) -> None:
        waiting = self._pending.open()
        for pending in waiting:
            self._advance(pending, names=None)
        self._look_for_life([pending for pending in waiting if not pending.is_done])
        for email in self._datasites if self._watch_all else ():
            self._liveness.look(email)

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
            logger.info("run {} ({}): waiting for {}", self._run, self._names.app, awaited)

    def _advance(self, pending: Pending, *, names: set[str] | None) -> None:
        """Take one request as far as it goes now. ``names`` is what changed; None to look at everything."""
        try:
            self._advance_one(pending, names)
        except SyftFlwrError as error:
            # The others go on; this one is looked at again.
            self._receiver.log_once(pending, error)

    def _advance_one(self, pending: Pending, names: set[str] | None) -> None:
        stage = pending.stage
        if pending.has_outcome:
            return
        if self._clock.monotonic() >= pending.deadline:
            self._expire(pending)
        elif stage is Stage.WAITING_FOR_KEY:
            if names is None or naming.card(pending.asked.recipient) in names:
                self._sender.send_late(pending)
        elif stage is Stage.TO_WRITE:
            if names is None:
                self._sender.send_again(pending)
        elif stage in (Stage.SENT, Stage.ARRIVING):
            self._receiver.advance(pending, look_for_refusal=names is None or pending.request_name in names)

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
            elif closed := self._pending.closed_without(pending):
                self._give_up([pending.id], Reason.LATE, closed)
            else:
                self.give_up([pending.id], f"no answer, and no sign of life for {silence:.0f} s")

        self._pending.wait(ids, timeout=timeout, silence=silence, on_deadline=end)

    def is_online(self, email: str) -> bool:
        """Say whether a datasite showed life within two intervals of its heartbeat."""
        return self._liveness.is_online(email)

    def give_up(self, ids: Collection[str], text: str) -> None:
        """End the requests among these that have no outcome yet, as not answered in time."""
        self._give_up(ids, Reason.NO_ANSWER, text)

    def collect(self, ids: Collection[str]) -> list[Outcome[Answer]]:
        """Return the outcomes that are there, each once, and delete our files of these requests.

        Ids that are unknown, still open or were collected before are passed over.

        Raises:
            StoreError: the end of these requests cannot be recorded now; a later call returns their outcomes.
        """
        done = self._pending.take_done(ids)
        try:
            self._record_ends(done)
        except StoreError:
            self._pending.put_back(done)
            raise
        self._delete_files(done)
        outcomes = [Outcome(p.id, p.asked.recipient, cast("Answer | None", p.answer), p.failure) for p in done]
        for pending in done:
            # The scanner may hold it for a moment longer, and must not hold a model with it.
            pending.answer = pending.arrival = None
        return outcomes

    def _record_ends(self, done: Collection[Pending]) -> None:
        if outcomes := {pending.id: self._ended(pending) for pending in done if not pending.restored}:
            self._futures.collect(outcomes)

    def _delete_files(self, done: Collection[Pending]) -> None:
        for pending in done:
            if pending.restored:
                continue
            self._sender.withdraw(pending)
            self._log(pending)
            if pending.failure and pending.failure.code == Reason.LATE:
                self._late[pending.response_name] = self._label(pending), pending.asked.recipient

    def _ended(self, pending: Pending) -> Ended:
        """Say how a request ended, after its answer was kept, because its data owner deletes it next."""
        if failure := pending.failure:
            return Ended(failure.code, failure.text, failure.reference)
        kept = False
        if pending.content and pending.body:
            folder = self._endpoint.objects_of(pending.asked.recipient)
            kept = self._kept_answers.keep(pending.body.manifest.objects, folder, pending.account.bytes_received)
        return Ended(kept=kept)

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
            self._logged.warning(
                "run log", "{}: the run log cannot be written: {}", self._label(pending), error.strerror
            )

    def _label(self, pending: Pending) -> str:
        return self._endpoint.label(pending.id, pending.asked.run)

    def _expire(self, pending: Pending) -> None:
        self._give_up([pending.id], Reason.NO_ANSWER, f"no answer within {pending.asked.lifetime:.0f} s")

    def _give_up(self, ids: Iterable[str], reason: Reason, text: str) -> None:
        for pending in self._pending.open(ids):
            if pending.stage is Stage.WAITING_FOR_KEY:
                self._end(pending, Future.EXPIRED, Reason.NO_KEY, f"{pending.asked.recipient} has published no key")
            else:
                there = f"; of its answer, {pending.arrival.progress} have arrived" if pending.arrival else ""
                self._end(pending, Future.EXPIRED, reason, text + there)

    def _fail(self, pending: Pending, reason: Reason, text: str) -> None:
        self._end(pending, Future.FAILED, reason, text)

    def _end(self, pending: Pending, state: Future, reason: Reason, text: str) -> None:
        short = text[:MAX_ERROR_TEXT]
        if self._pending.fail(pending, Failure(code=reason, text=short)):
            try:
                self._futures.move([pending.id], state, code=reason, reason=short)
            except StoreError as error:
                # Whoever waits must be told, whatever becomes of the record.
                logger.error("{}: its end is not recorded: {}", self._label(pending), error.diagnose())
            finally:
                self._pending.finish(pending)
