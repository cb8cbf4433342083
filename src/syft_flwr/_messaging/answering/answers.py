"""Writes the replies of a data owner, restores missing ones, and deletes them at the end.

A reply is recorded in the ledger, together with the new state of the app, before its file is written. After a crash,
the client writes the same bytes again.
"""

import hashlib
import threading
from collections.abc import Iterable

from loguru import logger

from syft_flwr._messaging.answering.inbox import Request
from syft_flwr._messaging.endpoint import Endpoint
from syft_flwr._messaging.log_once import LogOnce
from syft_flwr._messaging.own_files import discard
from syft_flwr._messaging.put_back import PutBack
from syft_flwr._messaging.wire.body import Body, failure
from syft_flwr._messaging.wire.limits import MAX_ENVELOPE
from syft_flwr._messaging.wire.reasons import Reason
from syft_flwr._messaging.wire.sealing import seal_response
from syft_flwr._store.ledger import Ledger, ReceivedRow
from syft_flwr._store.states import Received
from syft_flwr.errors import LocalProtocolError, NotFoundError, StoreError, SyftFlwrError, TransportError
from syft_flwr.names import RESPONSE_SUFFIX


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
        self._put_back = PutBack(endpoint.clock)
        #: The ids of the objects of each of these replies.
        self._objects: dict[str, tuple[str, ...]] = {}
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
                self._objects[message_id] = row.objects
                # Only this data owner may write this file, so a file of another participant is replaced.
                self._transport.put(name, response, readers=[sender], replace=True)
                self._ledger.move(message_id, Received.REPLIED)
            except (TransportError, StoreError) as error:
                text = "{} (the reply to {}) could not be written, and is tried again at each scan: {}"
                self._logged.error(f"{name} {error}", text, name, sender, error.diagnose())

    def put_back_if_missing(self, ids: Iterable[str]) -> None:
        """Write the replies to these requests again that are missing."""
        for message_id in ids:
            if placed := self._put.get(message_id):
                try:
                    self._transport.stat(placed[0])
                except NotFoundError:
                    self._put_again_if_changed(message_id, *placed)
                except TransportError:
                    # The next scan looks again.
                    continue

    def put_again_what_changed(self) -> None:
        """Write the replies again that are missing or changed: a write failed, or another program changed the file."""
        for message_id, placed in list(self._put.items()):
            self._put_again_if_changed(message_id, *placed)

    def _put_again_if_changed(self, message_id: str, name: str, digest: bytes) -> None:
        found = self._digest_of(name)
        try:
            row = self._ledger.get(message_id) if found != digest else None
        except StoreError as error:
            text = "{} is checked again at the next scan: {}"
            self._logged.error(f"{name} {error}", text, name, error.diagnose())
            return
        if row and row.response:
            self._put_again(row, row.response, name, vanished=not found)

    def _digest_of(self, name: str) -> bytes:
        """Return the SHA-256 of a file; empty if the file does not exist or cannot be read."""
        try:
            return hashlib.sha256(self._transport.get(name, max_size=MAX_ENVELOPE)).digest()
        except TransportError:
            return b""

    def _put_again(self, row: ReceivedRow, response: bytes, name: str, *, vanished: bool) -> None:
        if row.state == Received.REPLIED and vanished and self._transport.properties.files_vanish:
            if not self._put_back.due(name):
                return
            logger.debug("{} is missing, and is put back", name)
            self._put_back.done(name)
        elif row.state == Received.REPLIED:
            label = self._endpoint.label(row.id, row.run)
            text = "{}: {} was deleted or overwritten by another program; it is written again"
            self._logged.warning(f"{name} changed", text, label, name)
        self.put(row.id, row.sender, response)

    def discard_strays(self, names: Iterable[str], open_ids: Iterable[str], sender: str) -> None:
        """Delete those of ``names``, which exist, that are replies to closed requests of ``sender``.

        The sync service brought them back, or an earlier process could not delete them.
        """
        needed = {self._names.response(self._me, sender, message_id) for message_id in open_ids}
        folder = self._names.messages_of(self._me, sender)
        for name in names:
            if name.startswith(folder) and name.endswith(RESPONSE_SUFFIX) and name not in needed:
                discard(self._transport, name)

    def put_object_again(self, object_id: str, reader: str) -> str:
        """Write an object of an open reply again; see :meth:`ObjectFolder.put_again`."""
        # Not while a request is closed: its objects are deleted then.
        with self._placing:
            return self._mine.put_again(object_id, readers=[reader])

    def put_back_objects(self, reader: str) -> None:
        """Write the objects of these replies again that another program deleted."""
        with self._placing:
            needed = dict.fromkeys(object_id for objects in self._objects.values() for object_id in objects)
            self._mine.put_back(needed, [reader])

    def close(self, message_id: str) -> None:
        """Close a request that the aggregator withdrew: delete the reply and its objects."""
        with self._placing:
            row = self._ledger.get(message_id)
            self._put.pop(message_id, None)
            self._objects.pop(message_id, None)
            if row is None:
                return
            name = self._names.response(self._me, row.sender, message_id)
            discard(self._transport, name)
            self._put_back.forget(name)
            self._mine.delete(row.objects)
            self._ledger.close_request(message_id)
