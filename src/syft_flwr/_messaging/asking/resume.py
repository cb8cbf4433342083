"""Resumes a run: reuses the requests of an earlier process in place of new ones.

The ServerApp runs again from its start. Each of its requests is matched with a recorded request that has the same
recipient, type, group and content. Equal requests are matched in their order.

* A match with a kept reply, or with a recorded failure, gets this outcome immediately.
* A match that is still open is waited for.
* A match without a usable reply, with an expired lifetime, or of an older protocol version is sent as a new request.
* A request without a match is new.
"""

import hashlib
import struct
import threading
from collections import deque
from collections.abc import Iterable, Iterator, Sequence

from syft_flwr._messaging.arrivals import Arrival
from syft_flwr._messaging.asking.kept_answers import KeptAnswers
from syft_flwr._messaging.asking.pending import Ask, Pending, Stage
from syft_flwr._messaging.asking.receiver import Decode, verify_answer
from syft_flwr._messaging.endpoint import Endpoint
from syft_flwr._messaging.threads import on_all_cores
from syft_flwr._messaging.wire.body import Failure
from syft_flwr._messaging.wire.envelope import is_current
from syft_flwr._messaging.wire.limits import INLINE_BUFFER
from syft_flwr._messaging.wire.reasons import Reason
from syft_flwr._store.futures import FutureRow, Futures
from syft_flwr._store.states import Future
from syft_flwr.errors import IntegrityError, SyftFlwrError, TransportError
from syft_flwr.log import logger

#: Seconds to read a reply that arrived between the crash and the resumption.
_TIME_TO_READ = 60.0
#: Recipient, type, group, and the digest of the content.
Key = tuple[str, str, str, str]

#: A buffer is hashed in chunks of this many bytes, on all cores. The chunk size is part of the digest format.
_CHUNK = 16 << 20
_LENGTH = struct.Struct(">Q")


