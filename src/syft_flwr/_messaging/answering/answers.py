"""Writes the replies of a data owner, restores missing ones, and deletes them at the end.

A reply is recorded in the ledger, together with the new state of the app, before its file is written. After a crash,
the client writes the same bytes again.
"""

import hashlib
import json
import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from enum import Enum, auto

from syft_flwr._messaging.answering.inbox import Request
from syft_flwr._messaging.endpoint import Endpoint
from syft_flwr._messaging.own_files import discard, is_there
from syft_flwr._messaging.put_back import PutBack
from syft_flwr._messaging.wire import failures
from syft_flwr._messaging.wire.body import Body
from syft_flwr._messaging.wire.limits import MAX_ENVELOPE
from syft_flwr._messaging.wire.sealing import seal_response
from syft_flwr._store.ledger import Ledger, ReceivedRow
from syft_flwr._store.states import Received
from syft_flwr.errors import LocalProtocolError, StoreError, SyftFlwrError, TooLargeError, TransportError
from syft_flwr.log import logger
from syft_flwr.log_once import OURSELVES, LogOnce
from syft_flwr.names import RESPONSE_SUFFIX
from syft_flwr.runs.costs import rounded_seconds
from syft_flwr.runs.events import MetricValue, ReplyReleased, RequestClosed
from syft_flwr.runs.stream import Emit, ignore


@dataclass(frozen=True, slots=True)
class ReplyReport:
    """Facts about a reply that only the worker knows, for the record of the run.

    ``app_error`` is the text of an error that the app itself returned.
    """

    server_round: str = ""
    records: Sequence[str] = ()
    app_error: str = ""
    metrics: Mapping[str, MetricValue] = field(default_factory=dict)


class _Found(Enum):
    """The file that was found in the place of a reply."""

    SAME = auto()
    OTHER = auto()
    NOTHING = auto()


@dataclass(slots=True)
class _Placed:
    """A recorded reply and its place."""

    #: The aggregator, its only reader.
    reader: str
    name: str
    size: int
    digest: bytes
    objects: tuple[str, ...] = ()
    #: Whether the file may have other bytes: it is not written yet, or an event named it.
    in_doubt: bool = True


