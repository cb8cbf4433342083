"""Runs the aggregator's side of the exchange: each request gets exactly one outcome.

* It joins ``sender``, which writes requests, and ``receiver``, which reads replies. It defines the steps at each change
  of a file, the waits and their limits, and the clean-up after an outcome was collected.
* A request to a datasite without a published key waits, and is sent when the key appears. It delays no other request.
"""

import math
import threading
import traceback
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import ExitStack
from typing import Generic, cast

from syft_flwr import names as naming
from syft_flwr._messaging.asking.aggregator_heartbeat import AggregatorHeartbeat
from syft_flwr._messaging.asking.awaited import AwaitedOwners
from syft_flwr._messaging.asking.broadcast import Broadcast
from syft_flwr._messaging.asking.clean_start import CleanStart
from syft_flwr._messaging.asking.endings import Endings
from syft_flwr._messaging.asking.kept_answers import KeptAnswers
from syft_flwr._messaging.asking.outcomes import Answer, LeftOutcomes, Outcome
from syft_flwr._messaging.asking.pending import Ask, Pending, Stage
from syft_flwr._messaging.asking.pending_requests import PendingRequests
from syft_flwr._messaging.asking.receiver import Receiver
from syft_flwr._messaging.asking.request_files import RequestFiles
from syft_flwr._messaging.asking.request_transfers import RequestTransfers
from syft_flwr._messaging.asking.resume import Resume
from syft_flwr._messaging.asking.round_limits import RoundLimits
from syft_flwr._messaging.asking.sender import Sender
from syft_flwr._messaging.asking.wait_limits import WaitLimits
from syft_flwr._messaging.endpoint import Endpoint
from syft_flwr._messaging.liveness import LastRun, Liveness
from syft_flwr._messaging.own_files import restore_permissions
from syft_flwr._messaging.pulse import interval_within
from syft_flwr._messaging.scanner import Scanner
from syft_flwr._messaging.wire.reasons import Reason
from syft_flwr._store.futures import Futures, ReplyCount
from syft_flwr.errors import StoreError, SyftFlwrError
from syft_flwr.log import logger
from syft_flwr.log_once import LogOnce
from syft_flwr.runs.events import MetricValue
from syft_flwr.runs.stream import Emit, ignore

#: Seconds between two checks of the limits by calls of :meth:`Caller.collect`.
_LOOK_EVERY = 0.05
#: Seconds in which the last look at the files must end, and the reading of a large reply that is there. A transport can
#: hang, and each wait must end.
_LAST_LOOK, _LAST_READ = 5.0, 1_800.0


