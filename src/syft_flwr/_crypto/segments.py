"""Encrypts data of any length as a stream of AES-256-GCM segments (the STREAM construction, as in the age file format).

* A segment is 1 MiB of plaintext, encrypted, followed by a 16-byte tag.
* The nonce is the number of the segment (11 bytes, big-endian) and a last byte: 1 for the last segment, otherwise 0.
  Thus a reader detects a stream that was cut, reordered or extended.
* A random key seals only one stream, so a counter is a safe nonce.
* Buffers are reused, because new memory costs more than the encryption on the measured machines.
"""

from collections.abc import Iterator
from typing import BinaryIO

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from syft_flwr.errors import IntegrityError

SEGMENT_SIZE = 1 << 20
TAG_SIZE = 16
KEY_SIZE = 32


def new_key() -> bytes:
    """Return a random content key of 32 bytes."""
    return AESGCM.generate_key(KEY_SIZE * 8)


def sealed_size(plaintext_size: int) -> int:
    """Return the size of the sealed stream of ``plaintext_size`` bytes (at least 1)."""
    return plaintext_size + TAG_SIZE * -(-plaintext_size // SEGMENT_SIZE)


def _nonce(number: int, *, last: bool) -> bytes:
    return number.to_bytes(11, "big") + (b"\x01" if last else b"\x00")


def seal(key: bytes, spans: list[memoryview]) -> Iterator[memoryview]:
    """Yield the sealed segments of the joined ``spans`` (at least one byte). Each is valid until the next is taken."""
    cipher = AESGCM(key)
    remaining = sum(len(span) for span in spans)
    plaintext = memoryview(bytearray(min(SEGMENT_SIZE, remaining)))
    sealed = memoryview(bytearray(len(plaintext) + TAG_SIZE))
    number = 0
    filled = 0
    for span in spans:
        rest = span
        while rest:
            remaining_here = SEGMENT_SIZE - filled
            if not filled and len(rest) >= SEGMENT_SIZE:
                chunk, rest = rest[:SEGMENT_SIZE], rest[SEGMENT_SIZE:]
            else:
                take = min(remaining_here, len(rest))
                plaintext[filled : filled + take] = rest[:take]
                filled, rest = filled + take, rest[take:]
                if filled < SEGMENT_SIZE and filled < remaining:
                    continue
                chunk, filled = plaintext[:filled], 0
            remaining -= len(chunk)
            target = sealed[: len(chunk) + TAG_SIZE]
            cipher.encrypt_into(_nonce(number, last=not remaining), chunk, None, target)
            yield target
            number += 1


def open_segments(key: bytes, file: BinaryIO, targets: list[memoryview]) -> Iterator[memoryview]:
    """Decrypt a stream from ``file`` into ``targets``. Their total length is the size of the plaintext.

    Yields each sealed segment after its decryption, so that the caller can hash it. A segment is valid until the next.

    Raises:
        IntegrityError: the stream was cut, extended, reordered or changed, or has another key.
    """
    cipher = AESGCM(key)
    remaining = sum(len(target) for target in targets)
    sealed = memoryview(bytearray(min(SEGMENT_SIZE, remaining) + TAG_SIZE))
    spare = memoryview(bytearray(min(SEGMENT_SIZE, remaining)))
    number = 0
    position, offset = 0, 0
    while remaining:
        size = min(SEGMENT_SIZE, remaining)
        segment = sealed[: size + TAG_SIZE]
        read_exactly(file, segment)
        remaining -= size
        nonce = _nonce(number, last=not remaining)
        target = targets[position]
        fits = len(target) - offset >= size
        plaintext = target[offset : offset + size] if fits else spare[:size]
        try:
            cipher.decrypt_into(nonce, segment, None, plaintext)
        except InvalidTag as error:
            # AES-GCM writes the plaintext before it checks the tag.
            plaintext[:] = bytes(size)
            raise IntegrityError("a segment was changed, moved or sealed with another key") from error
        if fits:
            offset += size
        else:
            position, offset = _scatter(plaintext, targets, position, offset)
        while position < len(targets) and offset == len(targets[position]):
            position, offset = position + 1, 0
        yield segment
        number += 1
    if file.read(1):
        raise IntegrityError("the file is longer than announced")


def _scatter(source: memoryview, targets: list[memoryview], position: int, offset: int) -> tuple[int, int]:
    while source:
        target = targets[position][offset:]
        take = min(len(target), len(source))
        target[:take] = source[:take]
        source, offset = source[take:], offset + take
        if take == len(target):
            position, offset = position + 1, 0
    return position, offset


def read_exactly(file: BinaryIO, target: memoryview) -> None:
    """Fill ``target`` from ``file``; IntegrityError if the file is too short."""
    while target:
        count = file.readinto(target)  # type: ignore[attr-defined]
        if not count:
            raise IntegrityError("the file ends before its last segment")
        target = target[count:]
