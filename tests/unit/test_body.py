"""Message bodies: sizes and counts must agree, and no log shows keys or content."""

import json
import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from syft_flwr._messaging import layout
from syft_flwr._messaging.layout import split_inline
from syft_flwr._messaging.wire.body import Body, BufferRef, Failure, Manifest, ObjectRef, Seconds, decode, failure
from syft_flwr._messaging.wire.limits import (
    INLINE_BUFFER,
    INLINE_TOTAL,
    MAX_BUFFERS,
    MAX_ERROR_TEXT,
    MAX_MANIFEST,
    MAX_MESSAGE,
    MAX_OBJECT,
    MAX_OBJECTS,
    MAX_ROUND,
    MAX_USES,
)
from syft_flwr.errors import LocalProtocolError, MalformedError
from syft_flwr.text import printable


def lay_out(manifest: Any, inline: bytes = b"") -> bytes:
    text = manifest if isinstance(manifest, bytes) else json.dumps(manifest).encode()
    return struct.pack(">I", len(text)) + text + inline


def object_ref(number: int = 0, size: int = 100, **fields: object) -> dict[str, Any]:
    return {"id": f"{number:032x}", "size": size, "key": "0" * 64, "sha256": "1" * 64, **fields}


@st.composite
def body_values(draw: st.DrawFn) -> Body:
    """Generate a body. Each of its buffers consists of pieces of objects or is stored inline."""
    sizes = draw(st.lists(st.integers(1, 1_000), max_size=6))
    objects = [
        ObjectRef(
            id=f"{number:032x}",
            size=size,
            key=draw(st.sampled_from(["", "0" * 64])),
            sha256=draw(st.sampled_from(["", "1" * 64])),
        )
        for number, size in enumerate(sizes)
    ]
    buffers, inline = [], b""
    for _ in range(draw(st.integers(0, MAX_USES))):
        if objects and draw(st.booleans()):
            pieces = []
            for number in draw(st.lists(st.integers(0, len(objects) - 1), min_size=1, max_size=4)):
                offset = draw(st.integers(0, sizes[number] - 1))
                pieces.append([number, offset, draw(st.integers(1, sizes[number] - offset))])
            buffers.append(BufferRef(size=sum(piece[2] for piece in pieces), pieces=pieces))
        else:
            data = draw(st.binary(max_size=50))
            buffers.append(BufferRef(size=len(data)))
            inline += data
    return Body(Manifest(buffers=buffers, objects=objects), inline)


@given(body_values())
def test_decode_reverses_encode(body: Body) -> None:
    again = decode(body.encode())

    assert again == body
    assert [piece for ref in again.manifest.buffers for piece in ref.located()] == [
        tuple(piece) for ref in body.manifest.buffers for piece in ref.pieces
    ]


def test_body_bytes_match_the_protocol() -> None:
    body = Body(Manifest(buffers=[BufferRef(size=3), BufferRef(size=0), BufferRef(size=2)]), b"abcde")
    manifest = b'{"buffers":[{"size":3},{"size":0},{"size":2}]}'

    assert body.encode() == len(manifest).to_bytes(4, "big") + manifest + b"abcde"


def test_round_of_a_body_is_one_bounded_line() -> None:
    body = Body(Manifest(), b"")
    assert decode(body.of_round("3").encode()).manifest.round == "3"
    assert decode(body.of_round("r" * 99).encode()).manifest.round == "r" * MAX_ROUND
    assert body.of_round("").encode() == body.encode()
    assert decode(lay_out({"round": "1\n2"})).manifest.round.isprintable()


@given(st.text(max_size=2 * MAX_ERROR_TEXT), st.sampled_from(["app-raised", "integrity"]))
def test_error_text_becomes_one_line_within_limit(text: str, code: str) -> None:
    again = decode(failure(code, text, "reference").encode()).manifest.error

    assert again is not None
    assert (again.code, again.reference) == (code, "reference")
    assert again.text.isprintable()
    whole = printable(text)
    assert again.text == (whole if len(whole) <= MAX_ERROR_TEXT else f"{whole[: MAX_ERROR_TEXT - 1].rstrip()}…")


def test_received_error_text_is_made_printable() -> None:
    error = decode(lay_out({"error": {"code": "invalid", "text": "a\x1b[31mb\nc"}})).manifest.error

    assert error is not None
    assert error.text == r"a\x1b[31mb c"


ALL_SECONDS = {"download": 1.0, "wait": 2.0, "open": 3.0, "run": 4.0, "seal": 5.0}


def test_error_carries_all_its_seconds() -> None:
    again = decode(failure("app-raised", "why").spent(**ALL_SECONDS).encode())

    assert again.manifest.error is not None
    assert again.manifest.seconds == Seconds(**ALL_SECONDS)


def test_seconds_of_several_parts_add_up() -> None:
    first = failure("integrity", "why", seconds=Seconds(download=1.0, run=2.0))

    assert first.spent(download=0.5, wait=3.0).manifest.seconds == Seconds(download=1.5, wait=3.0, run=2.0)
    assert first.manifest.seconds == Seconds(download=1.0, run=2.0)


