"""Decides which open requests of a data owner are closed.

* Where only its writer deletes a file, the absence of its file withdraws a request.
* Where a sync service can delete files, absence has no meaning. The heartbeat of the aggregator lists the withdrawn
  requests. A request without a reply also ends with its lifetime, and a request with a reply after 31 days.
* The requests of an aggregator that the data owner served before end only with their time.
"""

from typing import Protocol

from syft_flwr._messaging.answering.open_requests import OpenRequest, OpenRequests
from syft_flwr._messaging.endpoint import Endpoint
from syft_flwr._messaging.liveness import Liveness
from syft_flwr._messaging.wire.heartbeat import Heartbeat
from syft_flwr._store.ledger import Ledger
from syft_flwr.errors import NotFoundError
from syft_flwr.transport.base import Transport


class Closing(Protocol):
    """The rule by which requests are closed."""

    #: The name of the file with the statements of the aggregator; empty if there is none.
    statement: str

    def look(self) -> Heartbeat | None:
        """Read the latest statement of the aggregator; return it if it is new and not an old file."""

    def is_over(self, request: OpenRequest) -> bool:
        """Return whether this request must be closed; raise TransportError or StoreError if that is not known now."""


class ByAbsence:
    """Closes a request when its file is gone."""

    statement = ""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def look(self) -> None:
        """Return None: each request has a file of its own."""

    def is_over(self, request: OpenRequest) -> bool:
        try:
            self._transport.stat(request.name)
        except NotFoundError:
            return True
        return False


class ByTime:
    """Closes a request without a reply at the end of its lifetime, and a request with a reply after 31 days."""

    def __init__(self, endpoint: Endpoint, ledger: Ledger) -> None:
        self._clock = endpoint.clock
        self._ledger = ledger

    def is_over(self, request: OpenRequest) -> bool:
        now = self._clock.monotonic()
        if now < min(request.ends, request.kept_until):
            return False
        return now >= request.kept_until or not self._ledger.has_reply(request.id)


class ByStatement:
    """Closes a request when the aggregator states that it is withdrawn, or when its time is over. Used by one thread."""

    def __init__(self, endpoint: Endpoint, ledger: Ledger, aggregator: str, liveness: Liveness | None = None) -> None:
        self.statement = endpoint.names.aggregator_heartbeat(aggregator)
        self._by_time = ByTime(endpoint, ledger)
        self._aggregator = aggregator
        self._liveness = liveness or Liveness(endpoint, "aggregator")
        self._withdrawn: frozenset[str] = frozenset()

    def look(self) -> Heartbeat | None:
        # An old heartbeat does no harm, because a withdrawn request stays withdrawn.
        if heartbeat := self._liveness.look(self._aggregator):
            self._withdrawn = frozenset(heartbeat.withdrawn)
        return heartbeat if self._liveness.is_online(self._aggregator) else None

    def is_over(self, request: OpenRequest) -> bool:
        return request.id in self._withdrawn or self._by_time.is_over(request)


def close_what_is_over(endpoint: Endpoint, ledger: Ledger) -> None:
    """Close the requests of all aggregators that are withdrawn by statement, or over by time, while no client runs."""
    rows = ledger.unfinished()
    closings = {sender: ByStatement(endpoint, ledger, sender) for sender in {row.sender for row in rows}}
    for closing in closings.values():
        closing.look()
    requests = OpenRequests(endpoint.clock)
    for row in rows:
        name = endpoint.names.request(endpoint.email, row.sender, row.id)
        request = requests.add(row.id, row.sender, name, expires=row.expires, received=row.received, taken=True)
        if request and closings[row.sender].is_over(request):
            ledger.close_request(row.id)
