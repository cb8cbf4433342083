"""Envelopes: the header has one canonical form, every byte is protected, and cut files are recognised."""

import json
import struct
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from syft_flwr._crypto.keys import SEAL_OVERHEAD, SIGNATURE_SIZE, Identity
from syft_flwr._messaging.wire.envelope import MAGIC, VERSION, Header, decode, encode
from syft_flwr._messaging.wire.limits import MAX_ENVELOPE, MAX_HEADER
from syft_flwr.errors import (
    EncryptionError,
    IncompleteError,
    LocalProtocolError,
    MalformedError,
    RemoteProtocolError,
    SignatureError,
)
from syft_flwr.text import is_visible

PREFIX = struct.Struct(">8sBI")
HEADER = Header(
    id="0" * 32,
    kind="request",
    run=7,
    app="app",
    sender="anna@x.org",
    recipient="ben@y.org",
    sender_key="1" * 32,
    recipient_key="2" * 32,
    type="train",
    group="1",
    created=datetime(2030, 1, 1, tzinfo=UTC),
    expires=datetime(2030, 1, 2, tzinfo=UTC),
    encryption="mlkem768-x25519",
    body_size=1,
)
PLAIN = HEADER.model_copy(update={"encryption": "none"})

#: Characters of each kind that no type and no group may have.
HIDDEN = (0x00, 0x07, 0x09, 0x0A, 0x1B, 0x7F, 0x85, 0x9D, 0xA0, 0xAD, 0x061C, 0x200B, 0x200E, 0x2028, 0x2029, 0x202E)
HIDDEN += (0x2066, 0x3000, 0x3164, 0xD800, 0xE000, 0xFE0F, 0xFEFF, 0xFFFF, 0xE0041, 0xE0100)

HEX = st.text("0123456789abcdef", min_size=32, max_size=32)
TIMES = st.datetimes(
    datetime(2000, 1, 2),  # noqa: DTZ001 - the strategy adds the zone
    datetime(2499, 1, 1),  # noqa: DTZ001
    timezones=st.sampled_from([UTC, timezone(timedelta(hours=5.5))]),
)


def texts(smallest: int, largest: int) -> st.SearchStrategy[str]:
    return st.text(st.characters(exclude_categories=["C", "Z"]), min_size=smallest, max_size=largest).filter(is_visible)


HEADERS = st.builds(
    Header,
    id=HEX,
    kind=st.sampled_from(["request", "response"]),
    run=st.integers(1, (1 << 63) - 1),
    app=st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}", fullmatch=True),
    sender=st.from_regex(r"[!-~]{3,60}", fullmatch=True),
    recipient=st.from_regex(r"[!-~]{3,60}", fullmatch=True),
    sender_key=HEX,
    recipient_key=HEX,
    type=texts(0, 128),
    group=texts(0, 128),
    created=TIMES,
    expires=TIMES,
    encryption=st.sampled_from(["mlkem768-x25519", "none"]),
    body_size=st.just(1),
    answers=st.one_of(st.just(""), st.text("0123456789abcdef", min_size=64, max_size=64)),
)


