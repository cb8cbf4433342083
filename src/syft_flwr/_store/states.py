"""The states of requests and runs, and the allowed moves between them.

A request has one state at the aggregator (:class:`Future`) and one at the data owner (:class:`Received`). The code, the
tests and the diagrams in ``docs/protocol.md`` use these tables. A state moves only along an arrow. A second attempt at
the same move, after a crash or for a repeated file, succeeds and changes nothing.
"""

from enum import StrEnum
from typing import TypeVar

State = TypeVar("State", bound=StrEnum)


class Future(StrEnum):
    """The state of a request at the aggregator."""

    #: The envelope is recorded; its file may be written already.
    CREATED = "created"
    #: The file was written to the inbox of the data owner.
    SENT = "sent"
    #: An authentic reply was recorded.
    ANSWERED = "answered"
    #: The request failed for a reason other than time.
    FAILED = "failed"
    #: The wait ended without a reply: its time was over, its round was closed, or the run was stopped.
    EXPIRED = "expired"
    #: The strategy gets the outcome, and the files of the request are deleted next.
    COLLECTED = "collected"


class Received(StrEnum):
    """The state of a request at the data owner."""

    #: The request is authentic, within its lifetime, new, and recorded.
    RECEIVED = "received"
    #: The app has the request. After a crash in this state, the request runs again.
    RUNNING = "running"
    #: The envelope of the reply was recorded.
    ANSWERED = "answered"
    #: The file of the reply was written.
    REPLIED = "replied"
    #: The aggregator withdrew the request, and the data owner deleted its files of it.
    CLOSED = "closed"


class RunState(StrEnum):
    """The state of a run at one participant."""

    #: The run has not ended. If no process serves it, it was interrupted and can be resumed.
    RUNNING = "running"
    #: The ServerApp returned, and each kind of message with failed requests also has a good reply.
    COMPLETED = "completed"
    #: The ServerApp raised an exception or ended itself with a failure, or a kind of message got no good reply.
    FAILED = "failed"
    #: A person stopped the run, or another run took its place.
    STOPPED = "stopped"


FUTURE_ARROWS: dict[Future, frozenset[Future]] = {
    # The reply may be recorded before the sender records that it has sent the request.
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
