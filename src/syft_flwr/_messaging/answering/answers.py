"""Writes the replies of a data owner, restores missing ones, and deletes them at the end.

A reply is recorded in the ledger, together with the new state of the app, before its file is written. After a crash,
the client writes the same bytes again.
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
    """Records and writes replies, and deletes them and their objects. Thread-safe."""

    def __init__(self, endpoint: Endpoint, ledger: Ledger) -> None:
        self._endpoint = endpoint
        self._transport = endpoint.transport
        self._names = endpoint.names
        self._ledger = ledger
        self._me = endpoint.email
        self._mine = endpoint.mine
        #: Held while a reply is written or deleted, so that no reply is written after its request was closed.
        self._placing = threading.Lock()
        #: The name and the SHA-256 of the file of each written reply, by request id.
        self._put: dict[str, tuple[str, bytes]] = {}
        self._logged = LogOnce()

    def commit(self, request: Request, body: Body, *, context: str | None = None) -> bool | None:
        """Record the reply together with the new state of the app, then write its file.

        Returns:
            True if this reply was recorded. False if the request already had a reply or was closed. None if the reply
            cannot be sealed or recorded now, so the request must run again. Without True, the objects of the body are
            deleted. If the protocol forbids the body, such as a body that is too large, an error is the reply.
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
            label = self._endpoint.label(header.id, header.run)
            text = "{}: the reply to {} cannot be recorded now; the request runs again after the next scan: {}"
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
            # Read the key again: the request may have been verified days ago.
            peer=trust.identity_of(request.header.sender),
            request=request.header,
            digest=request.digest,
            created=self._endpoint.clock.now(),
            encryption=self._endpoint.encryption,
        )

    def put(self, message_id: str, sender: str, response: bytes) -> None:
        """Write the file of a recorded reply. If that fails, a later scan tries again."""
        name = self._names.response(self._me, sender, message_id)
        with self._placing:
            self._put[message_id] = name, hashlib.sha256(response).digest()
            try:
                row = self._ledger.get(message_id)
                if row is None or row.state is Received.CLOSED:
                    del self._put[message_id]
                    return
                # Only this data owner may write this file, so a file of another participant is replaced.
                self._transport.put(name, response, readers=[sender], replace=True)
                self._ledger.move(message_id, Received.REPLIED)
            except (TransportError, StoreError) as error:
                text = "{} (the reply to {}) could not be written, and is tried again at each scan: {}"
                self._logged.error(f"{name} {error}", text, name, sender, error.diagnose())

    def put_again_what_changed(self) -> None:
        """Write the replies again that are missing or changed: a write failed, or another program changed the file."""
        for message_id, (name, digest) in list(self._put.items()):
            try:
                found = hashlib.sha256(self._transport.get(name, max_size=MAX_ENVELOPE)).digest()
            except TransportError:
                found = b""
            try:
                row = self._ledger.get(message_id) if found != digest else None
            except StoreError as error:
                text = "{} is checked again at the next scan: {}"
                self._logged.error(f"{name} {error}", text, name, error.diagnose())
                continue
            if row and row.response:
                if row.state == Received.REPLIED:
                    label = self._endpoint.label(message_id, row.run)
                    text = "{}: {} was deleted or overwritten by another program; it is written again"
                    self._logged.warning(f"{name} changed", text, label, name)
                self.put(message_id, row.sender, row.response)

    def close(self, message_id: str) -> None:
        """Close a request that the aggregator withdrew: delete the reply and its objects."""
        with self._placing:
            row = self._ledger.get(message_id)
            self._put.pop(message_id, None)
            if row is None:
                return
            discard(self._transport, self._names.response(self._me, row.sender, message_id))
            for object_id in row.objects:
                discard(self._transport, self._names.object(self._me, object_id))
            self._ledger.close_request(message_id)