def to_milliseconds(moment: datetime) -> datetime:
    return moment.replace(microsecond=moment.microsecond // 1_000 * 1_000)


@settings(max_examples=100)
@given(header=HEADERS, body=st.binary(min_size=1, max_size=300))
def test_encoded_envelope_decodes_and_opens(anna: Identity, ben: Identity, header: Header, body: bytes) -> None:
    encryption = header.encryption != "none"

    data = encode(header, body, anna, ben.public if encryption else None)
    envelope = decode(data)
    envelope.verify(anna.public)

    assert envelope.open(ben, encryption=encryption) == body
    assert envelope.header == header.model_copy(
        update={
            "created": to_milliseconds(header.created),
            "expires": to_milliseconds(header.expires),
            "body_size": len(body) + (SEAL_OVERHEAD if encryption else 0),
        }
    )
    assert envelope.header.encode() == envelope.header_bytes
    assert len(data) <= PREFIX.size + MAX_HEADER + SIGNATURE_SIZE + envelope.header.body_size


def test_file_layout_follows_the_protocol(anna: Identity, ben: Identity) -> None:
    data = encode(PLAIN, b"body", anna, None)

    magic, version, size = PREFIX.unpack_from(data)
    header = data[PREFIX.size : PREFIX.size + size]
    signature = data[PREFIX.size + size :][:SIGNATURE_SIZE]
    assert (magic, version) == (b"SYFTFLWR", 3)
    assert header == (
        b'{"answers":"","app":"app","body_size":4,"created":"2030-01-01T00:00:00.000+00:00","encryption":"none",'
        b'"expires":"2030-01-02T00:00:00.000+00:00","group":"1","id":"00000000000000000000000000000000",'
        b'"kind":"request","recipient":"ben@y.org","recipient_key":"22222222222222222222222222222222","run":7,'
        b'"sender":"anna@x.org","sender_key":"11111111111111111111111111111111","type":"train"}'
    )
    assert data[PREFIX.size + size + SIGNATURE_SIZE :] == b"body"
    anna.public.verify(signature, b"syft-flwr envelope 3\x00" + data[: PREFIX.size + size] + b"body")
    sealed = decode(encode(HEADER, b"body", anna, ben.public))
    info = b"syft-flwr body 3\x00" + PREFIX.pack(MAGIC, VERSION, len(sealed.header_bytes)) + sealed.header_bytes
    assert ben.open(sealed.body, info) == b"body"


# One canonical header


def lay_out(header: bytes, signer: Identity, body: bytes = b"body", version: int = VERSION) -> bytes:
    """Return a signed envelope with any header bytes, so that the header is its only fault."""
    prefixed = PREFIX.pack(MAGIC, version, len(header)) + header
    return prefixed + signer.sign(b"syft-flwr envelope 3\x00" + prefixed + body) + body


CANONICAL = PLAIN.model_copy(update={"body_size": 4}).encode().decode()
FIELDS: dict[str, Any] = json.loads(CANONICAL)


def compact(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def changed(**values: object) -> str:
    return compact({**FIELDS, **values})


SPELLINGS = {
    "another order": compact(dict(reversed(FIELDS.items()))),
    "spaces": json.dumps(FIELDS),
    "a line feed after it": CANONICAL + "\n",
    "a space before it": " " + CANONICAL,
    "a byte order mark": "\ufeff" + CANONICAL,
    "a field twice": CANONICAL[:-1] + ',"type":"train"}',
    "a field twice, the first wins": '{"answers":"",' + CANONICAL[1:],
    "a float for the run": CANONICAL.replace('"run":7', '"run":7.0'),
    "an exponent for the run": CANONICAL.replace('"run":7', '"run":7e0'),
    "a text for the run": CANONICAL.replace('"run":7', '"run":"7"'),
    "a boolean for the run": CANONICAL.replace('"run":7', '"run":true'),
    "an escaped letter": CANONICAL.replace('"train"', '"tr\\u0061in"'),
    "an escaped slash": CANONICAL.replace('"train"', '"tr\\/ain"'),
    "a lone surrogate": CANONICAL.replace('"train"', '"\\ud800"'),
    "Z for the zone": CANONICAL.replace("000+00:00", "000Z"),
    "another zone": CANONICAL.replace("00:00:00.000+00:00", "01:00:00.000+01:00"),
    "no zone": CANONICAL.replace("000+00:00", "000"),
    "no milliseconds": CANONICAL.replace(".000+", "+"),
    "microseconds": CANONICAL.replace(".000+", ".000000+"),
    "a number for the time": changed(created=1_893_456_000),
    "no time at all": changed(created=None),
    "an impossible time": CANONICAL.replace("2030-01-01", "2030-13-01"),
    "a time before the calendar": CANONICAL.replace("2030-01-01T00:00:00.000+00:00", "0001-01-01T00:00:00.000+23:59"),
    "an unknown field": changed(zone="x"),
    "a list": "[]",
    "a text": '"text"',
    "no fields": "{}",
    "null": "null",
    "not JSON": "x" * 100,
    "not a number": CANONICAL.replace('"run":7', '"run":NaN'),
    "deep nesting": "[" * 4_000 + "]" * 4_000,
    "capital digits": changed(sender_key="A" * 32),
    "an id too short": changed(id="0" * 31),
    "an id with a line feed": changed(id="0" * 32 + "\n"),
    "another kind": changed(kind="event"),
    "another cipher": changed(encryption="aes"),
    "no run": changed(run=0),
    "a negative run": changed(run=-7),
    "a run of 64 bits": changed(run=1 << 63),
    "a run of a thousand digits": CANONICAL.replace('"run":7', '"run":' + "7" * 1_000),
    "no app": changed(app=""),
    "an app too long": changed(app="a" * 65),
    "no sender": changed(sender=""),
    "a sender too long": changed(sender="a" * 255),
    "a type too long": changed(type="a" * 129),
    "a space in a sender": changed(sender="anna @x.org"),
    "a recipient outside ASCII": changed(recipient="bén@y.org"),
    "an app with a slash": changed(app="a/b"),
    "no body": changed(body_size=0),
    "a negative body": changed(body_size=-4),
    "a body over the limit": changed(body_size=MAX_ENVELOPE + 1),
    "a short digest in answers": changed(answers="0" * 63),
    **{f"no {name}": compact({key: value for key, value in FIELDS.items() if key != name}) for name in FIELDS},
}


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_non_canonical_header_is_malformed(anna: Identity, spelling: str) -> None:
    assert SPELLINGS[spelling] != CANONICAL
    with pytest.raises(MalformedError):
        decode(lay_out(SPELLINGS[spelling].encode("utf-8", "surrogatepass"), anna))


@pytest.mark.parametrize("name", ["type", "group"])
@pytest.mark.parametrize("code", HIDDEN, ids=lambda code: f"U+{code:04X}")
def test_label_with_a_hidden_character_is_refused(anna: Identity, name: str, code: int) -> None:
    spelling = changed(**{name: f"a{chr(code)}b"})
    with pytest.raises(MalformedError, match="the header does not have the form"):
        decode(lay_out(spelling.encode("utf-8", "surrogatepass"), anna))


@pytest.mark.parametrize(
    "label", ["", "train", "evaluate.loss", "query.größe", "query.計算", "round 1", "[7] <x>|y", "🙂"]
)
def test_visible_label_is_read(anna: Identity, label: str) -> None:
    header = decode(lay_out(changed(type=label, group=label).encode(), anna)).header

    assert (header.type, header.group) == (label, label)


def test_canonical_header_decodes(anna: Identity) -> None:
    envelope = decode(lay_out(CANONICAL.encode(), anna))

    envelope.verify(anna.public)
    assert envelope.open(anna, encryption=False) == b"body"


def test_header_that_is_not_utf8_is_malformed(anna: Identity) -> None:
    with pytest.raises(MalformedError):
        decode(lay_out(CANONICAL.encode().replace(b"train", b"tr\xffin"), anna))


# Incomplete and foreign files


@pytest.fixture(scope="session")
def whole(anna: Identity, ben: Identity) -> bytes:
    return encode(HEADER, b"a body", anna, ben.public)


def test_file_cut_at_any_byte_is_incomplete(whole: bytes) -> None:
    for length in range(len(whole)):
        with pytest.raises(IncompleteError) as caught:
            decode(whole[:length])
        assert caught.value.transient


@pytest.mark.parametrize("extra", [b"\x00", b"x" * 100])
def test_file_longer_than_announced_is_malformed(whole: bytes, extra: bytes) -> None:
    with pytest.raises(MalformedError, match="longer"):
        decode(whole + extra)


@pytest.mark.parametrize("data", [b"x", b"SYFTFLWr", b"SYFTFLWX", b"\x00" * 13, b"\x80PNG", b"[1]", b" " + MAGIC])
def test_file_without_the_magic_is_malformed(data: bytes) -> None:
    with pytest.raises(MalformedError, match="not an envelope"):
        decode(data)


@pytest.mark.parametrize("data", [b"{", b'{"id": "x"}', b"{" * 10_000])
def test_syftbox_rpc_message_is_recognised(data: bytes) -> None:
    with pytest.raises(MalformedError, match="JSON message of another implementation"):
        decode(data)


@pytest.mark.parametrize("version", [0, 2, 4, 255])
def test_unknown_version_error_names_the_version(anna: Identity, version: int) -> None:
    with pytest.raises(MalformedError, match=f"version {version}"):
        decode(lay_out(CANONICAL.encode(), anna, version=version))


@pytest.mark.parametrize("size", [0, MAX_HEADER + 1, 0xFFFF_FFFF])
def test_impossible_header_size_is_refused_at_once(size: int) -> None:
    with pytest.raises(MalformedError, match=f"header of {size} bytes"):
        decode(PREFIX.pack(MAGIC, VERSION, size))


def test_announced_size_over_the_limit_is_refused(anna: Identity) -> None:
    header = PLAIN.model_copy(update={"body_size": MAX_ENVELOPE - 100}).encode()

    with pytest.raises(MalformedError, match="over the limit"):
        decode(lay_out(header, anna))


@given(st.binary(max_size=400))
def test_random_bytes_raise_only_protocol_errors(data: bytes) -> None:
    for start in (b"", MAGIC, MAGIC + b"\x01", PREFIX.pack(MAGIC, VERSION, 200)):
        with pytest.raises((IncompleteError, MalformedError)):
            decode(start + data)


# Sizes


@pytest.mark.parametrize("encryption", [True, False], ids=["sealed", "plain"])
def test_envelope_size_limit_is_exact(anna: Identity, ben: Identity, encryption: bool) -> None:
    recipient = ben.public if encryption else None
    header = HEADER if encryption else PLAIN
    size = MAX_ENVELOPE - len(encode(header, b"x" * 1_000_000, anna, recipient)) + 1_000_000

    data = encode(header, b"x" * size, anna, recipient)

    assert len(data) == MAX_ENVELOPE
    assert len(decode(data).open(ben, encryption=encryption)) == size
    with pytest.raises(LocalProtocolError, match=f"limit of {MAX_ENVELOPE}"):
        encode(header, b"x" * (size + 1), anna, recipient)


def test_header_over_its_limit_is_not_sent(anna: Identity) -> None:
    with pytest.raises(LocalProtocolError):
        encode(PLAIN.model_copy(update={"type": "x" * MAX_HEADER}), b"body", anna, None)


# Every byte is protected


def flips(data: bytes) -> list[bytes]:
    """Return all copies of ``data`` with one changed byte: three different changes for each byte."""
    result = []
    for position in range(len(data)):
        for mask in (0x01, 0x20, 0xFF):
            flipped = bytearray(data)
            flipped[position] ^= mask
            result.append(bytes(flipped))
    return result


def accept(data: bytes, anna: Identity, ben: Identity, *, encryption: bool) -> bytes:
    envelope = decode(data)
    envelope.verify(anna.public)
    return envelope.open(ben, encryption=encryption)


@pytest.mark.parametrize("encryption", [True, False], ids=["sealed", "plain"])
def test_any_changed_byte_is_refused(anna: Identity, ben: Identity, encryption: bool) -> None:
    data = encode(HEADER if encryption else PLAIN, b"body", anna, ben.public if encryption else None)

    assert accept(data, anna, ben, encryption=encryption) == b"body"
    for flipped in flips(data):
        with pytest.raises(RemoteProtocolError):
            accept(flipped, anna, ben, encryption=encryption)


def test_seal_alone_binds_header_and_body(anna: Identity, ben: Identity) -> None:
    data = encode(HEADER, b"body", anna, ben.public)
    size = len(decode(data).header_bytes)
    signature = range(PREFIX.size + size, PREFIX.size + size + SIGNATURE_SIZE)

    for position in set(range(len(data))) - set(signature):
        flipped = bytearray(data)
        flipped[position] ^= 0x01
        with pytest.raises(RemoteProtocolError):
            decode(bytes(flipped)).open(ben, encryption=True)


def test_body_does_not_open_under_another_header(anna: Identity, ben: Identity) -> None:
    mine = decode(encode(HEADER, b"body", anna, ben.public))
    other = decode(encode(HEADER.model_copy(update={"run": 8}), b"BODY", anna, ben.public))

    with pytest.raises(EncryptionError):
        replace(other, body=mine.body).open(ben, encryption=True)
    with pytest.raises(SignatureError):
        replace(other, body=mine.body).verify(anna.public)
    with pytest.raises(SignatureError):
        replace(other, signature=mine.signature).verify(anna.public)


def test_signature_of_another_key_is_refused(anna: Identity, eve: Identity, whole: bytes) -> None:
    envelope = decode(whole)
    signed = b"syft-flwr envelope 3\x00" + whole[: PREFIX.size + len(envelope.header_bytes)] + envelope.body

    replace(envelope, signature=anna.sign(signed)).verify(anna.public)
    with pytest.raises(SignatureError):
        replace(envelope, signature=eve.sign(signed)).verify(anna.public)
    with pytest.raises(SignatureError):
        envelope.verify(eve.public)


def test_signature_for_another_purpose_is_refused(anna: Identity, whole: bytes) -> None:
    envelope = decode(whole)
    signed = whole[: PREFIX.size + len(envelope.header_bytes)] + envelope.body

    for label in (b"", b"syft-flwr card 1\x00", b"syft-flwr body 3\x00"):
        with pytest.raises(SignatureError):
            replace(envelope, signature=anna.sign(label + signed)).verify(anna.public)


# Encryption settings of both sides


def test_only_the_recipient_opens_an_envelope(anna: Identity, eve: Identity, whole: bytes) -> None:
    for other in (eve, anna):
        with pytest.raises(EncryptionError):
            decode(whole).open(other, encryption=True)


@pytest.mark.parametrize("encryption", [True, False])
def test_encryption_mismatch_names_the_setting(anna: Identity, ben: Identity, encryption: bool) -> None:
    data = encode(PLAIN if encryption else HEADER, b"body", anna, None if encryption else ben.public)

    with pytest.raises(EncryptionError, match=r"anna@x\.org has encryption") as caught:
        decode(data).open(ben, encryption=encryption)
    assert "SYFT_FLWR_ENCRYPTION_ENABLED" in caught.value.hint
    assert "body" not in str(caught.value)


def test_false_encryption_field_reveals_no_body(anna: Identity, ben: Identity) -> None:
    lying = encode(HEADER, b"x" * SEAL_OVERHEAD + b"body", anna, None)

    with pytest.raises(EncryptionError):
        decode(lying).open(ben, encryption=True)
    sealed_but_plain = encode(PLAIN, b"body", anna, ben.public)
    assert decode(sealed_but_plain).open(ben, encryption=False) != b"body"


@pytest.mark.parametrize("year", ["0001", "1999", "2500", "9999"])
def test_year_out_of_range_is_refused(anna: Identity, year: str) -> None:
    data = encode(PLAIN, b"body", anna, None)
    moment = PLAIN.created.astimezone(UTC).isoformat(timespec="milliseconds").encode()
    assert moment in data
    with pytest.raises(MalformedError):
        decode(data.replace(moment, year.encode() + moment[4:], 1))
