"""The body of an envelope: an error, or a list of buffers and the places of their bytes.

::

    manifest length (4 bytes, big-endian)  manifest (JSON)  inline bytes

A buffer is either inline, with its bytes behind the manifest, or a list of pieces of objects. The layer above
encodes its messages as lists of buffers. This layer does not read their content.
"""

import json
import struct
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import chain
from typing import Annotated, NamedTuple

from pydantic import AfterValidator, BaseModel, ConfigDict, FailFast, Field

from syft_flwr._messaging.wire.limits import (
    MAX_BUFFERS,
    MAX_ERROR_TEXT,
    MAX_KEPT_KEYS,
    MAX_MANIFEST,
    MAX_MESSAGE,
    MAX_OBJECT,
    MAX_OBJECTS,
    MAX_PIECES,
    MAX_ROUND,
    MAX_USES,
)
from syft_flwr.errors import LocalProtocolError, MalformedError
from syft_flwr.text import printable, shortened

_LENGTH = struct.Struct(">I")
#: Characters of a key of the run configuration.
_MAX_KEY = 128
#: The most values and lists in a manifest. They are counted before the JSON is parsed, because the parser can use
#: 600 bytes of memory for two bytes of the file.
_MAX_TEXT = MAX_ERROR_TEXT + MAX_ROUND + MAX_KEPT_KEYS * (_MAX_KEY + 1)
_MAX_VALUES = 4 * MAX_OBJECTS + 2 * MAX_BUFFERS + 3 * MAX_PIECES + _MAX_TEXT
_MAX_LISTS = MAX_BUFFERS + MAX_PIECES + _MAX_TEXT
#: The most keys of one JSON object in a manifest.
_MOST_KEYS = 6
# A manifest contains content keys, so a validation error must not show its input.
_MODEL = ConfigDict(frozen=True, extra="forbid", strict=True, hide_input_in_errors=True)
_Hex32 = Annotated[str, Field(pattern=r"^[0-9a-f]{32}\z")]
_Hex64 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}\z")]


def _one_line(most: int) -> AfterValidator:
    """Return the rule that makes a text one printable line of at most ``most`` characters."""
    return AfterValidator(partial(printable, most=most))


_Piece = Annotated[list[int], Field(min_length=3, max_length=3), FailFast()]


class Piece(NamedTuple):
    """A part of an object: ``length`` bytes at ``offset`` in the plaintext.

    ``object`` is the position of the object in the manifest.
    """

    object: int
    offset: int
    length: int


class ObjectRef(BaseModel):
    """A reference to an object: one immutable file in the datasite of the sender."""

    model_config = _MODEL

    id: _Hex32
    #: Size of the plaintext in bytes.
    size: Annotated[int, Field(gt=0, le=MAX_OBJECT)]
    #: The content key in hexadecimal; empty if encryption is off.
    key: Annotated[str, Field(pattern=r"^([0-9a-f]{64})?\z", repr=False)] = ""
    #: SHA-256 of the file; empty if the file is sealed and only the sender and the recipient know the key.
    sha256: Annotated[str, Field(pattern=r"^([0-9a-f]{64})?\z")] = ""


class BufferRef(BaseModel):
    """A buffer of ``size`` bytes. It is inline if ``pieces`` is empty."""

    model_config = _MODEL

    size: Annotated[int, Field(ge=0, le=MAX_MESSAGE)]
    pieces: Annotated[list[_Piece], Field(max_length=MAX_OBJECTS), FailFast()] = []

    def located(self) -> list[Piece]:
        return [Piece(*piece) for piece in self.pieces]


class Failure(BaseModel):
    """Why a request failed. ``reference`` identifies the details in the log of the data owner."""

    model_config = _MODEL

    code: Annotated[str, Field(pattern=r"^[a-z-]{1,40}\z")]
    text: Annotated[str, Field(max_length=MAX_ERROR_TEXT), _one_line(MAX_ERROR_TEXT)]
    reference: Annotated[str, Field(max_length=64), _one_line(64)] = ""


_Key = Annotated[str, Field(min_length=1, max_length=_MAX_KEY), _one_line(_MAX_KEY)]
_Seconds = Annotated[float, Field(ge=0, le=1e9)]


class Seconds(BaseModel):
    """The seconds that a data owner spent on a request, each measured on one clock.

    It downloads the objects, waits for the app, opens the request, runs the app, and seals the reply. A failure has the
    seconds until it happened.
    """

    model_config = _MODEL

    download: _Seconds = 0.0
    wait: _Seconds = 0.0
    open: _Seconds = 0.0
    run: _Seconds = 0.0
    seal: _Seconds = 0.0


class Manifest(BaseModel):
    """The list of the buffers and objects of a message, or its error."""

    model_config = _MODEL

    buffers: Annotated[list[BufferRef], Field(max_length=MAX_BUFFERS), FailFast()] = []
    objects: Annotated[list[ObjectRef], Field(max_length=MAX_OBJECTS), FailFast()] = []
    error: Failure | None = None
    seconds: Seconds | None = None
    #: The keys of the sent run configuration for which the app saw a value of the data owner, or none.
    kept_keys: Annotated[list[_Key], Field(max_length=MAX_KEPT_KEYS), FailFast()] = []
    #: The round that the strategy wrote into the request, for people; empty if it wrote none.
    round: Annotated[str, Field(max_length=MAX_ROUND), _one_line(MAX_ROUND)] = ""

    @property
    def object_ids(self) -> list[str]:
        return [ref.id for ref in self.objects]


