"""Tracks the requests until their outcomes are collected, and lets callers wait for them."""

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
from syft_flwr.names import is_object, is_state
from syft_flwr.runs.costs import MessageCost


@dataclass(frozen=True, slots=True)
class Ask:
    """The content of one request to one datasite.

    ``lifetime`` is in seconds. ``buffers`` are the encoded message. ``round`` is only for logs and status files, and is
    not sent; if it is empty, the group is shown.
    """

    recipient: str
    run: int
    type: str
    group: str
    lifetime: float
    buffers: Sequence[bytes]
    round: str = ""
    #: Whether a resumed run reuses an equal request of an earlier process, in place of a second one.
    once: bool = True
    #: Whether the record of the run mentions it. A ping is no part of a run.
    recorded: bool = True
    #: The numbers of the buffers that travel in the envelope in any case.
    always_inline: tuple[int, ...] = ()

    @property
    def sharable(self) -> Sequence[bytes]:
        """Return the buffers that may be stored once for several recipients."""
        return [buffer for number, buffer in enumerate(self.buffers) if number not in self.always_inline]

    @property
    def in_round(self) -> Round:
        """Return the key that all messages of its round share."""
        return self.run, self.type, self.group

    def without_buffers(self) -> "Ask":
        """Return a copy without buffers, which frees their memory after they were sealed and recorded."""
        return replace(self, buffers=())


class Stage(Enum):
    """The stage of a request in this process. The recorded state is :class:`~syft_flwr._store.states.Future`."""

    #: The sending thread seals and records the envelope.
    SEALING = auto()
    #: The peer has published no key. The request is sealed when the key appears.
    WAITING_FOR_KEY = auto()
    #: The envelope is recorded, and its file must be written.
    TO_WRITE = auto()
    #: The file is written, or a thread is writing it. A reply may come.
    SENT = auto()
    #: The reply is recorded. Not all its objects have arrived.
    ARRIVING = auto()
    #: The request has a failure that is not recorded yet.
    ENDED = auto()
    #: The outcome can be collected.
    DONE = auto()


@dataclass(slots=True)
class Pending:
    """One request. After it was added to :class:`PendingRequests`, only that class changes its ``stage``."""

    id: str
    asked: Ask
    created: datetime
    expires: datetime
    #: Monotonic times: the end of its lifetime, and the last heartbeat or new object for it.
    deadline: float
    seen: float
    request_name: str
    response_name: str
    #: Digest of the message; empty if a resumed run always sends it again.
    content: str = ""
    #: The envelope until its file is written, its SHA-256 in hexadecimal, and the ids of its objects.
    request: bytes | None = None
    digest: str = ""
    objects: Sequence[str] = ()
    #: Whether an earlier process of this run recorded it, and whether the outcome comes from that process, too.
    replayed: bool = False
    restored: bool = False
    #: The body of the reply after it was received, and its objects.
    body: Body | None = None
    arrival: Arrival | None = None
    #: The decoded reply after all its objects have arrived.
    answer: object = None
    failure: Failure | None = None
    stage: Stage = Stage.SEALING
    account: MessageCost = field(default_factory=MessageCost)
    #: The monotonic time at which its file was written, and whether the write has ended.
    sent: float = 0.0
    placed: bool = False
    #: Its state at the data owner by the last heartbeat: ``waiting``, ``running`` or empty.
    held: str = ""
    #: The monotonic time of the last event about the progress of its reply.
    progress_at: float = -math.inf
    #: The monotonic time at which the wait for it ends, and the limit that decides.
    ends: tuple[float, str] = (math.inf, "")
    #: The seconds from that time until its reply was complete; 0 if there is no reply, or an earlier process got it.
    round_trip: float = 0.0

    @property
    def has_outcome(self) -> bool:
        """Return whether it has a reply or a failure, which may not be recorded yet."""
        return self.stage in (Stage.ENDED, Stage.DONE)

    @property
    def is_done(self) -> bool:
        return self.stage is Stage.DONE


