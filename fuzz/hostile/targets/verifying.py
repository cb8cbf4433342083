"""Fuzz ``verifying.read_request`` and ``read_response`` with signed files, and the bodies in them.

The fuzzer changes the header, the body and the signer. The signature is made last, so that it is valid for most inputs.
"""

import hashlib
import json
import struct
from collections.abc import Iterator
from datetime import UTC, datetime

from hostile import frames
from hostile.invariants import Guarded
from hostile.mutation import Mutate, mutate_frames
from hostile.people import ANNA, ANNA_EMAIL, APP, BEN, BEN_EMAIL, EVE, PRIVATE, load
from hostile.targets.body import require_sound
from syft_flwr._crypto.keys import SEAL_OVERHEAD, SIGNATURE_SIZE
from syft_flwr._messaging.wire import envelope as envelopes
from syft_flwr._messaging.wire.limits import MAX_ENVELOPE, MAX_LIFETIME
from syft_flwr._messaging.wire.verifying import Verified, read_request, read_response
from syft_flwr.clock import SKEW
from syft_flwr.errors import RemoteProtocolError, SyftFlwrError

_PREFIX = struct.Struct(">8sBI")
_LENGTH = struct.Struct(">I")
_SIGNED, _SEALED = b"syft-flwr envelope 3\x00", b"syft-flwr body 3\x00"
_ID = "00112233445566778899aabbccddeeff"
_RUN = 4_611_686_018_427_387_904
_NOW = datetime(2030, 1, 1, 12, 30, tzinfo=UTC)
_GROUP = "Größe 1/2 \"'\\\n"
_ANSWERS = hashlib.sha256(b"request").hexdigest()

#: Changes of a header that make it belong to another place or time.
_ELSEWHERE: tuple[dict[str, object], ...] = (
    {"id": "f" * 32},
    {"app": "other"},
    {"sender": BEN_EMAIL},
    {"recipient": ANNA_EMAIL},
    {"recipient_key": EVE.public.key_id},
    {"kind": "request"},
    {"kind": "response"},
    {"run": 7},
    {"type": "evaluate"},
    {"group": "2"},
    {"answers": ""},
    {"answers": "0" * 64},
    {"created": "2029-01-01T00:00:00.000+00:00", "expires": "2029-01-02T00:00:00.000+00:00"},
    {"created": "2030-01-01T12:00:00.000+00:00", "expires": "2031-01-01T00:00:00.000+00:00"},
    {"created": "2030-06-01T00:00:00.000+00:00", "expires": "2030-06-02T00:00:00.000+00:00"},
    {"created": "2499-12-31T23:59:59.999+00:00", "expires": "2000-01-01T00:00:00.000+00:00"},
)

# Flags for changes in addition to the fuzzed header and body.
_RESPONSE, _SEAL, _OTHER_MODE, _REPAIR, _FORGE, _CUT, _LONGER, _WRONG_LENGTH = (1 << bit for bit in range(8))


def seeds() -> Iterator[bytes]:
    manifests = [bytes.fromhex(vector["body"]) for vector in load("bodies")["vectors"]][:8]
    for vector in load("envelopes")["vectors"]:
        file = bytes.fromhex(vector["file"])
        if file[:9] != b"SYFTFLWR\x01" or len(file) < 400:
            continue
        size = _PREFIX.unpack_from(file)[2]
        header = file[_PREFIX.size : _PREFIX.size + size]
        response = _RESPONSE if b'"response"' in header else 0
        seal = _SEAL if vector["encryption"] else 0
        for mode in (0, _REPAIR, _REPAIR | _FORGE, _OTHER_MODE | _REPAIR, _CUT, _LONGER):
            yield frames.join([bytes([mode | seal | response]), header, b'{"buffers":[{"size":4}]}', b"data"])
        if vector["expect"] != "ok":
            continue
        for changes in _ELSEWHERE:
            moved = json.dumps({**json.loads(header), **changes}).encode()
            yield frames.join([bytes([_REPAIR | seal | response]), moved, b'{"buffers":[{"size":4}]}', b"data"])
        for body in manifests:
            size = int.from_bytes(body[: _LENGTH.size], "big")
            parts = (body[_LENGTH.size : _LENGTH.size + size], body[_LENGTH.size + size :])
            yield frames.join([bytes([_REPAIR | seal | response]), header, *parts])


