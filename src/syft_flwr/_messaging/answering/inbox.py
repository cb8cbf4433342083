"""Reads the inbox of a data owner, and accepts files that are authentic requests of the aggregator.

A request must be signed with the pinned key of the aggregator and be within its lifetime. Its header must name this
datasite, this app and the id in its file name. The client logs any other file once, with the reason, and ignores it. An
accepted request is recorded before it runs.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from syft_flwr._messaging.endpoint import Endpoint
from syft_flwr._messaging.wire.body import Body, Manifest, require_request
from syft_flwr._messaging.wire.envelope import Header
from syft_flwr._messaging.wire.limits import MAX_ENVELOPE
from syft_flwr._messaging.wire.reasons import reason_of
from syft_flwr._messaging.wire.verifying import Verified, read_request
from syft_flwr._store.ledger import Ledger, ReceivedRow
from syft_flwr._store.states import Received
from syft_flwr.errors import AddressError, NotFoundError, StoreError, SyftFlwrError
from syft_flwr.log import logger
from syft_flwr.log_once import STRANGERS, LogOnce
from syft_flwr.names import REQUEST_SUFFIX
from syft_flwr.runs.events import RequestRefused
from syft_flwr.runs.stream import Emit


@dataclass(frozen=True, slots=True)
class Request:
    """An authentic request with its decrypted body."""

    header: Header
    body: Body
    #: SHA-256 of the envelope, in hexadecimal. The reply contains it.
    digest: str
    #: Times on the monotonic clock: its arrival, the arrival of its last object, and when the app was free for it.
    arrived: float
    #: Bytes of the envelope and its objects.
    size: int = 0
    complete: float | None = None
    taken: float | None = None

    def is_over(self, now: float) -> bool:
        """Return whether its lifetime has passed since its arrival. Clocks of two machines are not compared."""
        return now >= self.arrived + (self.header.expires - self.header.created).total_seconds()

    def seconds(self, now: float) -> dict[str, float]:
        """Return the seconds of downloading the objects, and of waiting for the app; at most until ``now``."""
        complete = now if self.complete is None else self.complete
        taken = now if self.taken is None else self.taken
        return {"download": complete - self.arrived, "wait": max(0.0, taken - complete)}


#: Called with an authentic request that cannot be opened, so that the aggregator gets an error as the reply.
OnUnreadable = Callable[[Request, SyftFlwrError], None]


class Inbox:
    """Reads the requests of one aggregator. Used by one thread."""

    def __init__(
        self, endpoint: Endpoint, ledger: Ledger, aggregator: str, on_unreadable: OnUnreadable, on_event: Emit
    ) -> None:
        self._endpoint = endpoint
        self._trust = endpoint.trust
        self._clock = endpoint.clock
        self._ledger = ledger
        self._aggregator = aggregator
        self._on_unreadable = on_unreadable
        self._on_event = on_event
        self._logged = LogOnce()

    def read(self, name: str, sender: str, message_id: str) -> Request | None:
        """Return the request in this file if it must run; None if not, or not yet.

        Raises:
            StoreError: the request cannot be recorded now; read the file again later.
        """
        try:
            if sender != self._aggregator:
                raise AddressError(
                    f"{sender} is not the aggregator that this datasite serves ({self._aggregator})",
                    hint="Check the setting aggregator: syft-flwr config show",
                )
            return self._receive(name, message_id)
        except NotFoundError:
            return None
        except StoreError:
            raise
        except SyftFlwrError as error:
            verb = "read again at the next scan" if error.transient else "ignored"
            peer = sender if sender == self._aggregator else STRANGERS
            key = f"{name} {type(error).__name__}"
            is_new = self._logged.warning(peer, key, "{} is {}: {}", name, verb, error.diagnose())
            # A file that is read again, such as one that has not arrived completely, is not refused.
            if is_new and not error.transient:
                # Without a valid signature, its run may be invented.
                self._on_event(0, RequestRefused(name, sender, reason_of(error), str(error)))
            return None

    def read_recorded(self, message_id: str) -> Request | None:
        """Return a request of the ledger if it must run, also if its file is gone; None if not.

        Raises:
            StoreError: the ledger cannot be read now.
        """
        row = self._ledger.get(message_id)
        if row is None or row.state not in (Received.RECEIVED, Received.RUNNING):
            return None
        data = self._ledger.request(message_id)
        if data is None:
            return None
        try:
            return self._open(self._verified(data, message_id, now=None), len(data))
        except SyftFlwrError as error:
            text = "{}: a recorded request of {} is ignored: {}"
            label = self._endpoint.label(message_id, row.run)
            self._logged.warning(
                self._aggregator,
                f"{message_id} {type(error).__name__}",
                text,
                label,
                self._aggregator,
                error.diagnose(),
            )
            return None

    def pass_over(self, name: str) -> None:
        """Log once that the name of a file is not the name of a request."""
        if name.endswith(REQUEST_SUFFIX):
            text = "{} is ignored: its name does not have the form of a request of this protocol; no action is needed"
            ours = name.startswith(self._endpoint.names.messages_of(self._endpoint.email, self._aggregator))
            self._logged.warning(self._aggregator if ours else STRANGERS, name, text, name)

    def _receive(self, name: str, message_id: str) -> Request | None:
        data = self._endpoint.transport.get(name, max_size=MAX_ENVELOPE)
        verified = self._verified(data, message_id, now=self._clock.now())
        return self._open(verified, len(data)) if self._record(verified.header, verified.digest, data) else None

    def _verified(self, data: bytes, message_id: str, *, now: datetime | None) -> Verified:
        unverified = read_request(
            data,
            email=self._endpoint.email,
            identity=self._trust.identity.public,
            sender=self._aggregator,
            message_id=message_id,
            app=self._endpoint.names.app,
        )
        verified = unverified.verify(self._trust.identity_of(self._aggregator), now=now)
        self._trust.note_accepted()
        return verified

    def _open(self, verified: Verified, size: int) -> Request | None:
        header, digest = verified.header, verified.digest
        try:
            body = verified.open(self._trust.identity, encryption=self._endpoint.encryption)
            require_request(body)
        except SyftFlwrError as error:
            label = self._endpoint.label(header.id, header.run)
            text = "{}: a request of {} cannot be opened, and gets an error as its reply: {}"
            logger.bind(peer=self._aggregator).error(text, label, self._aggregator, error.diagnose())
            unread = Request(header, Body(Manifest(), b""), digest, self._clock.monotonic(), size)
            self._on_unreadable(unread, error)
            return None
        size += sum(self._endpoint.mine.file_size(ref) for ref in body.manifest.objects)
        return Request(header, body, digest, self._clock.monotonic(), size)

    def _record(self, header: Header, digest: str, data: bytes) -> bool:
        """Record a request; return whether it must run.

        It must if it is new, or if an earlier process received it without a reply.
        """
        keeps_files = not self._endpoint.transport.properties.files_vanish
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
        if self._ledger.add(row, None if keeps_files else data):
            return True
        known = self._ledger.get(header.id)
        if known is None or known.digest != digest:
            raise AddressError("its id was used before, for another request")
        if known.state == Received.CLOSED and keeps_files:
            raise AddressError(
                "it was answered and closed before; this is a replay",
                hint="Delete the file: a backup, or the sync service, brought it back.",
            )
        return known.state in (Received.RECEIVED, Received.RUNNING)
