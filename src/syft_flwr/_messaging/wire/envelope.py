"""The one small file that carries a request or a response: prefix, header, signature, body.

::

    "SYFTFLWR"  version (1 byte)  header length (4 bytes, big-endian)  header  signature (64 bytes)  body

* The header is canonical JSON: UTF-8, keys sorted, no spaces. One header has one spelling; another is refused.
* The signature is Ed25519 over a label, the prefix, the header and the body as they lie in the file.
* The body is sealed with HPKE to the recipient, with prefix and header as ``info``: no byte of the header can be changed,
  and a body moved under another header does not open. With encryption off it is the plaintext.

Decoding checks the form and believes nothing; ``verifying.Verified`` is the way to the body.
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

MAGIC = b"SYFTFLWR"
VERSION = 1
_PREFIX = struct.Struct(">8sBI")
_SIGNED = b"syft-flwr envelope 1\x00"
_SEALED = b"syft-flwr body 1\x00"

Encryption = Literal["mlkem768-x25519", "none"]
MessageId = Annotated[str, Field(pattern=r"^[0-9a-f]{32}\z")]
KeyId = Annotated[str, Field(pattern=r"^[0-9a-f]{32}\z")]
Email = Annotated[str, Field(min_length=3, max_length=254)]
Label = Annotated[str, Field(max_length=128)]


def _plausible(moment: datetime) -> datetime:
    # Sums with the first and the last years of the calendar overflow.
    if not 2000 <= moment.year < 2500:
        raise ValueError("no plausible year")
    return moment


Moment = Annotated[AwareDatetime, AfterValidator(_plausible)]


class Header(BaseModel):
    """What everybody who sees the file may read. Times are UTC to the millisecond."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: MessageId
    kind: Literal["request", "response"]
    run: Annotated[int, Field(strict=True, gt=0, lt=1 << 63)]
    app: Annotated[str, Field(min_length=1, max_length=64)]
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
    #: Of a response: SHA-256 of the request's envelope, in hexadecimal. Of a request: empty.
    answers: Annotated[str, Field(pattern=r"^([0-9a-f]{64})?\z")] = ""

    @field_serializer("created", "expires")
    def _write_time(self, value: datetime) -> str:
        return value.astimezone(UTC).isoformat(timespec="milliseconds")

    def encode(self) -> bytes:
        """Return the one spelling of this header."""
        return json.dumps(self.model_dump(), sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


@dataclass(frozen=True, slots=True)
class Envelope:
    """A file taken apart, nothing in it believed yet."""

    header: Header
    header_bytes: bytes
    signature: bytes
    body: bytes

    @property
    def _prefixed_header(self) -> bytes:
        return _PREFIX.pack(MAGIC, VERSION, len(self.header_bytes)) + self.header_bytes

    def verify(self, sender: PublicIdentity) -> None:
        """Raise SignatureError unless ``sender`` signed this file as it is."""
        sender.verify(self.signature, _SIGNED + self._prefixed_header + self.body)

    def open(self, recipient: Identity, *, encryption: bool) -> bytes:
        """Return the body's plaintext; call :meth:`verify` first.

        Raises:
            EncryptionError: sealed where encryption is off here, plain where it is on, or not for this key.
        """
        if encryption != (self.header.encryption != "none"):
            theirs, ours = ("off", "on") if encryption else ("on", "off")
            raise EncryptionError(
                f"{self.header.sender} has encryption {theirs}, and it is {ours} here",
                hint="Both sides must set SYFT_FLWR_ENCRYPTION_ENABLED alike.",
            )
        if not encryption:
            return self.body
        return recipient.open(self.body, _SEALED + self._prefixed_header)


def encode(header: Header, body: bytes, sender: Identity, recipient: PublicIdentity | None) -> bytes:
    """Seal (unless ``recipient`` is None), sign and lay out one envelope; sets the header's ``body_size``.

    Raises:
        LocalProtocolError: it would be larger than a sync service pushes at once.
    """
    # The sealed size is known beforehand: encapsulated key and tag are of one length.
    size = len(body) + (SEAL_OVERHEAD if recipient else 0)
    encoded = header.model_copy(update={"body_size": size}).encode()
    prefixed = _PREFIX.pack(MAGIC, VERSION, len(encoded)) + encoded
    if len(encoded) > MAX_HEADER or len(prefixed) + SIGNATURE_SIZE + size > MAX_ENVELOPE:
        raise LocalProtocolError(f"an envelope of {size} bytes is over the limit of {MAX_ENVELOPE}")
    sealed = recipient.seal(body, _SEALED + prefixed) if recipient else body
    return prefixed + sender.sign(_SIGNED + prefixed + sealed) + sealed


def decode(data: bytes) -> Envelope:
    """Take an envelope apart.

    Raises:
        IncompleteError: it may be the beginning of an envelope; look again later.
        MalformedError: it never can become one.
    """
    if data[:1] == b"{":
        raise MalformedError("this is a JSON message of another implementation of SyftBox RPC")
    if not data.startswith(MAGIC[: len(data)]):
        raise MalformedError("not an envelope")
    if len(data) < _PREFIX.size:
        raise IncompleteError("the envelope is cut off")
    _, version, header_size = _PREFIX.unpack_from(data)
    if version != VERSION:
        raise MalformedError(f"envelope version {version}; this release reads version {VERSION}")
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
        raise MalformedError("the envelope is longer than it says")
    return Envelope(header, header_bytes, data[body_start - SIGNATURE_SIZE : body_start], data[body_start:])
