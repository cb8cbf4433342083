"""Estimates the memory of a protobuf before it is parsed: two bytes in a file can need hundreds in memory.

It walks the wire format (https://protobuf.dev/programming-guides/encoding) and builds no objects. A wrong length causes an
IndexError here or an error of the parser. The caller treats both as a malformed message.
"""

from google.protobuf.descriptor import Descriptor

from syft_flwr.errors import MalformedError

#: In bytes: smaller messages are not counted; a larger message may need this much memory.
_SMALL_HEAD = 64 << 10
_HEAD_ROOM = 60 << 20
#: Bytes in memory of a nested message and of a number, measured with the objects of protobuf and Flower.
_A_PART, _A_NUMBER = 700, 45
#: Bytes with the continuation bit, which are not the last byte of a number.
_CONTINUED = bytes(range(0x80, 0x100))


def require_small_in_memory(head: bytes, kind: Descriptor) -> None:
    """Raise MalformedError if a message of ``kind`` would need too much memory, or is not a protobuf."""
    if len(head) <= _SMALL_HEAD:
        return
    room = _HEAD_ROOM
    parts = [(0, len(head), kind)]
    while parts:
        at, end, kind = parts.pop()
        while at < end:
            tag, at = _varint(head, at)
            field, wire = kind.fields_by_number.get(tag >> 3), tag & 7
            if wire == 0:
                _, at = _varint(head, at)
                room -= _A_NUMBER
            elif wire in (1, 5):
                at += 8 if wire == 1 else 4
                room -= _A_NUMBER
            elif wire == 2:
                size, at = _varint(head, at)
                if field is not None and field.message_type is not None:
                    parts.append((at, at + size, field.message_type))
                    room -= _A_PART
                elif field is not None and field.is_repeated and field.cpp_type != field.CPPTYPE_STRING:
                    # Only the last byte of a packed number lacks the continuation bit; a double has eight bytes.
                    fixed = field.cpp_type == field.CPPTYPE_DOUBLE
                    room -= _A_NUMBER * (size // 8 if fixed else len(head[at : at + size].translate(None, _CONTINUED)))
                else:
                    room -= _A_NUMBER
                at += size
            else:
                raise MalformedError("the content is not a Flower message")
            if room < 0:
                raise MalformedError("the content has too many small parts")


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while data[at] & 0x80:
        if shift > 63:
            raise MalformedError("the content is not a Flower message")
        value |= (data[at] & 0x7F) << shift
        at, shift = at + 1, shift + 7
    return value | data[at] << shift, at + 1
