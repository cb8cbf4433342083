"""The envelope, a small file with one request or one reply: prefix, header, signature, body.

::

    "SYFTFLWR"  version (1 byte)  header length (4 bytes, big-endian)  header  signature (64 bytes)  body

* The header is canonical JSON: UTF-8, sorted keys, no spaces. Any other form of the same values is refused.
* The signature is Ed25519 over a label, the prefix, the header and the body, as they are in the file.
* The body is sealed with HPKE to the recipient, with prefix and header as ``info``. It does not open if a byte of the
  header was changed, or if the body belongs to another header. With encryption off, the body is plaintext.

:func:`decode` checks only the form. A caller gets the body from ``verifying.Verified``, after the signature check.
"""

import json
import struct
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Literal

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field, ValidationError, field_serializer

from syft_flwr._crypto.keys import SEAL_OVERHEAD, SIGNATURE_SIZE, Identity, PublicIdentity
from syft_flwr._messaging.wire.limits import MAX_ENVELOPE, MAX_HEADER
from syft_flwr.errors import EncryptionError, IncompleteError, LocalProtocolError, MalformedError
from syft_flwr.text import is_visible

MAGIC = b"SYFTFLWR"
VERSION = 3
_PREFIX = struct.Struct(">8sBI")
_SIGNED = b"syft-flwr envelope 3\x00"
_SEALED = b"syft-flwr body 3\x00"

Encryption = Literal["mlkem768-x25519", "none"]
MessageId = Annotated[str, Field(pattern=r"^[0-9a-f]{32}\z")]
KeyId = Annotated[str, Field(pattern=r"^[0-9a-f]{32}\z")]
#: Visible ASCII without a space. The rules for emails and app names are narrower: a reader expects one known value.
Email = Annotated[str, Field(pattern=r"^[!-~]{3,254}\z")]
App = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}\z")]


def _visible(text: str) -> str:
    if not is_visible(text):
        raise ValueError("a character is not visible")
    return text


#: A text of Flower's metadata, which logs, tables and records show to people.
Label = Annotated[str, Field(max_length=128), AfterValidator(_visible)]


def _plausible(moment: datetime) -> datetime:
    # Arithmetic with the first and the last years of the calendar overflows.
    if not 2000 <= moment.year < 2500:
        raise ValueError("no plausible year")
    return moment


Moment = Annotated[AwareDatetime, AfterValidator(_plausible)]