class Caller(Generic[Answer]):
    """Sends requests and collects their outcomes, for one participant and one app. Thread-safe.

    Args:
        endpoint: the transport, keys and names of the aggregator.
        futures: the database of all requests.
        kept_answers: the kept replies, for a resumed run.
        datasites: the emails of the data owners.
        on_event: gets each event of a run, from any thread; it must not wait.
        limits: the limits of all waits. By default, a request ends with its lifetime only.
        watch_all: read the heartbeats of all datasites at every scan, not only of those with open requests.
        decode: returns the content of a reply from its buffers. A MalformedError makes the reply a failure.
        error_in: returns the text of the error that a decoded reply contains, for the record; empty if there is none.
        metrics_in: returns the metrics of a good reply, for the record.
        refuse: returns why some of the replies that are collected together are failures, by the ids of their requests.
        last_run: returns the run that a data owner served last, see :data:`LastRun`.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        *,
        futures: Futures,
        kept_answers: KeptAnswers,
        datasites: Collection[str],
        on_event: Emit = ignore,
        error_in: Callable[[Answer], str] = lambda _: "",
        metrics_in: Callable[[Answer], Mapping[str, MetricValue]] = lambda _: {},
        refuse: Callable[[Sequence[tuple[str, Answer | None]]], Mapping[str, SyftFlwrError]] = lambda _: {},
        limits: WaitLimits | None = None,
        watch_all: bool = False,
        last_run: LastRun = lambda _: None,
        decode: Callable[[Sequence[bytes]], Answer],
    ) -> None:
        self._endpoint = endpoint
        self._transport = endpoint.transport
        self._names = endpoint.names
        self._clock = clock = endpoint.clock
        self._futures = futures
        self._kept_answers = kept_answers
        self._refuse = refuse
        self._datasites = list(datasites)
        self._run = 0
        limits = limits or WaitLimits(RoundLimits(clock))
        self._pending = PendingRequests(clock, limits)
        self._endings = Endings(
            endpoint,
            futures=futures,
            kept_answers=kept_answers,
            pending=self._pending,
            on_event=on_event,
            metrics_in=cast("Callable[[object], Mapping[str, MetricValue]]", metrics_in),
        )
        self._resume = Resume(endpoint, futures, kept_answers, decode)
        broadcast = Broadcast(endpoint.mine)
        self._files = RequestFiles(endpoint, futures, datasites)
        self._clean_start = CleanStart(endpoint, futures, broadcast, self._files, datasites)
        self._sender = Sender(
            endpoint,
            futures=futures,
            resume=self._resume,
            broadcast=broadcast,
            clean_start=self._clean_start,
            datasites=datasites,
            pending=self._pending,
            files=self._files,
            endings=self._endings,
            on_event=on_event,
        )
        self._receiver = Receiver(
            endpoint,
            futures,
            self._pending,
            self._endings,
            decode=decode,
            error_in=cast("Callable[[object], str]", error_in),
            on_late=self._wake,
            on_event=on_event,
        )
        #: By expected file name, the late replies to closed rounds: the label of the message and the data owner.
        self._late: dict[str, tuple[str, str]] = {}
        self._logged = LogOnce()
        self._liveness = Liveness(endpoint, "data-owner", last_run)
        self._transfers = RequestTransfers(endpoint, broadcast, datasites, on_event)
        vanish = self._transport.properties.files_vanish
        self._heartbeat = AggregatorHeartbeat(endpoint, futures, datasites, self._liveness, lists=vanish)
        #: Only where files can vanish. Elsewhere, the absence of its file withdraws a request.
        self._withdrawals = self._heartbeat if vanish else None
        self._links = endpoint.links
        watched = self._datasites if watch_all or self._withdrawals else ()
        pause = max(limits.longest_pause, 2 * self._transport.properties.poll_interval)
        silent_after = 2 * interval_within(limits.longest_pause, self._transport.properties)
        self._awaited = AwaitedOwners(endpoint, self._liveness, self._transfers, watched, pause, silent_after, on_event)
        self._scanner = Scanner(
            self._transport,
            [folder for email in datasites for folder in self._awaited_folders(email)],
            on_names=self._look_at,
            on_scan=self._look_at_everything,
            clock=clock,
            name=f"caller-{self._names.app}",
        )
        self._closed = threading.Event()
        #: Held while outcomes are taken and recorded, so that each one is taken once.
        self._collecting = threading.Lock()
        #: The outcomes of requests that :meth:`close` ended.
        self._left = LeftOutcomes[Answer]()
        #: The monotonic time before which :meth:`collect` starts no scan.
        self._next_look = -math.inf

    def start(self) -> None:
        """Start the scanner, which reads replies."""
        self._scanner.start()
        self._heartbeat.start()

    def close(self, *, keep: Collection[str] = ()) -> None:
        """Stop the scanner, withdraw the open requests except those in ``keep``, and delete all own objects.

        A later :meth:`collect` still returns the outcomes of the requests that it ended, to a thread that waits for them.
        """
        self._closed.set()
        self._scanner.stop()
        self._receiver.close()
        unfinished = [pending.id for pending in self._pending.open() if pending.id not in keep]
        self._endings.end_without_reply(unfinished, Reason.STOPPED, "the run was stopped")
        # Also the requests with an outcome that the strategy did not collect.
        with self._collecting:
            left = self._pending.take_done(self._pending.ids())
            self._refuse_some(left)
            self._left.add(left)
        # Each step is taken also if an earlier one fails, for example because a database cannot be written.
        with ExitStack() as steps:
            steps.callback(self._futures.forget, self._run)
            steps.callback(self._kept_answers.close_run)
            steps.callback(self._links.prune)
            if self._run:
                # Without an open run, an interrupted run may need them.
                steps.callback(self._links.clear)
            steps.callback(self._sender.close)
            if self._withdrawals:
                steps.callback(self._files.tidy_at_the_end)
            steps.callback(self._heartbeat.close)
            steps.callback(self._clean_start.withdraw, self._resume.rest(), "the run is over")
            steps.callback(self._delete_files, left)
            self._endings.record(left)

    def open_run(self, run: int) -> int:
        """Delete the files of other runs of this aggregator, and load the recorded requests of this run.

        Returns the number of requests of an earlier process that can be resumed; 0 if the run is already open.
        """
        if run == self._run:
            return 0
        self._run = run
        self._clean_start.clear_other_runs(run)
        self._kept_answers.open_run(run)
        for email in self._datasites:
            self._links.follow(email, answers=True, run=run)
        count = self._resume.open_run(run)
        self._clean_start.take_over(run)
        self._note_withdrawals()
        return count

    def send(self, messages: Sequence[Ask]) -> list[str]:
        """Send requests; return their ids, in order. A request that cannot be sent gets a failure as its outcome."""
        if self._closed.is_set():
            return self._left.refuse(messages)
        try:
            sent = self._sender.send(messages)
        except StoreError:
            # The database is closed, too. These requests have no outcome that a thread waits for.
            if not self._closed.is_set():
                raise
            return self._left.refuse(messages)
        if self._closed.is_set():
            self._end_late([pending.id for pending in sent])
        if any(pending.stage is Stage.WAITING_FOR_KEY for pending in sent):
            # A key may have arrived since the check.
            self._scanner.wake()
        return [pending.id for pending in sent]

    def _end_late(self, ids: Collection[str]) -> None:
        """End the requests that were added while this caller was closed."""
        self._endings.end_without_reply(ids, Reason.STOPPED, "the run was stopped")
        with self._collecting:
            late = self._pending.take_done(ids)
            self._left.add(late)
        self._delete_files(late)

    def _note_withdrawals(self) -> None:
        if self._withdrawals:
            self._withdrawals.note_change()

    def _awaited_folders(self, email: str) -> tuple[str, ...]:
        """Return the folders with files for this participant, each with its own share of the watches."""
        names = self._names
        inbox = names.messages_of(email, self._endpoint.email)
        return inbox, names.objects(email), names.status(email), f"{email}/public/"

    def _look_at(self, changed: set[str]) -> None:
        # First, because the sync service can delete an arrived file at any moment.
        self._links.note(changed)
        self._look_at_heartbeats(changed)
        for name in changed & self._late.keys():
            label, recipient = self._late.pop(name)
            text = "{}: the reply of {} came after its round was closed, and is not counted. To wait longer, raise {}."
            logger.warning(text, label, recipient, "SYFT_FLWR_GRACE")
        touched = self._pending.touched_by(changed)
        for pending in touched:
            self._advance(pending, names=changed)
            self._endings.end_if_over(pending)
        if touched:
            self._awaited.look_at_wait(self._run, self._pending.open())

    def _look_at_everything(self) -> None:
        restore_permissions(self._transport, self._logged)
        waiting = self._pending.open()
        self._links.look({pending.asked.recipient for pending in waiting})
        self._sender.put_back_objects()
        for pending in waiting:
            self._advance(pending, names=None)
        waiting = [pending for pending in waiting if not pending.is_done]
        missing = self._transfers.look(waiting)
        self._awaited.look(self._run, waiting)
        for pending in waiting:
            self._endings.end_if_over(pending)
        if self._withdrawals:
            self._withdrawals.note_missing(missing)
            self._files.tidy()
        self._heartbeat.note_change()

    def _look_at_heartbeats(self, changed: set[str]) -> None:
        """Read a changed heartbeat at once: the record of the run is current, and requests in it may be withdrawn."""
        for email in self._datasites:
            if self._names.heartbeat(email) in changed:
                self._awaited.look_at(email, self._run, [p for p in self._pending.open() if p.asked.recipient == email])
                self._note_withdrawals()

    def _advance(self, pending: Pending, *, names: set[str] | None) -> None:
        """Do the next possible steps of a request. ``names`` are the changed files; None stands for all files."""
        try:
            self._advance_one(pending, names)
        except SyftFlwrError as error:
            # The other requests are still handled. The next scan checks this one again.
            self._receiver.log_once(pending, error)
        except Exception as error:  # noqa: BLE001 - a defect at one reply must not stop the waits of all others
            text = "{}: this request has failed because of an error of this program; report this as a bug\n{}"
            logger.error(text, self._label(pending), traceback.format_exc())
            self._endings.fail(pending, Reason.INVALID, f"an error of this program: {type(error).__name__}")

    def _advance_one(self, pending: Pending, names: set[str] | None) -> None:
        stage = pending.stage
        if pending.has_outcome:
            return
        if stage is Stage.WAITING_FOR_KEY:
            peer = pending.asked.recipient
            is_due = names is None or names & {naming.card(peer), self._names.pushed_card(peer)}
            # The key can arrive between two requests. The second one must not overtake the first.
            if is_due and self._pending.is_next_for_its_peer(pending):
                self._sender.send_late(pending)
        elif stage is Stage.TO_WRITE:
            if names is None:
                self._sender.send_again(pending)
        elif stage in (Stage.SENT, Stage.ARRIVING):
            self._receiver.advance(pending, look_for_refusal=names is None or pending.request_name in names)
            if self._withdrawals and names is None:
                self._files.put_back_if_missing(pending)

    def wait(self, ids: Collection[str], *, timeout: float = math.inf) -> None:
        """Wait until all requests have an outcome, or ``timeout`` seconds have passed."""
        self._pending.wait(ids, timeout=timeout, on_due=self._look_at_the_end)

    def _look_at_the_end(self, pending: Pending) -> float:
        """Look once more for a reply, because a limit has passed. If no look ends in time, end the wait without one."""
        now = self._clock.monotonic()
        pending.due_since = min(pending.due_since, now)
        if now - pending.due_since >= (_LAST_READ if self._receiver.works_on(pending) else _LAST_LOOK):
            self._endings.end_if_over(pending, unseen=True)
        return min(_LAST_LOOK, self._look_again())

    def limit_call(self, ids: Collection[str], timeout: float) -> None:
        """End the requests that have no reply ``timeout`` seconds from now."""
        self._pending.limit_call(ids, timeout)

    def _wake(self) -> None:
        self._scanner.wake()

    def _look_again(self) -> float:
        """Start a scan, which ends the requests with a limit that has passed. Return the seconds until the next one."""
        self._wake()
        return self._transport.properties.poll_interval

    def is_online(self, email: str) -> bool:
        """Return whether a heartbeat of a datasite was found within two heartbeat intervals."""
        return self._liveness.is_online(email)

    def give_up(self, ids: Collection[str], text: str) -> None:
        """End the requests without an outcome with ``no-answer`` and this text."""
        self._endings.end_without_reply(ids, Reason.NO_ANSWER, text)

    def collect(self, ids: Collection[str]) -> list[Outcome[Answer]]:
        """Return the available outcomes, each only once, and delete the files of these requests.

        Ids of unknown, open and already collected requests are ignored.

        Raises:
            StoreError: the end of the requests cannot be recorded now. A later call returns their outcomes.
        """
        # An app can call this in a loop without a pause.
        now = self._clock.monotonic()
        if now >= self._next_look:
            pauses = [self._look_at_the_end(pending) for pending in self._pending.due(ids)]
            self._next_look = now + min(pauses, default=_LOOK_EVERY)
        with self._collecting:
            done = self._pending.take_done(ids)
            try:
                self._refuse_some(done)
                self._endings.record(done)
            except BaseException:
                self._pending.put_back(done)
                raise
            left = self._left.take(ids)
        self._delete_files(done)
        outcomes = [Outcome[Answer].of(pending) for pending in done]
        for pending in done:
            # The scanner may use ``pending`` a moment longer; this frees the memory of the model now.
            pending.answer = pending.arrival = None
        by_id = {outcome.id: outcome for outcome in (*outcomes, *left)}
        return [by_id[message_id] for message_id in dict.fromkeys(ids) if message_id in by_id]

    def _refuse_some(self, done: Collection[Pending]) -> None:
        refused = self._refuse([(pending.id, cast("Answer | None", pending.answer)) for pending in done])
        for pending in done:
            if error := refused.get(pending.id):
                self._endings.refuse(pending, error)

    def stop_open(self, run: int, *, control: str) -> None:
        """End the open requests of a run with ``stopped``, except those of the type ``control``."""
        open_ids = [each.id for each in self._pending.open() if each.asked.run == run and each.asked.type != control]
        self._endings.end_without_reply(open_ids, Reason.STOPPED, "the run was stopped")

    def uncollected(self, run: int, *, control: str) -> list[ReplyCount]:
        """Return the outcomes of a run that were not collected, without open requests and the type ``control``."""
        return [
            ReplyCount(each.asked.recipient, each.asked.type, self._endings.reason_of(each))
            for each in self._pending.done()
            if each.asked.run == run and each.asked.type != control and not each.restored
        ]

    def _delete_files(self, done: Collection[Pending]) -> None:
        for pending in done:
            if pending.restored:
                continue
            self._sender.withdraw(pending)
            self._links.release(pending.asked.recipient, pending.id)
            if pending.failure and pending.failure.code == Reason.LATE:
                self._late[pending.response_name] = self._label(pending), pending.asked.recipient
        self._note_withdrawals()

    def _label(self, pending: Pending) -> str:
        return self._endpoint.label(pending.id, pending.asked.run)