class Digests:
    """Computes digests of messages. A large buffer is hashed only once for all recipients of a round. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        #: By ``id()``: the buffers of the latest message and their digests. The references keep each id valid.
        self._known: dict[int, tuple[bytes, bytes]] = {}

    def digest(self, buffers: Sequence[bytes]) -> str:
        """Return the digest of a message in hexadecimal: the SHA-256 over the digests of its buffers.

        The digest of a buffer is the SHA-256 over its length (8 bytes, big-endian) and the SHA-256 of each chunk.
        """
        with self._lock:
            known, self._known = self._known, {}
            digest = hashlib.sha256()
            for buffer in buffers:
                if len(buffer) <= INLINE_BUFFER:
                    digest.update(_join([hashlib.sha256(buffer).digest()], len(buffer)))
                    continue
                found = known.get(id(buffer)) or (buffer, _digest_of(buffer))
                self._known[id(buffer)] = found
                digest.update(found[1])
            return digest.hexdigest()

    def forget(self) -> None:
        """Release the references to all buffers."""
        with self._lock:
            self._known = {}


class EarlierRequests:
    """The recorded requests of one run that are not matched yet. Thread-safe."""

    def __init__(self, rows: Iterable[FutureRow] = ()) -> None:
        self._lock = threading.Lock()
        self._rows: dict[Key, deque[FutureRow]] = {}
        for row in rows:
            self._rows.setdefault((row.recipient, row.type, row.group, row.content), deque()).append(row)

    def __bool__(self) -> bool:
        with self._lock:
            return bool(self._rows)

    def take(self, key: Key) -> FutureRow | None:
        """Remove and return the first request with this key; None if no request is left."""
        with self._lock:
            rows = self._rows.get(key)
            if not rows:
                return None
            row = rows.popleft()
            if not rows:
                del self._rows[key]
            return row

    def give_back(self, row: FutureRow) -> None:
        """Add a request again that was taken and cannot be resumed. It is not matched again, only withdrawn."""
        with self._lock:
            self._rows.setdefault((row.recipient, "", "", row.id), deque()).append(row)

    def rest(self, recipient: str | None = None) -> list[FutureRow]:
        """Return the remaining requests to ``recipient``, or to all recipients."""
        with self._lock:
            return list(self._all(recipient))

    def drop(self, rows: Iterable[FutureRow]) -> None:
        """Remove these requests."""
        ids = {row.id for row in rows}
        with self._lock:
            for key, kept in list(self._rows.items()):
                self._rows[key] = deque(row for row in kept if row.id not in ids)
                if not self._rows[key]:
                    del self._rows[key]

    def _all(self, recipient: str | None) -> Iterator[FutureRow]:
        for rows in self._rows.values():
            yield from (row for row in rows if recipient in (None, row.recipient))


class Resume:
    """Matches new requests with the recorded requests of an earlier process. Thread-safe.

    Args:
        endpoint: the transport, keys and names of the aggregator.
        futures: the database of all requests.
        kept_answers: the kept replies.
        decode: returns the content of a reply from its buffers.
    """

    def __init__(self, endpoint: Endpoint, futures: Futures, kept_answers: KeptAnswers, decode: Decode) -> None:
        self._endpoint = endpoint
        self._futures = futures
        self._kept_answers = kept_answers
        self._decode = decode
        self._earlier = EarlierRequests()

    def open_run(self, run: int) -> int:
        """Load the recorded requests of a run; return the number of resumable requests."""
        # This aggregator withdrew the stopped requests itself, so they have no outcome to reuse.
        rows = [row for row in self._futures.of_run(run) if row.content and row.code != Reason.STOPPED]
        self._earlier = EarlierRequests(rows)
        return len(rows)

    def restore(self, asked: Ask, content: str) -> Pending | None:
        """Return the matching recorded request, with its outcome if it has one; None if a new request is needed."""
        while row := self._earlier.take((asked.recipient, asked.type, asked.group, content)):
            if pending := self._take_up(asked, row):
                return pending
        return None

    def _take_up(self, asked: Ask, row: FutureRow) -> Pending | None:
        pending = self._pending(asked, row)
        if row.state == Future.COLLECTED:
            pending.restored = True
            return pending if self._answer(pending, row) else None
        # A data owner refuses a request that an older release recorded.
        readable = row.request is not None and is_current(row.request)
        if row.code or not readable or not self._can_be_waited_for(pending):
            # No strategy got this outcome, so the request can be sent again.
            self._earlier.give_back(row)
            return None
        pending.request, pending.stage = row.request, Stage.TO_WRITE
        return pending

    def rest(self, recipient: str | None = None) -> list[FutureRow]:
        """Remove the unmatched, uncollected requests to ``recipient``, or to all recipients, and return them."""
        rows = [row for row in self._earlier.rest(recipient) if row.state != Future.COLLECTED]
        self._earlier.drop(rows)
        return rows

    def _pending(self, asked: Ask, row: FutureRow) -> Pending:
        clock, names, me = self._endpoint.clock, self._endpoint.names, self._endpoint.email
        now = clock.monotonic()
        return Pending(
            id=row.id,
            asked=asked.without_buffers(),
            created=row.created,
            expires=row.expires,
            deadline=now + (row.expires - clock.now()).total_seconds(),
            seen=now,
            request_name=names.request(row.recipient, me, row.id),
            response_name=names.response(row.recipient, me, row.id),
            content=row.content,
            digest=row.digest,
            objects=row.objects,
            sent=now,
            replayed=True,
        )

    def _can_be_waited_for(self, pending: Pending) -> bool:
        """Return whether the lifetime continues or a reply has arrived. Extend the lifetime to read such a reply."""
        now = self._endpoint.clock.monotonic()
        if pending.deadline > now:
            return True
        try:
            self._endpoint.transport.stat(pending.response_name)
        except TransportError:
            return False
        pending.deadline = now + _TIME_TO_READ
        return True

    def _answer(self, pending: Pending, row: FutureRow) -> bool:
        """Set the recorded outcome of a request; return False if its reply cannot be read any more."""
        if row.code:
            pending.failure = Failure(code=row.code, text=row.reason, reference=row.reference)
            pending.stage = Stage.DONE
            return True
        response = self._futures.response(row.id)
        if response is None:
            return False
        encryption = self._endpoint.encryption
        try:
            verified = verify_answer(self._endpoint, pending, response)
            body = verified.open(self._endpoint.trust.identity, encryption=encryption)
            kept = self._kept_answers.objects_of(row.id, row.recipient, encryption=encryption)
            arrival = Arrival(kept, body, shared=False)
            arrival.open_arrived()
            if arrival.digest != row.kept_digest:
                # Its data owner may still write to the files.
                raise IntegrityError("its objects are not the ones that arrived first")
            pending.answer, pending.error = self._decode(arrival.buffers()), row.reason
        except SyftFlwrError as error:
            text = "{}: the kept reply of {} cannot be used, and is requested again: {}"
            logger.warning(text, self._endpoint.label(row.id, row.run), row.recipient, error)
            return False
        pending.stage = Stage.DONE
        return True


def _digest_of(buffer: bytes) -> bytes:
    chunks = [memoryview(buffer)[start : start + _CHUNK] for start in range(0, len(buffer), _CHUNK)]
    digests = on_all_cores(lambda chunk: hashlib.sha256(chunk).digest(), chunks)
    return _join(digests, len(buffer))


def _join(digests: Sequence[bytes], size: int) -> bytes:
    return hashlib.sha256(_LENGTH.pack(size) + b"".join(digests)).digest()
