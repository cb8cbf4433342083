"""The states of requests and runs, as tables: a request at the aggregator, and the same request at a data owner.

Code, tests and the diagrams in ``docs/protocol.md`` come from these tables. A state only moves along an arrow. A second
attempt at the same arrow (after a crash, or for a repeated file) succeeds and leads nowhere else.
"""

from enum import StrEnum
from typing import TypeVar

State = TypeVar("State", bound=StrEnum)


class Future(StrEnum):
    """A request, at the aggregator."""

    #: Recorded with its bytes; the file may or may not be there yet.
    CREATED = "created"
    #: The file was put where the data owner finds it.
    SENT = "sent"
    #: An authentic response was recorded.
    ANSWERED = "answered"
    #: It will get no answer, for a reason other than time.
    FAILED = "failed"
    #: Its time passed.
    EXPIRED = "expired"
    #: The strategy has the outcome and the files were deleted.
    COLLECTED = "collected"


class Received(StrEnum):
    """A request, at the data owner."""

    #: Authentic, unexpired, never seen before, and recorded.
    RECEIVED = "received"
    #: Given to the app. A crash here means that it runs again.
    RUNNING = "running"
    #: The one answer was recorded with its bytes.
    ANSWERED = "answered"
    #: The response file was put where the aggregator finds it.
    REPLIED = "replied"
    #: The aggregator withdrew the request; our files were deleted.
    CLOSED = "closed"


class RunState(StrEnum):
    """A run, at either side."""

    #: It was not ended yet; if no process serves it, it was interrupted and can be taken up again.
    RUNNING = "running"
    #: The ServerApp came to its end.
    COMPLETED = "completed"
    #: The ServerApp raised, or the run could not go on.
    FAILED = "failed"
    #: A person ended it, or another run took its place.
    STOPPED = "stopped"


FUTURE_ARROWS: dict[Future, frozenset[Future]] = {
    # The answer may come before the sender has noted that it sent.
    Future.CREATED: frozenset({Future.SENT, Future.ANSWERED, Future.FAILED, Future.EXPIRED}),
    Future.SENT: frozenset({Future.ANSWERED, Future.FAILED, Future.EXPIRED}),
    Future.ANSWERED: frozenset({Future.COLLECTED, Future.FAILED, Future.EXPIRED}),
    Future.FAILED: frozenset({Future.COLLECTED}),
    Future.EXPIRED: frozenset({Future.COLLECTED}),
    Future.COLLECTED: frozenset(),
}

RECEIVED_ARROWS: dict[Received, frozenset[Received]] = {
    Received.RECEIVED: frozenset({Received.RUNNING, Received.ANSWERED, Received.CLOSED}),
    Received.RUNNING: frozenset({Received.ANSWERED, Received.CLOSED}),
    Received.ANSWERED: frozenset({Received.REPLIED, Received.CLOSED}),
    Received.REPLIED: frozenset({Received.CLOSED}),
    Received.CLOSED: frozenset(),
}


def before(arrows: dict[State, frozenset[State]], state: State) -> tuple[State, ...]:
    """Return the states from which an arrow leads to ``state``."""
    return tuple(start for start, ends in arrows.items() if state in ends)
