"""Tracks the requests until their outcomes are collected, and lets callers wait for them."""

import math
import threading
from collections.abc import Callable, Collection, Iterable

from syft_flwr._messaging.asking.pending import Pending, Stage
from syft_flwr._messaging.asking.wait_limits import Limit, WaitLimits
from syft_flwr._messaging.wire.body import Failure
from syft_flwr.clock import Clock
from syft_flwr.names import is_object, is_state


class PendingRequests:
    """The pending requests, by id and by file name. Thread-safe."""

    def __init__(self, clock: Clock, limits: WaitLimits) -> None:
        self._clock = clock
        self._limits = limits
        self._calls = 0
        self._changed = threading.Condition(threading.RLock())
        self._by_id: dict[str, Pending] = {}
        self._by_name: dict[str, Pending] = {}

    def add(self, batch: Collection[Pending]) -> None:
        """Add the requests of one call. Those without a group are one round."""
        with self._changed:
            self._calls += 1
            for pending in batch:
                self._index(pending)
                if pending.asked.in_a_round:
                    self._add_to_round(pending)

    def _add_to_round(self, pending: Pending) -> None:
        asked = pending.asked
        pending.round = asked.run, asked.type, asked.group, 0 if asked.group else self._calls
        age = (self._clock.now() - pending.created).total_seconds() if pending.replayed else 0.0
        self._limits.rounds.note_asked(pending.round, age=max(0.0, age))
        if pending.is_done and not (pending.failure or pending.error):
            self._limits.rounds.note_good(pending.round)

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
        """Return the requests with an outcome that was not taken, also if it is not recorded yet."""
        with self._changed:
            return [pending for pending in self._by_id.values() if pending.has_outcome]

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

    def limit_call(self, ids: Iterable[str], timeout: float) -> None:
        """Let the wait for these requests end ``timeout`` seconds from now."""
        with self._changed:
            for pending in self.open(ids):
                pending.call_ends, pending.timeout = self._clock.monotonic() + timeout, timeout

    def due(self, ids: Iterable[str]) -> list[Pending]:
        """Return those of these open requests of which a limit has passed."""
        with self._changed:
            now = self._clock.monotonic()
            return [pending for pending in self.open(ids) if now >= self._limits.end_of(pending)[0]]

    def over(self, pending: Pending, *, unseen: bool = False) -> Limit | None:
        """Return the limit that ends the wait for a reply; None while the wait continues.

        A wait ends only after a look at the reply that began after the limit. So a complete reply that is there counts,
        also if this process was paused. With ``unseen``, it ends without a look, because none is possible.
        """
        with self._changed:
            pending.ends = self._limits.end_of(pending)
            end, limit = self._limits.end_of(pending, looked=True)
            now = self._clock.monotonic()
            may_be_there = pending.stage in (Stage.SENT, Stage.ARRIVING) and not unseen
            if pending.has_outcome or now < end or (may_be_there and pending.looked < end):
                return None
            return limit

    def why_over(self, pending: Pending, limit: Limit) -> str:
        """Return why the wait for a reply ended, for people."""
        with self._changed:
            return self._limits.end_text(pending, limit)

    def fail(self, pending: Pending, failure: Failure) -> bool:
        """Set the failure of a request; return False if it has an outcome. Callers wait until :meth:`finish`."""
        with self._changed:
            if pending.has_outcome:
                return False
            pending.failure, pending.stage = failure, Stage.ENDED
            return True

    def answer(self, pending: Pending, answer: object, failure: Failure | None, error: str = "") -> bool:
        """Set the reply of a request; return False if it has an outcome. Callers wait until :meth:`finish`.

        ``error`` is the error that the reply contains; empty if the reply is good.
        """
        with self._changed:
            if pending.has_outcome:
                return False
            pending.answer, pending.failure, pending.error = answer, failure, error
            if pending.round and not failure and not error:
                self._limits.rounds.note_good(pending.round)
            pending.stage = Stage.ENDED
            return True

    def finish(self, pending: Pending) -> None:
        """Make the outcome of a request collectable, and wake the waiting callers."""
        with self._changed:
            pending.stage = Stage.DONE
            self._changed.notify_all()

    def wait(self, ids: Collection[str], *, timeout: float, on_due: Callable[[Pending], float]) -> None:
        """Return when all requests of ``ids`` are done, or after ``timeout`` seconds.

        ``on_due`` is called with an open request of which a limit has passed. It causes a look at the files, which may end
        the request, and returns the seconds until its next call.
        """
        limit = self._clock.monotonic() + timeout
        pause = -math.inf
        while True:
            with self._changed:
                waiting = self.open(ids)
                now = self._clock.monotonic()
                if not waiting or now >= limit:
                    return
                due = max(pause, min(self._limits.end_of(pending)[0] for pending in waiting))
                if now < due:
                    self._clock.wait_until(self._changed, min(due, limit))
                    continue
            for pending in self.due(ids):
                pause = self._clock.monotonic() + on_due(pending)