INCONSISTENT: dict[str, tuple[Any, bytes]] = {
    "inline bytes missing": ({"buffers": [{"size": 5}]}, b"1234"),
    "inline bytes too many": ({"buffers": [{"size": 5}]}, b"123456"),
    "inline bytes of no buffer": ({}, b"1"),
    "an object twice": ({"objects": [object_ref(1), object_ref(1)]}, b""),
    "a piece of no object": ({"buffers": [{"size": 1, "pieces": [[0, 0, 1]]}]}, b""),
    "a piece of object minus one": (
        {"buffers": [{"size": 1, "pieces": [[-1, 0, 1]]}], "objects": [object_ref()]},
        b"",
    ),
    "a piece beyond its object": (
        {"buffers": [{"size": 2, "pieces": [[0, 99, 2]]}], "objects": [object_ref()]},
        b"",
    ),
    "a piece before its object": (
        {"buffers": [{"size": 2, "pieces": [[0, -1, 2]]}], "objects": [object_ref()]},
        b"",
    ),
    "an empty piece": (
        {"buffers": [{"size": 1, "pieces": [[0, 0, 1], [0, 1, 0]]}], "objects": [object_ref()]},
        b"",
    ),
    "a negative piece": (
        {"buffers": [{"size": 1, "pieces": [[0, 0, 3], [0, 10, -2]]}], "objects": [object_ref()]},
        b"",
    ),
    "a piece of two numbers": ({"buffers": [{"size": 1, "pieces": [[0, 0]]}], "objects": [object_ref()]}, b""),
    "a piece of four numbers": ({"buffers": [{"size": 1, "pieces": [[0, 0, 1, 1]]}], "objects": [object_ref()]}, b""),
    "a piece of no numbers": ({"buffers": [{"size": 0, "pieces": [[]]}], "objects": [object_ref()]}, b""),
    "pieces less than the size": ({"buffers": [{"size": 3, "pieces": [[0, 0, 2]]}], "objects": [object_ref()]}, b""),
    "pieces more than the size": ({"buffers": [{"size": 1, "pieces": [[0, 0, 2]]}], "objects": [object_ref()]}, b""),
    "a piece with an offset of 2**63": (
        {"buffers": [{"size": 1, "pieces": [[0, 1 << 63, 1]]}], "objects": [object_ref()]},
        b"",
    ),
    "an object over the limit": ({"objects": [object_ref(size=MAX_OBJECT + 1)]}, b""),
    "an object of a terabyte": ({"objects": [object_ref(size=1 << 40)]}, b""),
    "an empty object": ({"objects": [object_ref(size=0)]}, b""),
    "a negative object": ({"objects": [object_ref(size=-1)]}, b""),
    "a message over the limit": (
        {
            "buffers": [{"size": MAX_OBJECT, "pieces": [[0, 0, MAX_OBJECT]]}] * (MAX_MESSAGE // MAX_OBJECT + 1),
            "objects": [object_ref(size=MAX_OBJECT)],
        },
        b"",
    ),
    "a negative buffer": ({"buffers": [{"size": -1}]}, b""),
    "too many buffers": ({"buffers": [{"size": 0}] * (MAX_BUFFERS + 1)}, b""),
    "too many objects": ({"objects": [object_ref(number) for number in range(MAX_OBJECTS + 1)]}, b""),
    "a float for a size": ({"buffers": [{"size": 1.0}]}, b"1"),
    "a text for a size": ({"buffers": [{"size": "1"}]}, b"1"),
    "a boolean for a size": ({"buffers": [{"size": True}]}, b"1"),
    "an id in capitals": ({"objects": [object_ref(id="A" * 32)]}, b""),
    "an id with a path": ({"objects": [object_ref(id="../" + "0" * 29)]}, b""),
    "an id with a line feed": ({"objects": [object_ref(id="0" * 32 + "\n")]}, b""),
    "half a key": ({"objects": [object_ref(key="0" * 32)]}, b""),
    "half a hash": ({"objects": [object_ref(sha256="0" * 32)]}, b""),
    "an unknown field": ({"buffers": [], "more": 1}, b""),
    "an unknown field of an object": ({"objects": [object_ref(more=1)]}, b""),
    "an error with inline bytes": ({"error": {"code": "invalid", "text": ""}}, b"1"),
    "an error with a buffer": ({"error": {"code": "invalid", "text": ""}, "buffers": [{"size": 0}]}, b""),
    "an error with an object": ({"error": {"code": "invalid", "text": ""}, "objects": [object_ref()]}, b""),
    "an error with a long text": ({"error": {"code": "invalid", "text": "x" * (MAX_ERROR_TEXT + 1)}}, b""),
    "an error with a code of many lines": ({"error": {"code": "in\nvalid", "text": ""}}, b""),
    "an error without a code": ({"error": {"code": "", "text": ""}}, b""),
    "negative seconds": ({"seconds": {"download": -1.0}}, b""),
    "endless seconds": (b'{"seconds": {"download": Infinity}}', b""),
    "unknown seconds": ({"seconds": {"upload": 1.0}}, b""),
    "too many seconds": ({"seconds": {**ALL_SECONDS, "upload": 1.0}}, b""),
    "a list": ([], b""),
    "not JSON": (b"x" * 10, b""),
    "not UTF-8": (b'{"error": {"code": "invalid", "text": "\xff"}}', b""),
    "deep nesting": (b"[" * 100_000, b""),
    "a number of a million digits": (b'{"buffers": [{"size": ' + b"9" * 1_000_000 + b"}]}", b""),
    "NaN for a size": (b'{"buffers": [{"size": NaN}]}', b""),
}


@pytest.mark.parametrize("fault", INCONSISTENT)
def test_inconsistent_body_is_malformed(fault: str) -> None:
    manifest, inline = INCONSISTENT[fault]

    with pytest.raises(MalformedError):
        decode(lay_out(manifest, inline))


def test_valid_body_of_the_same_sizes_decodes() -> None:
    manifest = {"buffers": [{"size": 3, "pieces": [[0, 97, 3]]}, {"size": 5}], "objects": [object_ref()]}

    assert decode(lay_out(manifest, b"12345")).manifest.objects[0].size == 100
    assert decode(lay_out({"error": {"code": "invalid", "text": ""}})).manifest.error is not None


def test_truncated_body_is_malformed() -> None:
    whole = lay_out({"buffers": [{"size": 5}]}, b"12345")

    for length in range(len(whole)):
        with pytest.raises(MalformedError):
            decode(whole[:length])


def test_too_long_manifest_is_malformed() -> None:
    with pytest.raises(MalformedError, match="longer"):
        decode(struct.pack(">I", MAX_MANIFEST + 1) + b" " * (MAX_MANIFEST + 1))


@given(st.binary(max_size=200))
def test_random_bytes_decode_or_are_malformed(data: bytes) -> None:
    try:
        body = decode(data)
    except MalformedError:
        return
    assert decode(body.encode()) == body


def test_message_of_too_many_pieces_is_refused() -> None:
    pieces = [[0, 99_999_999, 1]] * MAX_OBJECTS
    manifest = Manifest(buffers=[BufferRef(size=MAX_OBJECTS, pieces=pieces)] * 20)

    with pytest.raises(LocalProtocolError, match=r"has a manifest of [0-9]+ bytes; at most"):
        Body(manifest, b"").encode()


# Inline buffers


@given(st.lists(st.integers(0, 2 * INLINE_BUFFER), max_size=40))
def test_inline_bytes_stay_within_limits(sizes: list[int]) -> None:
    buffers = [bytes(size) for size in sizes]

    inline = split_inline(buffers)

    assert len(inline) == len(buffers)
    riding = sum(size for size, here in zip(sizes, inline, strict=True) if here)
    assert riding <= INLINE_TOTAL
    # An empty buffer is always inline: it has no bytes to store in an object.
    assert all(here for size, here in zip(sizes, inline, strict=True) if not size)
    if sum(sizes) <= INLINE_TOTAL:
        assert all(inline)
    else:
        assert not any(here for size, here in zip(sizes, inline, strict=True) if size > INLINE_BUFFER)


def test_small_message_is_sent_all_inline() -> None:
    assert split_inline([bytes(INLINE_TOTAL)]) == [True]
    assert split_inline([bytes(INLINE_TOTAL - 1), b"1"]) == [True, True]
    assert split_inline([bytes(INLINE_TOTAL), b"1"]) == [False, True]


def test_too_many_buffers_are_refused() -> None:
    assert split_inline([b""] * MAX_BUFFERS) == [True] * MAX_BUFFERS
    with pytest.raises(LocalProtocolError, match=f"at most {MAX_BUFFERS}"):
        split_inline([b""] * (MAX_BUFFERS + 1))


def test_too_many_bytes_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layout, "MAX_MESSAGE", 100_000)

    with pytest.raises(LocalProtocolError, match="100001 bytes"):
        split_inline([bytes(50_000), bytes(50_001)])


# Texts in logs


def test_repr_shows_no_key_and_no_content() -> None:
    body = Body(Manifest(buffers=[BufferRef(size=6)], objects=[ObjectRef(**object_ref(key="ab" * 32))]), b"secret")

    for text in (repr(body), str(body), repr(body.manifest), str(body.manifest.objects[0])):
        assert "abab" not in text
        assert "secret" not in text


def test_malformed_manifest_is_not_quoted() -> None:
    with pytest.raises(MalformedError) as caught:
        decode(lay_out({"objects": [object_ref(key="ab" * 32 + "x")], "buffers": "abababab"}))

    error: BaseException | None = caught.value
    while error is not None:
        assert "abab" not in str(error)
        error = error.__cause__


def test_failure_with_invalid_code_is_refused() -> None:
    with pytest.raises(ValidationError):
        Failure(code="Not A Code", text="")
