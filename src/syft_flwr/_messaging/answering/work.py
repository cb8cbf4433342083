"""The work of the app on one request: its early end, its attempt, and its reply until that is recorded.

* The work ends early if the aggregator withdraws the request, or if the lifetime of the request is over.
* A reply that cannot be recorded now, for example on a full disk, is kept. Each scan tries it again. The request counts as
  running meanwhile, so the heartbeat names it, and the app neither works twice for it nor begins another request.
"""

import threading
from collections.abc import Callable

from syft_flwr._messaging.answering.answers import Answers, ReplyReport
from syft_flwr._messaging.answering.inbox import Request
from syft_flwr._messaging.answering.open_requests import OpenRequests
from syft_flwr._messaging.answering.queue import RequestQueue
from syft_flwr._messaging.endpoint import Endpoint
from syft_flwr._messaging.wire import failures
from syft_flwr._messaging.wire.body import Body
from syft_flwr._messaging.wire.reasons import Reason
from syft_flwr._store.ledger import Ledger
from syft_flwr.errors import StoreError
from syft_flwr.log import logger

#: Called in the thread of the scanner with the id of the running request if it is withdrawn, or if its time is over.
Interrupt = Callable[[str], None]


class Work:
    """The work on the running request of a queue. :meth:`commit` is called by the thread of the app, the others by any.

    Args:
        endpoint: the transport, keys and names of the data owner.
        ledger: the database of the requests.
        queue: the waiting requests and the running one.
        answers: the replies.
        requests: the open requests, with the ends of their lifetimes.
        interrupt: ends the work of the app.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        ledger: Ledger,
        queue: RequestQueue,
        answers: Answers,
        requests: OpenRequests,
        interrupt: Interrupt,
    ) -> None:
        self._endpoint = endpoint
        self._clock = endpoint.clock
        self._ledger = ledger
        self._queue = queue
        self._answers = answers
        self._open = requests
        self._interrupt = interrupt
        self._changed = threading.Condition()
        #: The id of the last request of which the work was ended, and whether its lifetime was the reason.
        self._ended = ""
        self._was_late = False
        self._scans = 0
        self._finished = False

    def is_late(self, request: Request) -> bool:
        """Return whether the lifetime of a request is over, so that its app must not work for it."""
        now, opened = self._clock.monotonic(), self._open.get(request.header.id)
        return request.is_over(now) or (opened is not None and now >= opened.ends)

    def end_if_late(self) -> None:
        """End the work if the lifetime of its request is over."""
        request = self._queue.running()
        if request and self.is_late(request):
            self._end(request, late=True)

    def end_if_withdrawn(self, message_id: str) -> None:
        """End the work if this withdrawn request is the running one."""
        request = self._queue.running()
        if request and request.header.id == message_id:
            self._end(request, late=False)

    def _end(self, request: Request, *, late: bool) -> None:
        message_id = request.header.id
        with self._changed:
            if self._ended == message_id:
                return
            self._ended, self._was_late = message_id, late
            self._changed.notify_all()
        why = "the lifetime of the request is over" if late else "the aggregator has withdrawn the request"
        logger.info("{}: {}, so the work on it ends", self._label(request), why)
        self._interrupt(message_id)

    def note_scan(self) -> None:
        """Let :meth:`commit` try a reply again that could not be recorded."""
        with self._changed:
            self._scans += 1
            self._changed.notify_all()

    def finish(self) -> None:
        """Let :meth:`commit` return at once from now on, also without a record."""
        with self._changed:
            self._finished = True
            self._changed.notify_all()

    def commit(self, request: Request, body: Body, *, context: str | None, about: ReplyReport | None) -> bool:
        """Record the reply as :meth:`Answers.commit` does, now or after a later scan; return whether it was recorded.

        It is given up if the work was ended meanwhile, or after :meth:`finish`. Then the next client runs the request again.
        """
        message_id = request.header.id
        error = body.manifest.error
        if error and error.code == Reason.STOPPED and self._ended == message_id and self._was_late:
            body = failures.late_while_running(body.manifest.seconds)
        was_kept = False
        while (committed := self._answers.commit(request, body, context=context, about=about)) is None:
            was_kept = True
            if not self._wait_for_scan(message_id):
                self._answers.discard(body)
                break
        if committed and was_kept:
            logger.info("{}: the reply to {} is recorded now", self._label(request), request.header.sender)
        if committed is not None or self._ended == message_id:
            # Otherwise the client ends, and gives the attempt at this request back.
            self._queue.done(message_id)
        return bool(committed)

    def _wait_for_scan(self, message_id: str) -> bool:
        """Wait for the next scan; return False if no reply is needed from this process any more."""
        with self._changed:
            before = self._scans
            while not self._finished and self._ended != message_id:
                if self._scans > before:
                    return True
                self._clock.wait_until(self._changed, None)
            return False

    def give_attempt_back(self) -> bool:
        """Record that this process ends in an orderly way, so that no blame falls on the running request.

        Returns:
            False if this cannot be recorded now, so that the end counts as a crash.
        """
        if not (running := self._queue.held()[0]):
            return True
        try:
            self._ledger.give_back(running)
        except StoreError as error:
            text = "{}: this end counts as a crash of the client on message {}: {}"
            logger.warning(text, self._endpoint.names.app, running, error.diagnose())
            return False
        return True

    def _label(self, request: Request) -> str:
        return self._endpoint.label(request.header.id, request.header.run)
