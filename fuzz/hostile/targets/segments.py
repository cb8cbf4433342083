"""Fuzz ``segments.open_segments`` with streams of encrypted segments that an attacker rearranges."""

import io
from collections.abc import Iterator

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from hostile import frames
from hostile.invariants import Guarded
from hostile.mutation import Mutate, mutate_frames
from hostile.people import load
from syft_flwr._crypto import segments
from syft_flwr.errors import IntegrityError

#: Bytes of a segment instead of 1 MiB, so that a small input has many segments.
SEGMENT_SIZE = 32
KEY = bytes.fromhex(load("segments")["vectors"][0]["key"])
_MOST = 2_048
_PART = SEGMENT_SIZE + segments.TAG_SIZE


def seeds() -> Iterator[bytes]:
    sealed = [_sealed(number, last=number == 2, plaintext=bytes(32 if number < 2 else 5)) for number in range(3)]
    for edits in (b"", b"\x00", b"\x01\x00", b"\x02\x01", b"\x03\x00", b"\x04\x02", b"\x05\x01"):
        yield frames.join([b"\x44", b"\x20\x21\x04", edits, *sealed])
    for vector in load("segments")["vectors"]:
        if "file" in vector:
            yield frames.join([b"\x12", b"", b"", bytes.fromhex(vector["file"])])


def mutate(data: bytes, max_size: int, seed: int, inner: Mutate) -> bytes:
    return mutate_frames(data, max_size, seed, inner)


def check(data: bytes) -> None:
    """Check that a stream opens only if encrypting its plaintext gives the same bytes.

    If it does not open, no unauthenticated plaintext may remain in memory.
    """
    size, cuts, edits, *parts = frames.split(data, 3)
    announced = min(_MOST, 1 + int.from_bytes(size[:2], "little"))
    file = b"".join(_edited(parts, edits))
    plaintext = bytearray(b"\xaa" * announced)
    usual, segments.SEGMENT_SIZE = segments.SEGMENT_SIZE, SEGMENT_SIZE
    try:
        guarded = Guarded(KEY)
        opened = guarded(_open, file, _targets(plaintext, cuts))
        if opened is None:
            assert isinstance(guarded.error, IntegrityError)
            _require_nothing_unproved(bytes(plaintext), file)
            return
        again = b"".join(bytes(segment) for segment in segments.seal(KEY, [memoryview(plaintext)]))
    finally:
        segments.SEGMENT_SIZE = usual
    assert again == file == opened


def _open(file: bytes, targets: list[memoryview]) -> bytes:
    return b"".join(bytes(segment) for segment in segments.open_segments(KEY, io.BytesIO(file), targets))


def _targets(plaintext: bytearray, cuts: bytes) -> list[memoryview]:
    """Return views of ``plaintext``, cut at the given distances in bytes."""
    targets: list[memoryview] = []
    start = 0
    for length in cuts:
        if length and start + length < len(plaintext):
            targets.append(memoryview(plaintext)[start : start + length])
            start += length
    return [*targets, memoryview(plaintext)[start:]]


def _sealed(number: int, *, last: bool, plaintext: bytes) -> bytes:
    return AESGCM(KEY).encrypt(number.to_bytes(11, "big") + bytes([last]), plaintext, None)


def _edited(parts: list[bytes], edits: bytes) -> list[bytes]:
    """Return segments with the edits of an attacker with the key.

    Each edit swaps, repeats or drops a segment, or encrypts it with another number or flag.
    """
    edited = list(parts)
    for kind, where in zip(edits[::2], edits[1::2], strict=False):
        if not edited:
            break
        at = where % len(edited)
        if kind % 6 == 0:
            edited[at], edited[0] = edited[0], edited[at]
        elif kind % 6 == 1:
            edited.insert(at, edited[at])
        elif kind % 6 == 2:
            del edited[at]
        else:
            plaintext = edited[at][:SEGMENT_SIZE]
            edited[at] = _sealed(
                at + (kind % 6 == 4), last=(kind % 6 == 3) == (at + 1 == len(edited)), plaintext=plaintext
            )
    return edited


def _require_nothing_unproved(plaintext: bytes, file: bytes) -> None:
    """Raise AssertionError if a segment's memory holds plaintext that was not authenticated.

    Allowed are the plaintext of an authentic segment, zeros, and the initial bytes.
    """
    for start in range(0, len(plaintext), SEGMENT_SIZE):
        here = plaintext[start : start + SEGMENT_SIZE]
        number = start // SEGMENT_SIZE
        genuine = _sealed(number, last=start + SEGMENT_SIZE >= len(plaintext), plaintext=here)
        proved = file[number * _PART : number * _PART + len(genuine)] == genuine
        assert proved or set(here) <= {0, 0xAA}, "plaintext of a segment that is not authentic"
