"""Ends requests: records and reports each failure at once, and keeps each collected reply for a resumed run."""

from collections.abc import Callable, Collection, Iterable, Mapping

from syft_flwr._messaging.asking.kept_answers import KeptAnswers
from syft_flwr._messaging.asking.pending import Pending, Stage
from syft_flwr._messaging.asking.pending_requests import PendingRequests
from syft_flwr._messaging.asking.wait_limits import Limit
from syft_flwr._messaging.endpoint import Endpoint
from syft_flwr._messaging.wire.body import Failure
from syft_flwr._messaging.wire.limits import MAX_ERROR_TEXT
from syft_flwr._messaging.wire.reasons import Reason, reason_of
from syft_flwr._store.futures import APP_ERROR, Ended, Futures
from syft_flwr._store.states import Future
from syft_flwr.errors import StoreError, SyftFlwrError
from syft_flwr.log import logger
from syft_flwr.runs.events import MetricValue, RequestEnded
from syft_flwr.runs.stream import Emit


class Endings:
    """The ends of the requests of one aggregator. Thread-safe.

    Args:
        endpoint: the transport, keys and names of the aggregator.
        futures: the database of all requests.
        kept_answers: the kept replies, for a resumed run.
        pending: the requests.
        on_event: gets the end of each request.
        metrics_in: returns the metrics of a good reply, for the record.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        *,
        futures: Futures,
        kept_answers: KeptAnswers,
        pending: PendingRequests,
        on_event: Emit,
        metrics_in: Callable[[object], Mapping[str, MetricValue]],
    ) -> None:
        self._endpoint = endpoint
        self._futures = futures
        self._kept_answers = kept_answers
        self._pending = pending
        self._on_event = on_event
        self._metrics_in = metrics_in

    def end_if_over(self, pending: Pending, *, unseen: bool = False) -> None:
        """End a request if a limit of the wait for its reply has passed; see :meth:`PendingRequests.over`."""
        if limit := self._pending.over(pending, unseen=unseen):
            reason = Reason.LATE if limit is Limit.MIN_REPLIES else Reason.NO_ANSWER
            self.end_without_reply([pending.id], reason, self._pending.why_over(pending, limit))

    def end_without_reply(self, ids: Iterable[str], reason: Reason, text: str) -> None:
        """End the requests without an outcome. One that waits for a key gets the reason ``no-key``."""
        for pending in self._pending.open(ids):
            if pending.stage is Stage.WAITING_FOR_KEY:
                self._end(pending, Future.EXPIRED, Reason.NO_KEY, self._why_no_key(pending.asked.recipient, text))
            else:
                self._end(pending, Future.EXPIRED, reason, text + f"{pending.known_progress()}")

    def _why_no_key(self, email: str, limit: str) -> str:
        if self._endpoint.trust.hears(email):
            return f"{email} has published no key ({limit})"
        return f"nothing from the datasite of {email} has arrived ({limit})"

    def fail(self, pending: Pending, reason: Reason, text: str) -> None:
        """End a request that cannot be sent, or that has a reply which cannot be used."""
        self._end(pending, Future.FAILED, reason, text)

    def _end(self, pending: Pending, state: Future, reason: Reason, text: str) -> None:
        short = text[:MAX_ERROR_TEXT]
        if self._pending.fail(pending, Failure(code=reason, text=short)):
            try:
                self._futures.move([pending.id], state, code=reason, reason=short)
            except StoreError as error:
                # The waiting caller must get the failure, even if it cannot be recorded.
                line = "{}: the end of this request cannot be recorded; if the run is resumed, it is sent again: {}"
                logger.error(line, self._label(pending), error.diagnose())
            finally:
                self._finish(pending)

    def refuse(self, pending: Pending, error: SyftFlwrError) -> None:
        """Make the reply of a request a failure, because it does not fit to other replies. It is not recorded yet."""
        pending.answer, pending.error = None, ""
        pending.failure = Failure(code=reason_of(error), text=str(error)[:MAX_ERROR_TEXT])
        self._log(pending)

    def answer(self, pending: Pending, answer: object, failure: Failure | None, error: str) -> None:
        """End a request with its reply, which can contain an error."""
        # Before: the strategy may change a reply that it has.
        metrics = self._metrics_of(pending, answer, error)
        if self._pending.answer(pending, answer, failure, error):
            self._finish(pending, metrics)

    def _finish(self, pending: Pending, metrics: Mapping[str, MetricValue] | None = None) -> None:
        """Report a request with its outcome, then let its caller have it: the next request comes later in the record."""
        try:
            self._report(pending, metrics)
        finally:
            self._pending.finish(pending)

    def report_restored(self, pending: Pending) -> None:
        """Emit the outcome of a request that an earlier process of the run got, before a caller gets it."""
        self._report(pending, self._metrics_of(pending, pending.answer, pending.error))

    def _metrics_of(self, pending: Pending, answer: object, error: str) -> Mapping[str, MetricValue]:
        is_good = pending.asked.in_a_round and answer is not None and not error
        return self._metrics_in(answer) if is_good else {}

    def record(self, done: Collection[Pending]) -> None:
        """Record that the outcomes of these requests were collected.

        Raises:
            StoreError: they cannot be recorded now.
        """
        if outcomes := {pending.id: self._ended(pending) for pending in done if not pending.restored}:
            self._futures.collect(outcomes)

    def _ended(self, pending: Pending) -> Ended:
        """Keep the reply of a request, and return how the request ended.

        The reply is kept first, because its data owner deletes it after the request is withdrawn.
        """
        if failure := pending.failure:
            return Ended(failure.code, failure.text, failure.reference)
        kept = False
        if pending.content and pending.body:
            folder = self._endpoint.objects_of(pending.asked.recipient)
            objects, size = pending.body.manifest.objects, pending.account.bytes_received
            kept = self._kept_answers.keep(pending.id, objects, folder, size)
        digest = pending.arrival.digest if kept and pending.arrival else ""
        return Ended(app_error=pending.error, kept=kept, kept_digest=digest)

    def reason_of(self, pending: Pending) -> str:
        """Return the reason of a request that is done; empty for a good reply."""
        if pending.failure:
            return pending.failure.code
        return APP_ERROR if pending.error else ""

    def _report(self, pending: Pending, metrics: Mapping[str, MetricValue] | None = None) -> None:
        """Emit the outcome and the cost of a request that is done, and log a failure."""
        asked, account, failure, error = pending.asked, pending.account, pending.failure, pending.error
        if not asked.recorded:
            return
        if (failure or error) and not pending.restored:
            self._log(pending)
        ended = RequestEnded(
            message=pending.id,
            data_owner=asked.recipient,
            kind=asked.type,
            outcome="failed" if failure or error else "answered",
            round=asked.round or asked.group,
            reason=self.reason_of(pending),
            text=failure.text if failure else error,
            reference=failure.reference if failure else "",
            bytes=account.bytes_received,
            seconds=account.seconds(),
            replayed=pending.replayed,
            metrics=metrics or {},
        )
        self._on_event(asked.run, ended)

    def _log(self, pending: Pending) -> None:
        asked, failure = pending.asked, pending.failure
        if failure and failure.code == Reason.STOPPED:
            return
        round_ = f" of round {asked.round or asked.group}" if asked.round or asked.group else ""
        why = f"{failure.code}: {failure.text}" if failure else f"{APP_ERROR}: {pending.error}"
        details = (
            f" (reference {failure.reference} in the log of the data owner)" if failure and failure.reference else ""
        )
        if failure and failure.code == Reason.LATE:
            # No fault: the round had enough replies.
            logger.info(
                "{}: no reply of {} is needed in {}{}: {}",
                self._label(pending),
                asked.recipient,
                asked.type,
                round_,
                why,
            )
            return
        text = "{}: {} has failed in {}{}: {}{}"
        about = logger.bind(peer=asked.recipient)
        about.warning(text, self._label(pending), asked.recipient, asked.type, round_, why, details)

    def _label(self, pending: Pending) -> str:
        return self._endpoint.label(pending.id, pending.asked.run)
