"""The requests that have no collected outcome yet, and the wait for them."""

import math
import threading
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import Enum, auto

from syft_flwr._messaging.arrivals import Arrival
from syft_flwr._messaging.asking.quorum import Quorum, Round
from syft_flwr._messaging.wire.body import Body, Failure
from syft_flwr.clock import Clock
from syft_flwr.names import OBJECT_SUFFIX, STATE_SUFFIX
from syft_flwr.runs.costs import MessageCost


@dataclass(frozen=True, slots=True)
class Ask:
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

    def without_buffers(self) -> "Ask":
        """The same, for when the buffers are sealed and recorded and need not stay in memory."""
        return replace(self, buffers=())


class Stage(Enum):
    """How far a request has come in this process. What is on record is :class:`~syft_flwr._store.states.Future`."""

    #: The thread that sends it makes and records its envelope.
    SEALING = auto()
    #: The peer has published no key; it is sealed when the key is there.
    WAITING_FOR_KEY = auto()
    #: Its envelope is recorded, and its file has to be written.
    TO_WRITE = auto()
    #: Its file is written, or is being written: a reply may come.
    SENT = auto()
    #: The reply is recorded; its objects arrive.
    ARRIVING = auto()
    #: It has a failure that is not recorded yet.
    ENDED = auto()
    #: Its outcome can be collected.
    DONE = auto()


@dataclass(slots=True)
class Pending:
    """One request. Only :class:`PendingRequests` moves its ``stage`` once it was added there."""

    id: str
    asked: Ask
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
    #: The response, once there is one, and the objects that it refers to.
    body: Body | None = None
    arrival: Arrival | None = None
    #: The decoded answer, once all of it is there.
    answer: object = None
    failure: Failure | None = None
    stage: Stage = Stage.SEALING
    account: MessageCost = field(default_factory=MessageCost)
    #: On the monotonic clock.
    sent: float = 0.0

    @property
    def has_outcome(self) -> bool:
        """Return whether it has an answer or a failure, which may not be recorded yet."""
        return self.stage in (Stage.ENDED, Stage.DONE)

    @property
    def is_done(self) -> bool:
        return self.stage is Stage.DONE


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
            self._index(pending)
            self._quorum.note_asked(pending.asked.in_round)
            if pending.is_done and not pending.failure:
                self._quorum.note_answered(pending.asked.in_round)

    def ids(self) -> list[str]:
        """Return the ids of all."""
        with self._changed:
            return list(self._by_id)

    def advance(self, pending: Pending, start: Stage, end: Stage) -> bool:
        """Move a request from ``start`` to ``end``; False if another thread moved it meanwhile."""
        with self._changed:
            if pending.stage is not start:
                return False
            pending.stage = end
            return True

    def take_done(self, ids: Iterable[str]) -> list[Pending]:
        """Remove and return those that are done, in order; unknown ids are passed over."""
        with self._changed:
            done = [p for i in dict.fromkeys(ids) if (p := self._by_id.get(i)) and p.is_done]
            for pending in done:
                del self._by_id[pending.id], self._by_name[pending.request_name], self._by_name[pending.response_name]
        return done

    def put_back(self, requests: Iterable[Pending]) -> None:
        """Keep done requests for a later :meth:`take_done`: their end could not be recorded."""
        with self._changed:
            for pending in requests:
                self._index(pending)

    def _index(self, pending: Pending) -> None:
        self._by_id[pending.id] = pending
        self._by_name[pending.request_name] = self._by_name[pending.response_name] = pending

    def open(self, ids: Iterable[str] | None = None) -> list[Pending]:
        """Return those that are not done, of ``ids`` or of all."""
        with self._changed:
            chosen = self._by_id.values() if ids is None else [p for i in ids if (p := self._by_id.get(i))]
            return [pending for pending in chosen if not pending.is_done]

    def touched_by(self, names: Collection[str]) -> list[Pending]:
        """Return those that the change of these names concerns: their files, or files of their datasite."""
        owners = {name.partition("/")[0] for name in names if name.endswith((OBJECT_SUFFIX, STATE_SUFFIX))}
        with self._changed:
            touched = {found.id: found for name in names if (found := self._by_name.get(name))}
            for pending in self._by_id.values() if owners else ():
                if pending.asked.recipient in owners:
                    touched[pending.id] = pending
            return [pending for pending in touched.values() if not pending.is_done]

    def closed_without(self, pending: Pending) -> str:
        """Say for people that the round of this request is closed; empty if it is not."""
        with self._changed:
            closed = self._clock.monotonic() >= self._quorum.closes(pending.asked.in_round)
            return self._quorum.describe(pending.asked.in_round) if closed else ""

    def fail(self, pending: Pending, failure: Failure) -> bool:
        """Give a request its failure; False if it has an outcome. No caller is told before :meth:`finish`."""
        with self._changed:
            if pending.has_outcome:
                return False
            pending.failure, pending.stage = failure, Stage.ENDED
            return True

    def answer(self, pending: Pending, answer: object, failure: Failure | None) -> None:
        """Give a request the reply of its data owner, unless it has an outcome, and wake the callers that wait."""
        with self._changed:
            if not pending.has_outcome:
                pending.answer, pending.failure = answer, failure
                if not failure:
                    self._quorum.note_answered(pending.asked.in_round)
                self.finish(pending)

    def finish(self, pending: Pending) -> None:
        """Let the outcome of a request be collected, and wake the callers that wait."""
        with self._changed:
            pending.stage = Stage.DONE
            self._changed.notify_all()

    def wait(
        self,
        ids: Collection[str],
        *,
        timeout: float | None,
        silence: float | None,
        on_deadline: Callable[[Pending], None],
    ) -> None:
        """Return when all of these are done, or after ``timeout`` seconds.

        ``on_deadline`` is called for each whose lifetime ends, for which there was no sign of life for ``silence``
        seconds, or whose round is closed without it; it must end it.
        """

        def end_of(pending: Pending) -> float:
            return min(pending.deadline, pending.seen + quiet, self._quorum.closes(pending.asked.in_round))

        limit = math.inf if timeout is None else self._clock.monotonic() + timeout
        quiet = math.inf if silence is None else silence
        while True:
            with self._changed:
                waiting = [p for i in ids if (p := self._by_id.get(i)) and not p.is_done]
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
