"""Fuzz ``body.decode`` with decrypted bodies of an authentic peer."""

import hashlib
import json
from collections.abc import Iterator

from hostile.invariants import Guarded
from hostile.mutation import Mutate, mutate_json
from hostile.people import load
from syft_flwr._messaging.wire.body import Body, decode
from syft_flwr._messaging.wire.limits import MAX_MANIFEST, MAX_MESSAGE

_LENGTH = 4
#: A content key that errors about its manifest must not show.
KEY = hashlib.sha256(b"content key").digest()


def seeds() -> Iterator[bytes]:
    for vector in load("bodies")["vectors"]:
        yield bytes.fromhex(vector["body"])
    seconds = b'{"buffers":[{"size":1,"pieces":[]}],"seconds":{"wait":1.5,"open":0,"run":1e9,"seal":0.0}}'
    yield len(seconds).to_bytes(_LENGTH, "big") + seconds + b"a"
    for piece in ([-1, 0, 5], [0, -1, 5], [0, 0, 0], [0, 5, -5], [1, 0, 5], [0, 0, 5, 5], [0, 0], [0, 1 << 64, 5]):
        manifest = {
            "buffers": [{"size": 5, "pieces": [piece]}],
            "objects": [{"id": "0" * 32, "size": 9, "key": KEY.hex()}],
        }
        text = json.dumps(manifest, separators=(",", ":")).encode()
        yield len(text).to_bytes(_LENGTH, "big") + text


def mutate(data: bytes, max_size: int, seed: int, inner: Mutate) -> bytes:
    """Return ``data`` with the manifest changed as a tree and its length corrected, or with changed bytes."""
    size = int.from_bytes(data[:_LENGTH], "big")
    manifest, inline = data[_LENGTH : _LENGTH + size], data[_LENGTH + size :]
    if not manifest or seed % 5 == 0:
        return inner(data, max_size)
    changed = mutate_json(manifest, max(1, max_size - _LENGTH - len(inline)), seed, inner)
    return len(changed).to_bytes(_LENGTH, "big") + changed + inline


def check(data: bytes) -> None:
    """Check that a decoded body is consistent, and that encoding and decoding it again gives an equal body."""
    # Only as the value of "key": an error may show the same digits in a name, which is not secret.
    is_key = b'"key":"' + KEY.hex().encode() in data and data.count(KEY.hex()[:16].encode()) == 1
    body = Guarded(*([KEY] if is_key else []))(decode, data)
    if body is None:
        return
    require_sound(body)
    assert KEY.hex() not in repr(body)


def require_sound(body: Body) -> None:
    """Raise AssertionError if a body breaks a rule of ``docs/protocol.md``, section 4."""
    manifest = body.manifest
    inline = 0
    for ref in manifest.buffers:
        assert not ref.pieces or ref.size == sum(length for _, _, length in ref.pieces)
        inline += 0 if ref.pieces else ref.size
        for index, offset, length in ref.pieces:
            assert 0 <= index < len(manifest.objects)
            assert 0 <= offset < offset + length <= manifest.objects[index].size
    assert inline == len(body.inline)
    assert sum(ref.size for ref in manifest.buffers) <= MAX_MESSAGE
    assert len({ref.id for ref in manifest.objects}) == len(manifest.objects)
    if manifest.seconds is not None:
        for spent in manifest.seconds.model_dump().values():
            assert 0 <= spent <= 1e9, f"a data owner spent {spent} seconds"
    if len(manifest.model_dump_json()) <= MAX_MANIFEST // 2:
        assert decode(body.encode()) == body
