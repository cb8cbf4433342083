"""The requests that have no collected outcome yet, and the wait for them."""

import math
import threading
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from syft_flwr._messaging.arrivals import Arrival
from syft_flwr._messaging.body import Body, Failure
from syft_flwr._messaging.quorum import Quorum, Round
from syft_flwr.clock import Clock
from syft_flwr.runs.costs import MessageCost


@dataclass(frozen=True, slots=True)
class Outgoing:
    """What to ask of one datasite. ``lifetime`` in seconds; ``buffers`` are the message, opaque here.

    ``round`` is for people only and does not travel; where it is empty, they see the group.
    """

    recipient: str
    run: int
    type: str
    group: str
    lifetime: float
    buffers: Sequence[bytes]
    round: str = ""
    #: If the run is taken up again after a crash, the same is not asked twice.
    once: bool = True

    @property
    def in_round(self) -> Round:
        """What it shares with the other messages of its round."""
        return self.run, self.type, self.group

    def without_buffers(self) -> "Outgoing":
        """The same, for when the buffers are sealed and recorded and need not stay in memory."""
        return replace(self, buffers=())


@dataclass(slots=True)
class Pending:
    """One request. Complete when it has a failure or an answer."""

    id: str
    asked: Outgoing
    created: datetime
    expires: datetime
    #: On the monotonic clock: when its lifetime ends, and when there was the last sign of life for it.
    deadline: float
    seen: float
    request_name: str
    response_name: str
    #: Digest of what is asked; empty if it may be asked again.
    content: str = ""
    #: The envelope, from its making to its release, its SHA-256, and the ids of the objects that it refers to.
    request: bytes | None = None
    digest: str = ""
    objects: Sequence[str] = ()
    #: Its outcome comes from the record of an earlier process of this run.
    restored: bool = False
    #: It could not be sealed, because the peer has published no key.
    keyless: bool = False
    #: It could not be written, because the service between the participants gave no answer.
    unsent: bool = False
    #: The response, once there is one, and the objects that it refers to.
    body: Body | None = None
    arrival: Arrival | None = None
    #: What it means, once it is all there.
    answer: object = None
    failure: Failure | None = None
    complete: bool = False
    account: MessageCost = field(default_factory=MessageCost)
    #: On the monotonic clock.
    sent: float = 0.0


class PendingRequests:
    """Pending requests by id and by the names of their files. Thread-safe."""

    def __init__(self, clock: Clock, quorum: Quorum | None = None) -> None:
        self._clock = clock
        self._quorum = quorum or Quorum(clock)
        self._changed = threading.Condition(threading.RLock())
        self._by_id: dict[str, Pending] = {}
        self._by_name: dict[str, Pending] = {}

    def add(self, pending: Pending) -> None:
        with self._changed:
            self._by_id[pending.id] = pending
            self._by_name[pending.request_name] = self._by_name[pending.response_name] = pending
            self._quorum.note_asked(pending.asked.in_round)
            if pending.complete and not pending.failure:
                self._quorum.note_answered(pending.asked.in_round)

    def ids(self) -> list[str]:
        """Return the ids of all."""
        with self._changed:
            return list(self._by_id)

    def take_complete(self, ids: Iterable[str]) -> list[Pending]:
        """Remove and return those that are complete, in order; unknown ids are passed over."""
        with self._changed:
            done = [p for i in dict.fromkeys(ids) if (p := self._by_id.get(i)) and p.complete]
            for pending in done:
                del self._by_id[pending.id], self._by_name[pending.request_name], self._by_name[pending.response_name]
        return done

    def incomplete(self, ids: Iterable[str] | None = None) -> list[Pending]:
        """Return those that are not complete, of ``ids`` or of all."""
        with self._changed:
            chosen = self._by_id.values() if ids is None else [p for i in ids if (p := self._by_id.get(i))]
            return [pending for pending in chosen if not pending.complete]

    def touched_by(self, names: Collection[str]) -> list[Pending]:
        """Return those that the change of these names concerns: their files, or files of their datasite."""
        owners = {name.partition("/")[0] for name in names if name.endswith((".blob", ".json"))}
        with self._changed:
            touched = {found.id: found for name in names if (found := self._by_name.get(name))}
            for pending in self._by_id.values() if owners else ():
                if pending.asked.recipient in owners:
                    touched[pending.id] = pending
            return [pending for pending in touched.values() if not pending.complete]

    def closed_without(self, pending: Pending) -> str:
        """Say for people that the round of this request is closed; empty if it is not."""
        with self._changed:
            closed = self._clock.monotonic() >= self._quorum.closes(pending.asked.in_round)
            return self._quorum.describe(pending.asked.in_round) if closed else ""

    def fail(self, pending: Pending, failure: Failure) -> bool:
        """Give a request its failure; False if it is complete already. Nobody is told before :meth:`complete`."""
        with self._changed:
            if pending.complete or pending.failure:
                return False
            pending.failure = failure
            return True

    def answer(self, pending: Pending, answer: object, failure: Failure | None) -> None:
        """Give a request what its data owner answered, unless it has an outcome, and tell whoever waits."""
        with self._changed:
            if not pending.complete and not pending.failure:
                pending.answer, pending.failure = answer, failure
                if not failure:
                    self._quorum.note_answered(pending.asked.in_round)
                self.complete(pending)

    def complete(self, pending: Pending) -> None:
        """Tell whoever waits that a request has its outcome."""
        with self._changed:
            pending.complete = True
            self._changed.notify_all()

    def wait(
        self,
        ids: Collection[str],
        *,
        timeout: float | None,
        silence: float | None,
        on_deadline: Callable[[Pending], None],
    ) -> None:
        """Return when all of these are complete, or after ``timeout`` seconds.

        ``on_deadline`` is called for each whose lifetime ends, for which there was no sign of life for ``silence``
        seconds, or whose round is closed without it; it must complete it.
        """

        def end_of(pending: Pending) -> float:
            return min(pending.deadline, pending.seen + quiet, self._quorum.closes(pending.asked.in_round))

        limit = math.inf if timeout is None else self._clock.monotonic() + timeout
        quiet = math.inf if silence is None else silence
        while True:
            with self._changed:
                waiting = [p for i in ids if (p := self._by_id.get(i)) and not p.complete]
                now = self._clock.monotonic()
                if not waiting or now >= limit:
                    return
                next_end = min(limit, *map(end_of, waiting))
                if now < next_end:
                    self._clock.wait_until(self._changed, next_end)
            for pending in waiting:
                with self._changed:
                    over = self._clock.monotonic() >= end_of(pending)
                if over:
                    on_deadline(pending)
