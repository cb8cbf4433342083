"""Counts the fields of a protobuf and estimates its memory before it is parsed: two bytes in a file can need hundreds.

It walks the wire format (https://protobuf.dev/programming-guides/encoding) and builds no objects. Each field costs one
step, and a part never reaches beyond the part that contains it. So the steps are at most the bytes, and limited.
"""

import re
from functools import cache, reduce

from google.protobuf.descriptor import Descriptor

from syft_flwr._messaging.wire.limits import MAX_FIELDS
from syft_flwr.errors import MalformedError

#: Bytes of memory that a message may need.
_ROOM = 60 << 20
#: Bytes in memory of a nested message and of a number, measured with the objects of protobuf and Flower.
_A_PART, _A_NUMBER = 700, 45
#: Bytes with the continuation bit, which are not the last byte of a number.
_CONTINUED = bytes(range(0x80, 0x100))
#: The bytes of a field by its wire type, where all have the same.
_FIXED = {1: 8, 5: 4}
#: A number: its last byte lacks the continuation bit.
_NUMBER = re.compile(rb"[\x80-\xff]{0,9}[\x00-\x7f]")


def require_small_in_memory(head: bytes, kind: Descriptor) -> int:
    """Return the number of fields of a message of ``kind``, which is also the number of steps that this takes.

    Raises:
        MalformedError: the message has too many fields, would need too much memory, or is not a protobuf.
    """
    steps, room = 0, _ROOM
    parts = [(0, len(head), kind)]
    while parts:
        at, end, kind = parts.pop()
        known = _parts_of(kind)
        while at < end:
            steps += 1
            tag, at = _number(head, at, end)
            wire = tag & 7
            room -= _A_NUMBER
            if wire == 0:
                at = _end_of_number(head, at, end)
            elif wire in _FIXED:
                at += _FIXED[wire]
            elif wire == 2:
                size, start = _number(head, at, end)
                at = start + size
                part = known.get(tag >> 3)
                # A check for a class of protobuf takes longer than all other work on a field.
                if isinstance(part, int):
                    room -= _A_NUMBER * _count(head[start:at], part)
                elif part:
                    parts.append((start, at, part))
                    room -= _A_PART - _A_NUMBER
            else:
                raise _no_message()
            if at > end:
                raise _no_message()
            if steps > MAX_FIELDS or room < 0:
                raise MalformedError("the content has too many small parts", travels=True)
    return steps


@cache
def _parts_of(kind: Descriptor) -> dict[int, Descriptor | int]:
    """Return by number the fields that can have parts: the kind of nested messages, or the least bytes of a number."""
    return {
        field.number: field.message_type or (8 if field.cpp_type == field.CPPTYPE_DOUBLE else 1)
        for field in kind.fields
        if field.message_type or (field.is_repeated and field.cpp_type != field.CPPTYPE_STRING)
    }


def _count(packed: bytes, least: int) -> int:
    """Return how many numbers of at least these bytes are in a list. Only the last byte of one has no continuation bit."""
    return len(packed) // least if least > 1 else len(packed.translate(None, _CONTINUED))


def _number(data: bytes, at: int, end: int) -> tuple[int, int]:
    """Return the number that begins at ``at``, and the position after it."""
    if at < end and data[at] < 0x80:
        return data[at], at + 1
    after = _end_of_number(data, at, end)
    return reduce(lambda value, byte: value << 7 | byte & 0x7F, reversed(data[at:after]), 0), after


def _end_of_number(data: bytes, at: int, end: int) -> int:
    found = _NUMBER.match(data, at, end)
    if found is None:
        raise _no_message()
    return found.end()


def _no_message() -> MalformedError:
    return MalformedError("the content is not a Flower message", travels=True)
