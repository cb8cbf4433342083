"""Join several parts into one byte string for the fuzzer: each part is its length (4 bytes) and its bytes.

Any byte string can be split: a length that is too large takes the rest, and missing parts are empty.
"""

import struct
from collections.abc import Iterable

_LENGTH = struct.Struct(">I")
#: Largest number of parts that a target needs.
MOST = 64


def join(parts: Iterable[bytes]) -> bytes:
    """Return all parts in one byte string."""
    return b"".join(_LENGTH.pack(len(part)) + part for part in parts)


def split(data: bytes, least: int = 0) -> list[bytes]:
    """Return the parts of ``data``, at least ``least`` and at most ``MOST``."""
    parts: list[bytes] = []
    start = 0
    while start + _LENGTH.size <= len(data) and len(parts) < MOST:
        (size,) = _LENGTH.unpack_from(data, start)
        start += _LENGTH.size
        parts.append(data[start : start + size])
        start += size
    return parts + [b""] * (least - len(parts))
