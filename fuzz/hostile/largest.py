"""Bodies of the largest permitted size whose content would be expensive for a reader that did not count its steps.

Each kind is a way to make a short file cost much. ``tests/fuzz`` counts the steps, ``benchmarks`` the seconds.
"""

import json
import struct
from collections.abc import Callable, Iterable, Sequence

from flwr.app import Array, ArrayRecord, Message, Metadata, RecordDict

from syft_flwr._messaging.arrivals import read
from syft_flwr._messaging.objects import ObjectFolder
from syft_flwr._messaging.wire import body as bodies
from syft_flwr._messaging.wire.limits import MAX_BUFFERS, MAX_MANIFEST, MAX_OBJECTS
from syft_flwr.fl_orchestrator.codec import message_from_buffers, message_to_buffers
from syft_flwr.flower import set_task_identity
from syft_flwr.names import AppNames
from syft_flwr.transport.memory import MemoryNetwork

#: Bytes of a body. The rest of the envelope has room for its header, its signature and the seal.
SIZE = 3_890_000
_OWNER = "ben@example.org"
#: The fields of Flower's protobuf, each with the wire type of a part.
_CONTENT, _ITEM, _ARRAYS, _METRICS, _VALUE, _SHAPE = b"\x12", b"\x0a", b"\x12", b"\x1a", b"\x12", b"\x12"


def read_largest(data: bytes) -> Message:
    """Return the message in a body without objects, as the aggregator and a data owner read it.

    Raises:
        MalformedError: the body or the message is refused.
    """
    transport = MemoryNetwork().transport(_OWNER)
    folder = ObjectFolder(transport, AppNames("app"), _OWNER, encryption=False)
    buffers = read(folder, bodies.decode(data), shared=False)
    return message_from_buffers(buffers, _METADATA)


def _part(tag: bytes, content: bytes, *, size: int | None = None) -> bytes:
    """Return a field with ``content``, which may announce another size than it has."""
    return tag + _number(len(content) if size is None else size) + content


def _number(value: int) -> bytes:
    data = bytearray()
    while value > 0x7F:
        data.append(0x80 | value & 0x7F)
        value >>= 7
    return bytes([*data, value])


def _filled(part: bytes, room: int = SIZE - 100) -> bytes:
    return part * (room // len(part))


def _inline(head: bytes, arrays: Sequence[bytes] = ()) -> bytes:
    """Return a body with all buffers in the envelope."""
    buffers = [head, *arrays]
    manifest = {"buffers": [{"size": len(buffer)} for buffer in buffers]}
    return _body(json.dumps(manifest, separators=(",", ":")).encode(), b"".join(buffers))


def _body(manifest: bytes, inline: bytes = b"") -> bytes:
    data = struct.pack(">I", len(manifest)) + manifest + inline
    assert len(data) <= SIZE, len(data)
    return data


def _overlapping() -> bytes:
    """Return parts that each claim all bytes to the end: N parts with L empty fields cost N times L steps."""
    parts, tail = 1_000, _filled(_SHAPE + b"\x00", SIZE - 100_000)
    opener_size = 17
    openers = bytearray()
    for number in range(parts):
        rest = (parts - number - 1) * opener_size + len(tail)
        inner = b""
        for tag in (_VALUE, _ITEM, _ARRAYS):
            inner = tag + _padded(rest + len(inner)) + inner
        openers += _ITEM + bytes([len(inner)]) + inner
    return _inline(_part(_CONTENT, bytes(openers) + tail))


def _padded(value: int) -> bytes:
    """Return a number with four bytes."""
    return bytes([0x80 | value & 0x7F, 0x80 | value >> 7 & 0x7F, 0x80 | value >> 14 & 0x7F, value >> 21])


def _npy(descr: str, shape: str = "(1,)", values: bytes = b"") -> bytes:
    header = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}\n".encode()
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + values


def _arrays(data: Iterable[bytes]) -> bytes:
    """Return a message with these arrays, which a writer of this package would refuse."""
    set_task_identity(5, 1)
    values = list(data)
    record = ArrayRecord({str(number): Array("", (), "numpy.ndarray", b"") for number in range(len(values))})
    return _inline(message_to_buffers(Message(RecordDict({"a": record}), 7, "train"))[0], values)


