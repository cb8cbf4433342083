"""The data owner's replies: recorded, then written, written again if they go missing, deleted at the end.

The answer is in the ledger, with the app's new state, before its file appears. After a crash the same bytes are put again.
"""

import hashlib
import threading

from syft_flwr._messaging.answering.inbox import Request
from syft_flwr._messaging.endpoint import Endpoint
from syft_flwr._messaging.log_once import LogOnce
from syft_flwr._messaging.own_files import discard
from syft_flwr._messaging.wire.body import Body, failure
from syft_flwr._messaging.wire.limits import MAX_ENVELOPE
from syft_flwr._messaging.wire.reasons import Reason
from syft_flwr._messaging.wire.sealing import seal_response
from syft_flwr._store.ledger import Ledger
from syft_flwr._store.states import Received
from syft_flwr.errors import LocalProtocolError, StoreError, SyftFlwrError, TransportError


class Answers:
    """Writes responses, and deletes them and their objects. Thread-safe."""

    def __init__(self, endpoint: Endpoint, ledger: Ledger) -> None:
        self._endpoint = endpoint
        self._transport = endpoint.transport
        self._names = endpoint.names
        self._ledger = ledger
        self._me = endpoint.email
        self._mine = endpoint.mine
        #: Held while an answer is put or taken away, so that none is put after its request was closed.
        self._placing = threading.Lock()
        #: Answers that were put, by request id: the name and the SHA-256 of the file.
        self._put: dict[str, tuple[str, bytes]] = {}
        self._logged = LogOnce()

    def commit(self, request: Request, body: Body, *, context: str | None = None) -> bool | None:
        """Record the answer, and the app's new state with it, then release it.

        Returns:
            True if this is the answer now; False if there was one, or the request was closed; None if it can neither be
            sealed nor recorded at present, and the request has to be run again. Unless True, the body's objects are
            deleted.
        """
        header = request.header
        try:
            response = self._seal(request, body)
            first = self._ledger.answer(
                header.id,
                response=response,
                objects=body.manifest.object_ids,
                context=None if context is None else (header.run, context),
            )
        except LocalProtocolError as error:
            self._mine.delete(body.manifest.object_ids)
            return self.commit(request, failure(Reason.INVALID, str(error)))
        except SyftFlwrError as error:
            label, text = self._endpoint.label(header.id, header.run), "{}: the answer to {} waits: {}"
            self._logged.error(f"{header.id} {error}", text, label, header.sender, error.diagnose())
            self._mine.delete(body.manifest.object_ids)
            return None
        if not first:
            self._mine.delete(body.manifest.object_ids)
            return False
        self.put(header.id, header.sender, response)
        return True

    def _seal(self, request: Request, body: Body) -> bytes:
        trust = self._endpoint.trust
        return seal_response(
            body,
            identity=trust.identity,
            # Asked now: the key that verified the request may have been read days ago.
            peer=trust.identity_of(request.header.sender),
            request=request.header,
            digest=request.digest,
            created=self._endpoint.clock.now(),
            encryption=self._endpoint.encryption,
        )

    def put(self, message_id: str, sender: str, response: bytes) -> None:
        """Put a recorded answer where the aggregator finds it; one that cannot be written is tried again later."""
        name = self._names.response(self._me, sender, message_id)
        with self._placing:
            self._put[message_id] = name, hashlib.sha256(response).digest()
            try:
                row = self._ledger.get(message_id)
                if row is None or row.state is Received.CLOSED:
                    del self._put[message_id]
                    return
                # Its place is ours alone: a file that another participant put there is replaced.
                self._transport.put(name, response, readers=[sender], replace=True)
                self._ledger.move(message_id, Received.REPLIED)
            except (TransportError, StoreError) as error:
                text = "{} (a reply to {}) is tried again at each scan: {}"
                self._logged.error(f"{name} {error}", text, name, sender, error.diagnose())

    def put_again_what_changed(self) -> None:
        """Put answers again that could not be written, or that somebody else deleted or overwrote."""
        for message_id, (name, digest) in list(self._put.items()):
            try:
                found = hashlib.sha256(self._transport.get(name, max_size=MAX_ENVELOPE)).digest()
            except TransportError:
                found = b""
            try:
                row = self._ledger.get(message_id) if found != digest else None
            except StoreError as error:
                self._logged.error(f"{name} {error}", "{} is looked at again later: {}", name, error.diagnose())
                continue
            if row and row.response:
                if row.state == Received.REPLIED:
                    label = self._endpoint.label(message_id, row.run)
                    text = "{}: {} was deleted or overwritten by somebody else; it is put again"
                    self._logged.warning(f"{name} changed", text, label, name)
                self.put(message_id, row.sender, row.response)

    def close(self, message_id: str) -> None:
        """End a request that the aggregator withdrew: delete our response to it and its objects."""
        with self._placing:
            row = self._ledger.get(message_id)
            self._put.pop(message_id, None)
            if row is None:
                return
            discard(self._transport, self._names.response(self._me, row.sender, message_id))
            for object_id in row.objects:
                discard(self._transport, self._names.object(self._me, object_id))
            self._ledger.close_request(message_id)