def mutate(data: bytes, max_size: int, seed: int, inner: Mutate) -> bytes:
    return mutate_frames(data, max_size, seed, inner)


def check(data: bytes) -> None:
    """Check that a verified file was signed by its sender for this place and time, and that its body is consistent."""
    flags, header, manifest, inline = frames.split(data, 4)[:4]
    mode = flags[0] if flags else 0
    file = _lay_out(mode, header, manifest, inline)
    guarded = Guarded(*PRIVATE, expected=SyftFlwrError)
    verified = guarded(_verify_response if mode & _RESPONSE else _verify_request, file)
    if verified is None:
        assert isinstance(guarded.error, RemoteProtocolError)
        return
    assert not mode & (_FORGE | _CUT | _LONGER), "a forged or changed file was verified"
    found = verified.header
    assert (found.id, found.app, found.sender, found.recipient) == (_ID, APP, ANNA_EMAIL, BEN_EMAIL)
    assert found.recipient_key == BEN.public.key_id
    if mode & _RESPONSE:
        place = (found.kind, found.run, found.type, found.group, found.answers)
        assert place == ("response", _RUN, "train", _GROUP, _ANSWERS)
    else:
        assert (found.kind, found.answers) == ("request", "")
        assert found.created - SKEW <= _NOW <= found.expires + SKEW
        assert found.expires - found.created <= MAX_LIFETIME
    assert verified.digest == hashlib.sha256(file).hexdigest()
    encryption = bool(mode & _SEAL) != bool(mode & _OTHER_MODE)
    body = guarded(verified.open, BEN, encryption=encryption)
    if body is None:
        assert isinstance(guarded.error, RemoteProtocolError)
        return
    assert encryption == (found.encryption != "none") == bool(mode & _SEAL)
    require_sound(body)


def _verify_request(file: bytes) -> Verified:
    place = {"email": BEN_EMAIL, "sender": ANNA_EMAIL, "message_id": _ID, "app": APP}
    return read_request(file, identity=BEN.public, **place).verify(ANNA.public, now=_NOW)


def _verify_response(file: bytes) -> Verified:
    place = {"email": BEN_EMAIL, "sender": ANNA_EMAIL, "message_id": _ID, "app": APP, "kind": "train", "group": _GROUP}
    return read_response(file, identity=BEN.public, run=_RUN, answers=_ANSWERS, **place).verify(ANNA.public)


def _lay_out(mode: int, header: bytes, manifest: bytes, inline: bytes) -> bytes:
    """Return an envelope from these parts, with the changes of ``mode``."""
    length = len(manifest) + (1 if mode & _WRONG_LENGTH else 0)
    body = _LENGTH.pack(length) + manifest + inline
    if mode & _REPAIR:
        header = _repaired(header, len(body) + (SEAL_OVERHEAD if mode & _SEAL else 0))
    header = header[: MAX_ENVELOPE // 2]
    prefixed = _PREFIX.pack(envelopes.MAGIC, envelopes.VERSION, len(header)) + header
    if mode & _SEAL:
        body = BEN.public.seal(body, _SEALED + prefixed)
    file = prefixed + (EVE if mode & _FORGE else ANNA).sign(_SIGNED + prefixed + body) + body
    assert len(file) == len(prefixed) + SIGNATURE_SIZE + len(body)
    return file[:-1] if mode & _CUT else file + b"\x00" * bool(mode & _LONGER)


def _repaired(header: bytes, body_size: int) -> bytes:
    """Return a header in canonical form with the correct body size, or unchanged if it is not a JSON object."""
    try:
        fields = {**json.loads(header), "body_size": body_size}
        return json.dumps(fields, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
    except (ValueError, TypeError, RecursionError):
        return header