def _manifest(head: str, item: str, tail: str, most: int = MAX_MANIFEST) -> bytes:
    """Return a body with a manifest of the largest size; ``#`` in the item becomes its number."""
    count = min((MAX_MANIFEST - len(head) - len(tail)) // len(item.replace("#", "0000000") + ","), most)
    return _body((head + ",".join(item.replace("#", f"{number:07}") for number in range(count)) + tail).encode())


def _content(parts: bytes) -> bytes:
    return _inline(_part(_CONTENT, parts))


def _shared() -> bytes:
    """Return arrays that name the same bytes of one object."""
    ref = {"id": "0" * 32, "size": 1 << 20, "sha256": "0" * 64}
    buffers = [{"size": 4}, *({"size": 1 << 20, "pieces": [[0, 0, 1 << 20]]} for _ in range(MAX_BUFFERS - 1))]
    return _body(json.dumps({"buffers": buffers, "objects": [ref]}, separators=(",", ":")).encode(), b"head")


_METADATA = Metadata(
    run_id=1,
    message_id="",
    src_node_id=0,
    dst_node_id=1,
    reply_to_message_id="",
    group_id="",
    created_at=0.0,
    ttl=0.0,
    message_type="train",
)
_FIELDS = _part(_ITEM, _part(_ARRAYS, b""))
#: The most arrays of a message: its protobuf and a run configuration have a place, too.
_MOST = MAX_BUFFERS - 2

#: The ways to fill an envelope. All are refused.
KINDS: dict[str, Callable[[], bytes]] = {
    "parts that reach beyond their parent": _overlapping,
    "empty packed fields": lambda: _content(
        _part(_ITEM, _part(_ARRAYS, _part(_ITEM, _part(_VALUE, _filled(_SHAPE + b"\x00")))))
    ),
    "empty parts": lambda: _content(_filled(_ITEM + b"\x00")),
    "empty records": lambda: _content(_filled(_FIELDS)),
    "empty arrays": lambda: _content(_part(_ITEM, _part(_ARRAYS, _filled(_part(_ITEM, _part(_VALUE, b"")))))),
    "unknown fields": lambda: _inline(_filled(b"\x78\x00")),
    "numbers of ten bytes": lambda: _inline(_filled(b"\x78" + b"\x80" * 9 + b"\x01")),
    "numbers without an end": lambda: _inline(_filled(b"\x80")),
    "numbers in a list": lambda: _content(
        _part(
            _ITEM,
            _part(_METRICS, _part(_ITEM, _part(_VALUE, b"\xb2\x01" + _part(b"", _part(_ITEM, _filled(b"\x01")))))),
        )
    ),
    "different structured types": lambda: _arrays(
        _npy(f"[('{number:05}', '<f4')]", values=b"abcd") for number in range(_MOST)
    ),
    "long structured types": lambda: _arrays(
        _npy("[" + ", ".join(f"('{number:03}{field:03}', '|u1')" for field in range(800)) + "]", values=bytes(800))
        for number in range(230)
    ),
    "brackets in types": lambda: _arrays(_npy("[('a', " * 1_500 + "'<f4'" + ")]" * 1_500) for _ in range(200)),
    "items without bytes": lambda: _arrays(_npy("'<U0'", "(1000000,)") for _ in range(_MOST)),
    "headers that almost fit": lambda: _arrays(
        _npy("[" + "], 'fortran_order': False, 'shape': (1, 2, 3" * 300 + "]") for _ in range(230)
    ),
    "arrays that name the same bytes": _shared,
    "keys in a manifest": lambda: _manifest("{", '"#":0', "}"),
    "values in a manifest": lambda: _manifest('{"buffers":[{"size":0,"pieces":[[', "1", "]]}]}"),
    "lists in a manifest": lambda: _manifest('{"buffers":[', "[[[[[[]]]]]]", "]}"),
    "wrong objects in a manifest": lambda: _manifest(
        '{"objects":[', '{"a":0,"b":0,"c":0,"d":0,"e":0}', "]}", most=MAX_OBJECTS
    ),
    "depth of a manifest": lambda: _body(b'{"buffers":' + b"[" * (MAX_MANIFEST - 20)),
    "a number of a manifest": lambda: _body(b'{"buffers":[{"size":' + b"9" * (MAX_MANIFEST - 100) + b"}]}"),
}
#: The most arrays that a reader accepts, to compare with.
HONEST: dict[str, Callable[[], bytes]] = {
    f"{_MOST:,} honest arrays": lambda: _arrays(_npy("'<f4'", "(1,)", b"abcd") for _ in range(_MOST)),
}
