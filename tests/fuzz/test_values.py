"""Values that are well-formed for a parser, and that a reader must refuse."""

import json
from datetime import UTC, datetime

import pytest
from hostile.people import ANNA, ANNA_EMAIL, APP, BEN
from hostile.targets import card as card_target

from syft_flwr._crypto.keys import PublicIdentity
from syft_flwr._messaging.wire.body import decode
from syft_flwr._messaging.wire.card import read_card, write_card
from syft_flwr._messaging.wire.heartbeat import Heartbeat, read_heartbeat
from syft_flwr.errors import MalformedError, RemoteProtocolError

#: Points of small order on edwards25519 (RFC 8032), two of them with a coordinate above the field's modulus.
SMALL_ORDER = [
    "00" * 32,
    "01" + "00" * 31,
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
    "ec" + "ff" * 30 + "7f",
    "ed" + "ff" * 30 + "7f",
    "ee" + "ff" * 30 + "7f",
    "01" + "00" * 30 + "80",
]


@pytest.mark.parametrize("point", SMALL_ORDER)
def test_signing_key_of_small_order_is_refused(point: str) -> None:
    with pytest.raises(MalformedError):
        PublicIdentity.decode(bytes.fromhex(point) + ANNA.public.encoded[32:])


def test_unsigned_card_is_refused() -> None:
    # Under this key, the signature (neutral element, zero) fits every message, so it can be forged without a key.
    encoded = bytes.fromhex(SMALL_ORDER[1]) + BEN.public.encoded[32:]
    card = card_target.card_of(encoded, signature=bytes.fromhex(SMALL_ORDER[1]) + bytes(32))
    with pytest.raises(RemoteProtocolError):
        read_card(card, ANNA_EMAIL)


@pytest.mark.parametrize("key", ["format", "version", "email", "software", "keys", "fingerprint", "signature"])
def test_card_with_a_missing_field_is_refused(key: str) -> None:
    fields = json.loads(write_card(ANNA_EMAIL, ANNA))
    del fields[key]
    with pytest.raises(MalformedError):
        read_card(json.dumps(fields).encode(), ANNA_EMAIL)


@pytest.mark.parametrize(
    "key",
    [
        *("format", "version", "role", "email", "app", "session", "beat", "written"),
        *("running", "waiting", "missing", "withdrawn"),
    ],
)
def test_heartbeat_with_a_missing_field_is_refused(key: str) -> None:
    now = datetime(2030, 1, 1, tzinfo=UTC)
    # The client is idle, so that a missing field has no effect on the meaning. The signature covers all fields.
    fields = json.loads(Heartbeat("data-owner", ANNA_EMAIL, APP, 1, 1, now).encode(ANNA))
    del fields[key]
    with pytest.raises(MalformedError):
        read_heartbeat(json.dumps(fields).encode(), role="data-owner", email=ANNA_EMAIL, app=APP, identity=ANNA.public)


@pytest.mark.parametrize(
    ("written", "signed"),
    [
        ("0001-01-01T00:00:00+23:59", "0001-01-01T00:00:00+23:59"),
        ("9999-12-31T23:59:59-23:59", "9999-12-31T23:59:59-23:59"),
        (1_000_000_000, "2001-09-09T01:46:40Z"),
        ("2030-01-01t12:00:00z", "2030-01-01T12:00:00Z"),
    ],
    ids=["before the calendar", "after the calendar", "a number", "another spelling"],
)
def test_heartbeat_with_an_invalid_time_is_refused(written: str | int, signed: str) -> None:
    now = datetime(2030, 1, 1, tzinfo=UTC)
    heartbeat = Heartbeat("data-owner", ANNA_EMAIL, APP, 1, 1, now)
    fields = {**json.loads(heartbeat.encode(ANNA)), "written": signed}
    del fields["signature"]
    statement = json.dumps(fields, sort_keys=True, separators=(",", ":")).encode()
    signature = ANNA.sign(b"syft-flwr heartbeat 3\x00" + statement).hex()
    data = json.dumps({**fields, "written": written, "signature": signature}).encode()
    with pytest.raises(MalformedError):
        read_heartbeat(data, role="data-owner", email=ANNA_EMAIL, app=APP, identity=ANNA.public)


@pytest.mark.parametrize("value", ['"1.5"', "true", "NaN", "Infinity", "-1", "1e10", "null", "[]"])
def test_invalid_seconds_are_refused(value: str) -> None:
    manifest = f'{{"seconds":{{"wait":{value}}}}}'.encode()
    with pytest.raises(MalformedError):
        decode(len(manifest).to_bytes(4, "big") + manifest)


@pytest.mark.parametrize(
    "change",
    [
        ('"id"', '"name"'),
        ('"key":"42', '"key":"4242'),
        ('"key":"42', '"key":"4'),
        ("}]}", ',"more":1}]}'),
        ("}]}", "}"),
    ],
    ids=["a key missing", "too long", "too short", "a key too many", "cut"],
)
def test_error_hides_the_content_key(change: tuple[str, str]) -> None:
    key = "42" * 32
    ref = f'{{"id":"{"0" * 32}","size":9,"key":"{key}"}}'
    manifest = f'{{"buffers":[{{"size":5,"pieces":[[0,0,5]]}}],"objects":[{ref}]}}'
    good, bad = manifest.encode(), manifest.replace(*change).encode()
    assert good != bad
    decode(len(good).to_bytes(4, "big") + good)
    with pytest.raises(MalformedError) as caught:
        decode(len(bad).to_bytes(4, "big") + bad)
    error: BaseException | None = caught.value
    while error is not None:
        # No part of the key either: pydantic shows the start and the end of a long value.
        assert "42" * 8 not in f"{error} {error!r} {getattr(error, 'hint', '')}"
        error = error.__cause__ or error.__context__