class PendingRequests:
    """The pending requests, by id and by file name. Thread-safe."""

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
        """Return the ids of all pending requests."""
        with self._changed:
            return list(self._by_id)

    def advance(self, pending: Pending, start: Stage, end: Stage) -> bool:
        """Move a request from stage ``start`` to ``end``; return False if it is not at ``start``."""
        with self._changed:
            if pending.stage is not start:
                return False
            pending.stage = end
            return True

    def take_done(self, ids: Iterable[str]) -> list[Pending]:
        """Remove and return the requests of ``ids`` that are done, in order. Unknown ids are ignored."""
        with self._changed:
            done = [p for i in dict.fromkeys(ids) if (p := self._by_id.get(i)) and p.is_done]
            for pending in done:
                del self._by_id[pending.id], self._by_name[pending.request_name], self._by_name[pending.response_name]
        return done

    def put_back(self, requests: Iterable[Pending]) -> None:
        """Add done requests again for a later :meth:`take_done`, because their end could not be recorded."""
        with self._changed:
            for pending in requests:
                self._index(pending)

    def _index(self, pending: Pending) -> None:
        self._by_id[pending.id] = pending
        self._by_name[pending.request_name] = self._by_name[pending.response_name] = pending

    def open(self, ids: Iterable[str] | None = None) -> list[Pending]:
        """Return the requests that are not done, of ``ids`` or of all."""
        with self._changed:
            chosen = self._by_id.values() if ids is None else [p for i in ids if (p := self._by_id.get(i))]
            return [pending for pending in chosen if not pending.is_done]

    def done(self) -> list[Pending]:
        """Return the requests with an outcome that was not taken."""
        with self._changed:
            return [pending for pending in self._by_id.values() if pending.is_done]

    def is_next_for_its_peer(self, pending: Pending) -> bool:
        """Return whether no earlier request to the same data owner waits for its key."""
        with self._changed:
            waiting = (one for one in self._by_id.values() if one.asked.recipient == pending.asked.recipient)
            return next((one for one in waiting if one.stage is Stage.WAITING_FOR_KEY), pending) is pending

    def touched_by(self, names: Collection[str]) -> list[Pending]:
        """Return the open requests that these changed files concern: their own files, or files of their datasite."""
        owners = {name.partition("/")[0] for name in names if is_object(name) or is_state(name)}
        with self._changed:
            touched = {found.id: found for name in names if (found := self._by_name.get(name))}
            for pending in self._by_id.values() if owners else ():
                if pending.asked.recipient in owners:
                    touched[pending.id] = pending
            return [pending for pending in touched.values() if not pending.is_done]

    def closed_without(self, pending: Pending) -> str:
        """Return a text for people if the round of this request is closed; otherwise an empty string."""
        with self._changed:
            closed = self._clock.monotonic() >= self._quorum.closes(pending.asked.in_round)
            return self._quorum.describe(pending.asked.in_round) if closed else ""

    def fail(self, pending: Pending, failure: Failure) -> bool:
        """Set the failure of a request; return False if it has an outcome. Callers wait until :meth:`finish`."""
        with self._changed:
            if pending.has_outcome:
                return False
            pending.failure, pending.stage = failure, Stage.ENDED
            return True

    def answer(self, pending: Pending, answer: object, failure: Failure | None) -> None:
        """Set the reply of a request and wake the waiting callers, unless the request has an outcome."""
        with self._changed:
            if not pending.has_outcome:
                pending.answer, pending.failure = answer, failure
                if not failure:
                    self._quorum.note_answered(pending.asked.in_round)
                self.finish(pending)

    def finish(self, pending: Pending) -> None:
        """Make the outcome of a request collectable, and wake the waiting callers."""
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
        """Return when all requests of ``ids`` are done, or after ``timeout`` seconds.

        ``on_deadline`` is called for a request in three cases, and must end it: its lifetime is over, it had no
        heartbeat or new object for ``silence`` seconds, or its round is closed.
        """

        def end_of(pending: Pending) -> float:
            pending.ends = min(
                (pending.deadline, "lifetime"),
                (pending.seen + quiet, "silence"),
                (self._quorum.closes(pending.asked.in_round), "grace"),
                (limit, "timeout"),
            )
            return pending.ends[0]

        limit = math.inf if timeout is None else self._clock.monotonic() + timeout
        quiet = math.inf if silence is None else silence
        while True:
            with self._changed:
                waiting = [p for i in ids if (p := self._by_id.get(i)) and not p.is_done]
                now = self._clock.monotonic()
                if not waiting or now >= limit:
                    return
                next_end = min(map(end_of, waiting))
                if now < next_end:
                    self._clock.wait_until(self._changed, next_end)
            for pending in waiting:
                with self._changed:
                    over = self._clock.monotonic() >= end_of(pending)
                # The caller of this method handles its own timeout.
                if over and pending.ends[1] != "timeout":
                    on_deadline(pending)
