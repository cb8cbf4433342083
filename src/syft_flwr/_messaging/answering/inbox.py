"""Reads a data owner's inbox: a file counts as a request once it is verified, recorded and opened.

Only the aggregator is served. A request counts only if it is signed by the aggregator's pinned key, names this datasite,
this app and its own file, and is within its time. All else is logged once with its reason, and neither run nor answered.
"""

from collections.abc import Callable
from dataclasses import dataclass

from loguru import logger

from syft_flwr._messaging.endpoint import Endpoint
from syft_flwr._messaging.log_once import LogOnce
from syft_flwr._messaging.wire.body import Body, Manifest
from syft_flwr._messaging.wire.envelope import Header
from syft_flwr._messaging.wire.limits import MAX_ENVELOPE
from syft_flwr._messaging.wire.verifying import read_request
from syft_flwr._store.ledger import Ledger, ReceivedRow
from syft_flwr._store.states import Received
from syft_flwr.errors import AddressError, NotFoundError, StoreError, SyftFlwrError
from syft_flwr.names import REQUEST_SUFFIX


@dataclass(frozen=True, slots=True)
class Request:
    """An authentic request, opened."""

    header: Header
    body: Body
    #: SHA-256 of its envelope, which the response is bound to.
    digest: str
    #: On the monotonic clock.
    arrived: float


#: Told of an authentic request that cannot be opened: the aggregator can act on it.
OnUnreadable = Callable[[Request, SyftFlwrError], None]


class Inbox:
    """Reads requests. Used by one thread."""

    def __init__(self, endpoint: Endpoint, ledger: Ledger, aggregator: str, on_unreadable: OnUnreadable) -> None:
        self._endpoint = endpoint
        self._trust = endpoint.trust
        self._clock = endpoint.clock
        self._ledger = ledger
        self._aggregator = aggregator
        self._on_unreadable = on_unreadable
        self._logged = LogOnce()

    def read(self, name: str, sender: str, message_id: str) -> Request | None:
        """Return the request in this file if it is to be run; None if not, or not yet.

        Raises:
            StoreError: it cannot be recorded now, which is no fault of the file.
        """
        try:
            if sender != self._aggregator:
                raise AddressError(f"{sender} is not the aggregator that this datasite serves ({self._aggregator})")
            return self._receive(name, message_id)
        except NotFoundError:
            return None
        except StoreError:
            raise
        except SyftFlwrError as error:
            verb = "waited for" if error.transient else "ignored"
            self._logged.warning(f"{name} {error}", "{} is {}: {}", name, verb, error.diagnose())
            return None

    def pass_over(self, name: str) -> None:
        """Log once that a file's name is not a request."""
        if name.endswith(REQUEST_SUFFIX):
            self._logged.warning(name, "{} is ignored: its name is not that of a request of this protocol", name)

    def _receive(self, name: str, message_id: str) -> Request | None:
        data = self._endpoint.transport.get(name, max_size=MAX_ENVELOPE)
        unverified = read_request(
            data,
            email=self._endpoint.email,
            identity=self._trust.identity.public,
            sender=self._aggregator,
            message_id=message_id,
            app=self._endpoint.names.app,
        )
        verified = unverified.verify(self._trust.identity_of(self._aggregator), now=self._clock.now())
        header, digest = verified.header, verified.digest
        if not self._record(header, digest):
            return None
        try:
            body = verified.open(self._trust.identity, encryption=self._endpoint.encryption)
        except SyftFlwrError as error:
            label = self._endpoint.label(header.id, header.run)
            logger.error("{}: a request of {} cannot be opened: {}", label, self._aggregator, error.diagnose())
            self._on_unreadable(Request(header, Body(Manifest(), b""), digest, self._clock.monotonic()), error)
            return None
        return Request(header, body, digest, self._clock.monotonic())

    def _record(self, header: Header, digest: str) -> bool:
        """Return whether this request is to be run: new, or known and unanswered since an earlier process."""
        row = ReceivedRow(
            id=header.id,
            run=header.run,
            sender=header.sender,
            type=header.type,
            round=header.group,
            state=Received.RECEIVED,
            digest=digest,
            received=self._clock.now(),
            expires=header.expires,
        )
        if self._ledger.add(row):
            return True
        known = self._ledger.get(header.id)
        if known is None or known.digest != digest:
            raise AddressError("its id was used before, for another request")
        if known.state == Received.CLOSED:
            raise AddressError("it was answered and closed before; this is a replay")
        return known.state in (Received.RECEIVED, Received.RUNNING)
