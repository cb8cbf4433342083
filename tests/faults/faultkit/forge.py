"""Makes forged requests and responses in the real format, with keys that the test chooses.

A peer, an outsider or the owner of the storage could write such files. A forged file has one fault. Everything else in it
is genuine, so a test shows which check refuses it.
"""

import secrets
import struct
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from faultkit.federation import AGGREGATOR, APP, Federation, question
from flwr.app import Metadata, RecordDict
from stored_rows import row_of
from waiting import eventually

from syft_flwr._crypto.keys import SIGNATURE_SIZE, Identity, PublicIdentity
from syft_flwr._messaging.layout import lay_out
from syft_flwr._messaging.wire import body as bodies
from syft_flwr._messaging.wire import envelope as envelopes
from syft_flwr._messaging.wire.body import Body, BufferRef, Failure, Manifest, ObjectRef
from syft_flwr._messaging.wire.envelope import Header
from syft_flwr._store.futures import FutureRow, Futures
from syft_flwr._store.states import Future
from syft_flwr.fl_orchestrator.codec import message_to_buffers
from syft_flwr.fl_orchestrator.participant import Participant
from syft_flwr.fl_orchestrator.request_config import config_to_buffer, with_config
from syft_flwr.flower import make_message
from syft_flwr.names import AppNames

_LIFETIME = timedelta(hours=1)


def keys_of(participant: Participant) -> Identity:
    """Return the private keys of a participant."""
    with participant.open_trust() as trust:
        return trust.identity


def body_of(records: RecordDict, config: bytes | None = None) -> Body:
    """Return the body of a message with these records, a request if it has a run configuration. All bytes are inline."""
    metadata = Metadata(0, "", 0, 0, "", "", 0.0, 3600.0, "query")
    buffers = message_to_buffers(make_message(metadata=metadata, content=records))
    if config is not None:
        buffers = with_config(buffers, config)
    return lay_out(buffers, [True] * len(buffers), [], [])


