"""Several parts in the one string of bytes that a fuzzer changes: each is its length (4 bytes) and its bytes.

Anything at all can be split: a length that is too long means "the rest", and parts that are missing are empty.
"""

import struct
from collections.abc import Iterable

_LENGTH = struct.Struct(">I")
#: No target needs more.
MOST = 64


def join(parts: Iterable[bytes]) -> bytes:
    """Lay out parts."""
    return b"".join(_LENGTH.pack(len(part)) + part for part in parts)


def split(data: bytes, least: int = 0) -> list[bytes]:
    """Return the parts of ``data``, at least so many."""
    parts: list[bytes] = []
    start = 0
    while start + _LENGTH.size <= len(data) and len(parts) < MOST:
        (size,) = _LENGTH.unpack_from(data, start)
        start += _LENGTH.size
        parts.append(data[start : start + size])
        start += size
    return parts + [b""] * (least - len(parts))