class Answers:
    """Records and writes replies, and deletes them and their objects. Thread-safe."""

    def __init__(self, endpoint: Endpoint, ledger: Ledger, on_event: Emit = ignore) -> None:
        self._endpoint = endpoint
        self._transport = endpoint.transport
        self._names = endpoint.names
        self._ledger = ledger
        self._on_event = on_event
        #: Ids of the open replies that this process has emitted as released.
        self._emitted: set[str] = set()
        self._me = endpoint.email
        self._mine = endpoint.mine
        #: Held while a reply is written or deleted, so that no reply is written after its request was closed.
        self._placing = threading.Lock()
        #: The open replies, by request id.
        self._placed: dict[str, _Placed] = {}
        #: The number of scans, which tells which reply is read next.
        self._turn = 0
        self._put_back = PutBack(endpoint.clock)
        self._logged = LogOnce()

    def commit(
        self, request: Request, body: Body, *, context: str | None = None, about: ReplyReport | None = None
    ) -> bool | None:
        """Record the reply together with the new state of the app, then write its file.

        Returns:
            True if this reply was recorded. False if the request already had a reply or was closed; the objects of the body
            are deleted. None if the reply cannot be sealed or recorded now; the caller tries it again, or calls
            :meth:`discard`. If the protocol forbids the body, such as a body that is too large, an error is the reply.
        """
        header = request.header
        try:
            response = self._seal(request, body)
            first = self._ledger.answer(
                header.id,
                response=response,
                objects=body.manifest.object_ids,
                context=None if context is None else (header.run, context),
                report=self._report(request, body, len(response), about or ReplyReport()),
            )
        except LocalProtocolError as error:
            self._mine.delete(body.manifest.object_ids)
            label = self._endpoint.label(header.id, header.run)
            text = "{}: the reply to {} is replaced by an error: {}"
            logger.bind(peer=header.sender).error(text, label, header.sender, error.diagnose())
            invalid = failures.of_reply(error, body.manifest.seconds)
            return self.commit(request, invalid, about=replace(about or ReplyReport(), records=(), metrics={}))
        except SyftFlwrError as error:
            label = self._endpoint.label(header.id, header.run)
            text = "{}: the reply to {} cannot be recorded now, and is tried again at each scan: {}"
            self._logged.error(
                header.sender, f"{header.id} {type(error).__name__}", text, label, header.sender, error.diagnose()
            )
            return None
        if not first:
            self._mine.delete(body.manifest.object_ids)
            return False
        self.put(header.id, header.sender, response)
        return True

    def discard(self, body: Body) -> None:
        """Delete the objects of a reply that was not recorded, and never will be."""
        self._mine.delete(body.manifest.object_ids)

    def _report(self, request: Request, body: Body, size: int, about: ReplyReport) -> str:
        """Return the fields of the event for this reply, as JSON for the ledger."""
        header, error = request.header, body.manifest.error
        size += sum(self._mine.file_size(ref) for ref in body.manifest.objects)
        released = ReplyReleased(
            message=header.id,
            aggregator=header.sender,
            outcome="failed" if error or about.app_error else "answered",
            round=about.server_round or header.group,
            reason=error.code if error else "app-error" if about.app_error else "",
            text=error.text if error else about.app_error,
            reference=error.reference if error else "",
            bytes=size,
            records=about.records,
            metrics={} if error or about.app_error else about.metrics,
            seconds=rounded_seconds(body.manifest.seconds.model_dump()) if body.manifest.seconds else {},
        )
        return json.dumps(asdict(released))

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

    def put(self, message_id: str, sender: str, response: bytes) -> bool:
        """Write the file of a recorded reply; return whether it is written. If that fails, a later scan tries again."""
        name = self._names.response(self._me, sender, message_id)
        placed = _Placed(sender, name, len(response), hashlib.sha256(response).digest())
        with self._placing:
            self._placed[message_id] = placed
            try:
                row = self._ledger.get(message_id)
                if row is None or row.state is Received.CLOSED:
                    del self._placed[message_id]
                    return False
                placed.objects = row.objects
                # Only this data owner may write this file, so a file of another participant is replaced.
                self._transport.put(name, response, readers=[sender], replace=True)
                self._ledger.move(message_id, Received.REPLIED)
            except (TransportError, StoreError) as error:
                text = "{} (the reply to {}) could not be written, and is tried again at each scan: {}"
                self._logged.error(sender, f"{name} {type(error).__name__}", text, name, sender, error.diagnose())
                return False
            placed.in_doubt = False
            # Before another thread can close the request and emit that.
            self._emit_released(row)
        return True

    def _emit_released(self, row: ReceivedRow) -> None:
        if row.report and row.id not in self._emitted:
            self._emitted.add(row.id)
            known = {each.name for each in fields(ReplyReleased)}
            # A later release may have added fields.
            found = {name: value for name, value in json.loads(row.report).items() if name in known}
            self._on_event(row.run, ReplyReleased(**found))

    def note(self, changed: Iterable[str]) -> None:
        """Read those of the ``changed`` files at the next scan that are replies."""
        for name in changed:
            placed = self._placed.get(name.rpartition("/")[2].removesuffix(RESPONSE_SUFFIX))
            if placed and placed.name == name:
                placed.in_doubt = True

    def put_back_if_missing(self, ids: Iterable[str]) -> None:
        """Write the replies to these requests again that are missing."""
        for message_id in ids:
            placed = self._placed.get(message_id)
            if placed and is_there(self._transport, placed.name) is False:
                self._put_again(message_id, placed, vanished=True)

    def put_again_what_changed(self) -> None:
        """Write the replies again that are missing or changed: a write failed, or another program changed the file.

        A scan reads only the files that an event named, and one other file in turn: together, the replies can have
        gigabytes. It compares the sizes of the others.
        """
        replies = list(self._placed.items())
        self._turn += 1
        for index, (message_id, placed) in enumerate(replies):
            read = placed.in_doubt or index == self._turn % len(replies)
            found = self._look(placed, read=read)
            if found is not _Found.SAME:
                self._put_again(message_id, placed, vanished=found is _Found.NOTHING)
            elif read:
                placed.in_doubt = False

    def _look(self, placed: _Placed, *, read: bool) -> _Found:
        """Compare the file of a reply with the record: its content, or only its size."""
        try:
            if read:
                data = self._transport.get(placed.name, max_size=MAX_ENVELOPE)
                same = hashlib.sha256(data).digest() == placed.digest
            else:
                same = self._transport.stat(placed.name).size == placed.size
        except TooLargeError:
            same = False
        except TransportError:
            return _Found.NOTHING
        return _Found.SAME if same else _Found.OTHER

    def _put_again(self, message_id: str, placed: _Placed, *, vanished: bool) -> None:
        name = placed.name
        try:
            row = self._ledger.get(message_id)
            if row is None:
                return
            counts = row.state == Received.REPLIED and vanished and self._transport.properties.files_vanish
            # A reply can have megabytes, so it is read only when it is due.
            if counts and not self._put_back.due(name):
                return
            response = self._ledger.response(message_id)
        except StoreError as error:
            text = "{} is checked again at the next scan: {}"
            self._logged.error(OURSELVES, f"{name} {type(error).__name__}", text, name, error.diagnose())
            return
        if response is None:
            return
        if counts:
            logger.debug("{} is missing, and is put back", name)
        elif row.state == Received.REPLIED:
            label = self._endpoint.label(row.id, row.run)
            text = "{}: {} was deleted or overwritten by another program; it is written again"
            self._logged.warning(row.sender, f"{name} changed", text, label, name)
        if self.put(row.id, row.sender, response) and counts:
            self._put_back.done(name)

    def objects_for(self, reader: str) -> set[str]:
        """Return the ids of the objects of all open replies to ``reader``."""
        with self._placing:
            return {found for placed in self._placed.values() if placed.reader == reader for found in placed.objects}

    def put_object_again(self, object_id: str, reader: str) -> str:
        """Write an object of an open reply to ``reader`` again; see :meth:`ObjectFolder.put_again`."""
        # Not while a request is closed: its objects are deleted then.
        with self._placing:
            return self._mine.put_again(object_id, readers=[reader])

    def put_back_objects(self, served: str) -> None:
        """Write the objects of open replies again that another program deleted. ``served`` is the present aggregator."""
        with self._placing:
            needed: dict[str, dict[str, None]] = {served: {}}
            for placed in self._placed.values():
                needed.setdefault(placed.reader, {}).update(dict.fromkeys(placed.objects))
            for reader, objects in needed.items():
                self._mine.put_back(objects, [reader])

    def close(self, message_id: str) -> None:
        """Close a request that the aggregator withdrew: delete the reply and its objects."""
        with self._placing:
            row = self._ledger.get(message_id)
            self._placed.pop(message_id, None)
            if row is None:
                return
            name = self._names.response(self._me, row.sender, message_id)
            discard(self._transport, name)
            self._put_back.forget(name)
            self._mine.delete(row.objects)
            self._ledger.close_request(message_id)
            self._emitted.discard(message_id)
        self._on_event(row.run, RequestClosed(message_id))