@dataclass
class Forge:
    """Makes requests and responses between one aggregator and one data owner. They are genuine except for the arguments."""

    federation: Federation
    owner: str
    run: int = 1001

    def __post_init__(self) -> None:
        self.aggregator_keys = keys_of(self.federation.participant)
        self.owner_keys = keys_of(self.federation[self.owner].participant)
        self.outsider_keys = Identity.generate()

    def header(self, role: str, /, **changes: Any) -> Header:
        """Return the header of a ``request`` or a ``response``, with ``changes`` to its fields."""
        now = self.federation.clock.now()
        request = role == "request"
        fields: dict[str, Any] = {
            "id": secrets.token_hex(16),
            "kind": role,
            "run": self.run,
            "app": APP,
            "sender": AGGREGATOR if request else self.owner,
            "recipient": self.owner if request else AGGREGATOR,
            "sender_key": (self.aggregator_keys if request else self.owner_keys).public.key_id,
            "recipient_key": (self.owner_keys if request else self.aggregator_keys).public.key_id,
            "type": "query",
            "group": "",
            "created": now,
            "expires": now + _LIFETIME,
            "encryption": "mlkem768-x25519",
            "body_size": 1,
        }
        return Header(**fields | changes)

    def request(
        self,
        records: RecordDict | None = None,
        *,
        signer: Identity | None = None,
        body: Body | None = None,
        sealed: bool = True,
        **changes: Any,
    ) -> tuple[str, bytes]:
        """Return the genuine name of a request, and its bytes.

        Args:
            records: the content; by default, a message that the app answers.
            signer: the keys that sign it; by default those of the aggregator.
            body: the body to use in place of ``records``.
            sealed: False for a body in plain text.
            changes: fields of the header.
        """
        if not sealed:
            changes["encryption"] = "none"
        header = self.header("request", **changes)
        content = body or body_of(records or question("answer"), config_to_buffer({}))
        name = AppNames(header.app).request(header.recipient, header.sender, header.id)
        return name, self._encode(header, content, signer or self.aggregator_keys, self.owner_keys.public, sealed)

    def response(
        self,
        *,
        signer: Identity | None = None,
        body: Body | None = None,
        sealed: bool = True,
        **changes: Any,
    ) -> tuple[str, bytes]:
        """Return the genuine name of a response, and its bytes. ``id`` and ``answers`` name the request in the header."""
        if not sealed:
            changes["encryption"] = "none"
        header = self.header("response", **changes)
        name = self.federation.response_name(self.owner, header.id)
        content = body or body_of(question("forged"))
        return name, self._encode(header, content, signer or self.owner_keys, self.aggregator_keys.public, sealed)

    def open_error(self, name: str) -> Failure:
        """Wait for the genuine response to the request ``name``, and return the error in it.

        Then delete the request. Where that withdraws it, wait for the end of the response.
        """
        storage = self.federation.storage
        response = name.removesuffix(".request") + ".response"
        envelope = envelopes.decode(eventually(lambda: storage.read(response), f"a reply to {name}"))
        envelope.verify(self.owner_keys.public)
        error = bodies.decode(envelope.open(self.aggregator_keys, encryption=True)).manifest.error
        assert error, "the reply is not an error"
        self.withdraw(name)
        return error

    def withdraw(self, name: str) -> None:
        """Withdraw a forged request as its sender does: record its end, delete its file, and wait for the end of the reply."""
        storage, federation = self.federation.storage, self.federation
        now, message_id = federation.clock.now(), name.rpartition("/")[2].removesuffix(".request")
        row = FutureRow(message_id, self.run, self.owner, "query", "", "", "", Future.COLLECTED, now, now)
        with closing(
            Futures(federation.root / federation.aggregator / "apps" / federation.app / "futures.db")
        ) as futures:
            if row_of(futures, message_id) is None:
                futures.add([row])
        storage.take(name)
        response = name.removesuffix(".request") + ".response"
        eventually(lambda: not storage.read(response), f"the end of {name}")

    @staticmethod
    def _encode(header: Header, body: Body, signer: Identity, recipient: PublicIdentity, sealed: bool) -> bytes:
        return envelopes.encode(header, body.encode(), signer, recipient if sealed else None)


def empty_body() -> Body:
    """Return a body that contains no message."""
    return Body(Manifest(), b"")


def unreadable_body(message: bytes = b"\xff") -> Body:
    """Return the body of a request with a run configuration, and without a message."""
    return lay_out(with_config([message], config_to_buffer({})), [True, True], [], [])


def repeated_body(times: int) -> Body:
    """Return a body whose buffers name the same bytes of one object."""
    buffers = [BufferRef(size=9, pieces=[[0, 0, 9]])] * times
    return Body(Manifest(buffers=buffers, objects=[ObjectRef(id="a" * 32, size=9, key="b" * 64)]), b"")


def signed_again(data: bytes, signer: Identity) -> bytes:
    """Return the envelope ``data``, signed by ``signer`` in place of the genuine sender."""
    start = _signature_start(data)
    # The protocol signs this label, then the envelope without its signature.
    rest = data[start + SIGNATURE_SIZE :]
    signature = signer.sign(b"syft-flwr envelope 3\x00" + data[:start] + rest)
    return data[:start] + signature + rest


def unsigned(data: bytes) -> bytes:
    """Return the envelope ``data`` with zeros in place of the signature."""
    start = _signature_start(data)
    return data[:start] + bytes(SIGNATURE_SIZE) + data[start + SIGNATURE_SIZE :]


def with_other_body(data: bytes) -> bytes:
    """Return the envelope ``data`` with one changed bit in its body."""
    return data[:-1] + bytes([data[-1] ^ 1])


def _signature_start(data: bytes) -> int:
    prefix = struct.Struct(">8sBI")
    return prefix.size + int(prefix.unpack_from(data)[2])


def long_ago(federation: Federation) -> dict[str, datetime]:
    """Return the header times of a message that expired an hour ago."""
    now = federation.clock.now().astimezone(UTC)
    return {"created": now - timedelta(hours=3), "expires": now - timedelta(hours=1)}