class Header(BaseModel):
    """The unencrypted part of an envelope. Times are in UTC, to the millisecond."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: MessageId
    kind: Literal["request", "response"]
    run: Annotated[int, Field(strict=True, gt=0, lt=1 << 63)]
    app: App
    sender: Email
    recipient: Email
    sender_key: KeyId
    recipient_key: KeyId
    type: Label
    group: Label
    created: Moment
    expires: Moment
    encryption: Encryption
    body_size: Annotated[int, Field(strict=True, gt=0, le=MAX_ENVELOPE)]
    #: In a response: SHA-256 of the envelope of the request, in hexadecimal. In a request: empty.
    answers: Annotated[str, Field(pattern=r"^([0-9a-f]{64})?\z")] = ""

    @field_serializer("created", "expires")
    def _write_time(self, value: datetime) -> str:
        return value.astimezone(UTC).isoformat(timespec="milliseconds")

    def encode(self) -> bytes:
        """Return the canonical JSON of this header."""
        return json.dumps(self.model_dump(), sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


@dataclass(frozen=True, slots=True)
class Envelope:
    """The parts of an envelope, before any check of the signature."""

    header: Header
    header_bytes: bytes
    signature: bytes
    body: bytes

    @property
    def _prefixed_header(self) -> bytes:
        return _PREFIX.pack(MAGIC, VERSION, len(self.header_bytes)) + self.header_bytes

    def verify(self, sender: PublicIdentity) -> None:
        """Raise SignatureError unless ``sender`` signed exactly this file."""
        sender.verify(self.signature, _SIGNED + self._prefixed_header + self.body)

    def open(self, recipient: Identity, *, encryption: bool) -> bytes:
        """Return the plaintext of the body. Call :meth:`verify` first.

        Raises:
            EncryptionError: ``encryption`` differs from the header, or the body was not sealed to ``recipient``.
        """
        if encryption != (self.header.encryption != "none"):
            theirs, ours = ("off", "on") if encryption else ("on", "off")
            raise EncryptionError(
                f"{self.header.sender} has encryption {theirs}, and it is {ours} here",
                travels=True,
                hint="Set SYFT_FLWR_ENCRYPTION_ENABLED to the same value on both sides.",
            )
        if not encryption:
            return self.body
        return recipient.open(self.body, _SEALED + self._prefixed_header)


def is_current(data: bytes) -> bool:
    """Return whether an envelope has the version that this release reads and writes."""
    return data.startswith(MAGIC + bytes([VERSION]))


def encode(header: Header, body: bytes, sender: Identity, recipient: PublicIdentity | None) -> bytes:
    """Return a signed envelope, with the body sealed to ``recipient`` unless that is None.

    The ``body_size`` of ``header`` is replaced by the true size.

    Raises:
        LocalProtocolError: the header or the envelope would be larger than its limit.
    """
    # The header needs the sealed size before sealing; the key and the tag have fixed lengths.
    size = len(body) + (SEAL_OVERHEAD if recipient else 0)
    encoded = header.model_copy(update={"body_size": size}).encode()
    prefixed = _PREFIX.pack(MAGIC, VERSION, len(encoded)) + encoded
    if len(encoded) > MAX_HEADER or len(prefixed) + SIGNATURE_SIZE + size > MAX_ENVELOPE:
        raise LocalProtocolError(
            f"an envelope of {size} bytes is over the limit of {MAX_ENVELOPE}",
            travels=True,
            hint="Send fewer, larger arrays in one message.",
        )
    sealed = recipient.seal(body, _SEALED + prefixed) if recipient else body
    return prefixed + sender.sign(_SIGNED + prefixed + sealed) + sealed


def decode(data: bytes) -> Envelope:
    """Return the parts of an envelope, after a check of its form.

    Raises:
        IncompleteError: ``data`` can be the beginning of an envelope. Read the file again later.
        MalformedError: ``data`` is not an envelope, and more bytes cannot make it one.
    """
    if data[:1] == b"{":
        raise MalformedError(
            "this is a JSON message of another implementation of SyftBox RPC",
            hint="Choose another app name: another program uses this one.",
        )
    if not data.startswith(MAGIC[: len(data)]):
        raise MalformedError("not an envelope")
    if len(data) < _PREFIX.size:
        raise IncompleteError("the envelope is cut off")
    _, version, header_size = _PREFIX.unpack_from(data)
    if version != VERSION:
        older = "the writer of the file" if version < VERSION else "this participant"
        raise MalformedError(
            f"envelope version {version}; this release reads version {VERSION}",
            hint=f"Update syft-flwr at {older}, which has the older release.",
        )
    if not 0 < header_size <= MAX_HEADER:
        raise MalformedError(f"a header of {header_size} bytes is over the limit of {MAX_HEADER}")
    body_start = _PREFIX.size + header_size + SIGNATURE_SIZE
    if len(data) < body_start:
        raise IncompleteError("the envelope is cut off")
    header_bytes = data[_PREFIX.size : _PREFIX.size + header_size]
    try:
        header = Header.model_validate_json(header_bytes)
        canonical = header.encode() == header_bytes
    except (ValidationError, ValueError, OverflowError) as error:
        raise MalformedError("the header does not have the form of the protocol") from error
    if not canonical:
        raise MalformedError("the header is not in canonical form")
    if body_start + header.body_size > MAX_ENVELOPE:
        raise MalformedError(
            f"an envelope of {body_start + header.body_size} bytes is over the limit of {MAX_ENVELOPE}"
        )
    if len(data) < body_start + header.body_size:
        raise IncompleteError("the envelope is cut off")
    if len(data) > body_start + header.body_size:
        raise MalformedError("the envelope is longer than its header says")
    return Envelope(header, header_bytes, data[body_start - SIGNATURE_SIZE : body_start], data[body_start:])
