"""The outcomes of requests, and those that are there for a thread which still waits when the caller is closed."""

import secrets
import threading
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Generic, TypeVar, cast

from syft_flwr._messaging.asking.pending import Ask, Pending
from syft_flwr._messaging.wire.body import Failure
from syft_flwr._messaging.wire.reasons import Reason

Answer = TypeVar("Answer")


@dataclass(frozen=True, slots=True)
class Outcome(Generic[Answer]):
    """The end of one request: the decoded reply, or the failure. One of the two is None."""

    id: str
    recipient: str
    answer: Answer | None
    failure: Failure | None
    #: Seconds from the write of the request until its reply was complete; 0 without a reply of this process.
    round_trip: float = 0.0
    #: The keys of the run configuration for which the data owner kept its own value.
    kept_keys: tuple[str, ...] = ()

    @classmethod
    def of(cls, pending: Pending) -> "Outcome[Answer]":
        """Return the outcome of a request that is done."""
        return cls(
            id=pending.id,
            recipient=pending.asked.recipient,
            answer=cast("Answer | None", pending.answer),
            failure=pending.failure,
            round_trip=pending.round_trip,
            kept_keys=tuple(pending.body.manifest.kept_keys) if pending.body else (),
        )


class LeftOutcomes(Generic[Answer]):
    """The outcomes that nothing collected before the end. Each is taken once. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._by_id: dict[str, Outcome[Answer]] = {}

    def add(self, done: Iterable[Pending]) -> None:
        """Add the outcomes of requests that are done."""
        with self._lock:
            self._by_id.update({pending.id: Outcome[Answer].of(pending) for pending in done})

    def refuse(self, messages: Iterable[Ask]) -> list[str]:
        """Return new ids for messages that cannot be sent any more, each with a failure as its outcome."""
        failure = Failure(code=Reason.STOPPED, text="the run was stopped")
        refused: dict[str, Outcome[Answer]] = {}
        for asked in messages:
            message_id = secrets.token_hex(16)
            refused[message_id] = Outcome(message_id, asked.recipient, None, failure)
        with self._lock:
            self._by_id.update(refused)
        return list(refused)

    def take(self, ids: Iterable[str]) -> list[Outcome[Answer]]:
        """Remove and return the outcomes of these requests, in order. Unknown ids are ignored."""
        with self._lock:
            return [self._by_id.pop(message_id) for message_id in dict.fromkeys(ids) if message_id in self._by_id]