@dataclass(frozen=True, slots=True)
class Body:
    """A manifest and its inline bytes."""

    manifest: Manifest
    inline: bytes = field(repr=False)

    def spent(self, **seconds: float) -> "Body":
        """Return a copy of the body with these ``seconds`` added to those in its manifest."""
        known = self.manifest.seconds or Seconds()
        total = {part: getattr(known, part) + more for part, more in seconds.items()}
        return Body(self.manifest.model_copy(update={"seconds": known.model_copy(update=total)}), self.inline)

    def naming(self, kept_keys: Sequence[str]) -> "Body":
        """Return a copy of the body that names these keys of the run configuration."""
        return Body(self.manifest.model_copy(update={"kept_keys": list(kept_keys)}), self.inline)

    def of_round(self, name: str) -> "Body":
        """Return a copy of the body that names its round."""
        return Body(self.manifest.model_copy(update={"round": name[:MAX_ROUND]}), self.inline)

    def inline_buffer(self, number: int) -> bytes | None:
        """Return a buffer that is stored inline; None if the body has no such buffer, or has it in objects."""
        buffers = self.manifest.buffers
        if number >= len(buffers) or buffers[number].pieces:
            return None
        start = sum(ref.size for ref in buffers[:number] if not ref.pieces)
        return self.inline[start : start + buffers[number].size]

    def encode(self) -> bytes:
        """Return the bytes of the body; LocalProtocolError if the manifest is larger than its limit."""
        manifest = json.dumps(self.manifest.model_dump(exclude_defaults=True), separators=(",", ":")).encode()
        if len(manifest) > MAX_MANIFEST:
            raise LocalProtocolError(
                f"a message of {len(self.manifest.buffers)} buffers has a manifest of {len(manifest)} bytes; "
                f"at most {MAX_MANIFEST} are allowed",
                travels=True,
                hint="Send fewer, larger arrays in one message.",
            )
        return _LENGTH.pack(len(manifest)) + manifest + self.inline


def decode(data: bytes) -> Body:
    """Return the body with these bytes, after a check of all sizes and positions.

    Raises:
        MalformedError: the form is wrong, a limit is exceeded, or the numbers contradict each other.
    """
    if len(data) < _LENGTH.size:
        raise MalformedError("the body is too short")
    (size,) = _LENGTH.unpack_from(data)
    if size > min(MAX_MANIFEST, len(data) - _LENGTH.size):
        raise MalformedError("the manifest is longer than the body or its limit")
    text = data[_LENGTH.size : _LENGTH.size + size]
    if text.count(b",") > _MAX_VALUES or text.count(b"[") > _MAX_LISTS:
        raise MalformedError("the manifest has too many values or lists")
    try:
        manifest = Manifest.model_validate(json.loads(text.decode(), object_pairs_hook=_few_keys))
    except (ValueError, RecursionError) as error:
        raise MalformedError("the manifest does not have the form of the protocol") from error
    inline = data[_LENGTH.size + size :]
    _check(manifest, len(inline))
    return Body(manifest, inline)


def require_request(body: Body) -> None:
    """Raise MalformedError if a body has a field of replies. A client could not pass such a request on to its worker."""
    manifest = body.manifest
    if manifest.error or manifest.seconds or manifest.kept_keys:
        raise MalformedError("the manifest of a request has a field that only replies have", travels=True)


def _few_keys(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """Return a JSON object of the manifest as a dict. Many unexpected keys would cost one validation error each."""
    if len(pairs) > _MOST_KEYS or len(fields := dict(pairs)) != len(pairs):
        raise MalformedError("a part of the manifest has too many keys, or the same key twice")
    return fields


def _check(manifest: Manifest, inline_size: int) -> None:
    if manifest.error and (manifest.buffers or manifest.objects or inline_size):
        raise MalformedError("the body has an error and also content")
    if sum(ref.size for ref in manifest.buffers) > MAX_MESSAGE:
        raise MalformedError(f"the message announces more than {MAX_MESSAGE} bytes")
    if sum(ref.size for ref in manifest.buffers if not ref.pieces) != inline_size:
        raise MalformedError("the number of inline bytes is not the announced number")
    if len({ref.id for ref in manifest.objects}) != len(manifest.objects):
        raise MalformedError("an object is listed twice")
    for ref in manifest.buffers:
        for piece in ref.located():
            inside = 0 <= piece.object < len(manifest.objects) and piece.offset >= 0 and piece.length > 0
            if not inside or piece.offset + piece.length > manifest.objects[piece.object].size:
                raise MalformedError("a piece is not inside its object")
        if ref.pieces and sum(piece.length for piece in ref.located()) != ref.size:
            raise MalformedError("the pieces of a buffer do not add up to its size")
    uses = Counter(tuple(chain.from_iterable(ref.pieces)) for ref in manifest.buffers if ref.pieces)
    if max(uses.values(), default=0) > MAX_USES:
        raise MalformedError(f"more than {MAX_USES} buffers name the same bytes, which would use too much memory")


def failure(code: str, text: str, reference: str = "", seconds: Seconds | None = None) -> Body:
    """Return the body of an error, with the text cut to :data:`MAX_ERROR_TEXT` characters."""
    # A file name may have characters that UTF-8 cannot encode, and an escape is longer than its character.
    short = shortened(printable(text), MAX_ERROR_TEXT)
    return Body(Manifest(error=Failure(code=code, text=short, reference=reference), seconds=seconds), b"")
