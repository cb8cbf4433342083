"""Fuzz ``heartbeat.read_heartbeat`` with files in the place of a heartbeat, signed by the data owner or not."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from hostile import frames
from hostile.invariants import Guarded
from hostile.mutation import Mutate, mutate_frames
from hostile.people import ANNA, ANNA_EMAIL, APP, BEN_EMAIL, EVE, PRIVATE
from syft_flwr._messaging.wire.heartbeat import Heartbeat, read_heartbeat
from syft_flwr._messaging.wire.limits import MAX_HELD, MAX_MISSING, MAX_WITHDRAWN

_LABEL = b"syft-flwr heartbeat 3\x00"
_AS_IT_IS, _SIGNED = 0, 1
_GOOD = Heartbeat(
    "data-owner",
    ANNA_EMAIL,
    APP,
    5,
    7,
    datetime(2030, 1, 1, 12, 0, 0, 123_456, UTC),
    "0" * 32,
    ("a" * 32, "b" * 32),
    ("c" * 32,),
    ("d" * 32,),
)


def seeds() -> Iterator[bytes]:
    idle = Heartbeat("data-owner", ANNA_EMAIL, APP, _GOOD.session, 1, _GOOD.written)
    of_another_role = Heartbeat("aggregator", ANNA_EMAIL, APP, _GOOD.session, 1, _GOOD.written)
    of_another = Heartbeat("data-owner", BEN_EMAIL, APP, _GOOD.session, 1, _GOOD.written)
    of_another_app = Heartbeat("data-owner", ANNA_EMAIL, "other", _GOOD.session, 1, _GOOD.written)
    for heartbeat in (_GOOD, idle, of_another, of_another_app, of_another_role):
        for signer in (ANNA, EVE):
            for mode in (_AS_IT_IS, _SIGNED):
                yield frames.join([bytes([mode]), heartbeat.encode(signer)])
    yield frames.join([bytes([_SIGNED]), _GOOD.encode(ANNA).replace(b"2030-01-01T12:00:00.123456Z", b"1e9")])
    yield frames.join([bytes([_SIGNED]), _GOOD.encode(ANNA).replace(b"2030-01-01T12", b"0001-01-01T00")])


def mutate(data: bytes, max_size: int, seed: int, inner: Mutate) -> bytes:
    return mutate_frames(data, max_size, seed, inner)


def check(data: bytes) -> None:
    """Check that an accepted heartbeat has the expected email and app, is signed, and can be compared with another."""
    mode, file = frames.split(data, 2)[:2]
    if mode[:1] == bytes([_SIGNED]):
        file = _signed(file)
    heartbeat = Guarded(*PRIVATE)(
        read_heartbeat, file, role="data-owner", email=ANNA_EMAIL, app=APP, identity=ANNA.public
    )
    if heartbeat is None:
        return
    # As in the protocol, the signature covers all keys except the signature itself.
    fields = json.loads(file)
    assert (fields["email"], fields["app"]) == (heartbeat.email, heartbeat.app) == (ANNA_EMAIL, APP)
    ANNA.public.verify(bytes.fromhex(fields.pop("signature")), _statement(fields))
    assert min(heartbeat.number) >= 1
    assert len(heartbeat.waiting) <= MAX_HELD
    assert len(heartbeat.missing) <= MAX_MISSING
    assert len(heartbeat.withdrawn) <= MAX_WITHDRAWN
    assert not heartbeat.is_newer_than(heartbeat)
    heartbeat.is_newer_than(_GOOD)
    _GOOD.is_newer_than(heartbeat)
    assert not heartbeat.holds("c" * 31)
    again = read_heartbeat(heartbeat.encode(ANNA), role="data-owner", email=ANNA_EMAIL, app=APP, identity=ANNA.public)
    assert again == heartbeat


def _signed(file: bytes) -> bytes:
    """Return the file with anna's signature over its content, or unchanged if it is not a JSON object."""
    try:
        fields = {**json.loads(file)}
        fields.pop("signature", None)
        statement = _statement(fields)
    except (ValueError, TypeError, RecursionError):
        return file
    return json.dumps({**fields, "signature": ANNA.sign(statement).hex()}).encode("utf-8", "replace")


def _statement(fields: dict[str, Any]) -> bytes:
    return _LABEL + json.dumps(fields, sort_keys=True, separators=(",", ":")).encode()
