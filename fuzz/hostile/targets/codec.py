"""Fuzz ``codec.message_from_buffers`` and the readers of control messages with Flower messages of an authentic peer.

A message consists of a protobuf and the bytes of its arrays. The arrays are in numpy's format (NEP 1), which starts
with the text of a Python dictionary.
"""

import io
import math
import struct
from collections.abc import Iterator
from typing import Any

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, Error, Message, MetricRecord, RecordDict

from hostile import frames
from hostile.invariants import Guarded, require_discreet
from hostile.mutation import Mutate, mutate_frames
from syft_flwr.errors import MalformedError
from syft_flwr.fl_orchestrator.codec import (
    message_from_buffers,
    message_to_buffers,
    records_from_buffers,
    records_to_buffers,
)
from syft_flwr.fl_orchestrator.control import Action, control_message, read_control
from syft_flwr.fl_orchestrator.ping import pong_records, read_pong
from syft_flwr.flower import SYSTEM_MESSAGE_TYPE, ProtoMessage, set_task_identity
from syft_flwr.text import is_visible

_MAGIC = b"\x93NUMPY"
_AS_THEY_ARE, _NUMPY_1, _NUMPY_2, _NUMPY_3 = range(4)
#: A flag: the buffers are those of the state of an app.
_RECORDS = 4
_LENGTHS = {_NUMPY_1: ("<H", b"\x01\x00"), _NUMPY_2: ("<I", b"\x02\x00"), _NUMPY_3: ("<I", b"\x03\x00")}
_NUMPY = "numpy.ndarray"


def seeds() -> Iterator[bytes]:
    set_task_identity(5, 1)
    shapes: list[np.ndarray[Any, Any]] = [np.arange(6, dtype=np.float32).reshape(2, 3), np.zeros((0, 4)), np.array(1.5)]
    structured = np.zeros(2, [(("title", "a"), "<i4"), ("b", [("c", "<f8", (2,)), ("d", "S3")])])
    aligned = np.zeros(2, np.dtype([("a", "i1"), ("b", "f8")], align=True))
    arrays = [*shapes, np.array([b"ab", b"c"]), structured, aligned]
    config = ConfigRecord({"lr": 0.1, "names": ["a", "b"], "blob": b"\x00\xff", "flag": True, "big": [1, -2, 1 << 62]})
    metrics = MetricRecord({"loss": 1.0, "counts": [1, 2]})
    legacy = Array("", (), _NUMPY, Array(np.ones(2)).data)
    other = Array("bfloat16", (2,), "other.format", b"1234")
    contents = (
        RecordDict({"arrays": ArrayRecord(arrays), "config": config, "metrics": metrics}),
        RecordDict({"arrays": ArrayRecord([np.arange(3)])}),
        RecordDict({"old": ArrayRecord({"0": legacy, "1": other})}),
        RecordDict(),
    )
    for content in contents:
        yield frames.join([bytes([_RECORDS | _AS_THEY_ARE]), *records_to_buffers(content)])
    messages = [Message(content, 7, "train", group_id="3") for content in contents]
    messages += [control_message(action, "why", dst_node_id=7, group_id="") for action in Action]
    messages += [Message(pong_records("train", 3), 7, SYSTEM_MESSAGE_TYPE)]
    messages += [Message(Error(2, "why"), reply_to=messages[0])]
    odd = Message(RecordDict({"config": ConfigRecord({"action": ["stop"], "reason": b"\x00"})}), 7, SYSTEM_MESSAGE_TYPE)
    for message in [*messages, odd]:
        head, *data = message_to_buffers(message)
        yield frames.join([bytes([_AS_THEY_ARE]), head, *data])
        if data and all(buffer.startswith(_MAGIC) for buffer in data):
            for mode in (_NUMPY_1, _NUMPY_2, _NUMPY_3):
                yield frames.join([bytes([mode]), head, *(part for buffer in data for part in _taken_apart(buffer))])


def mutate(data: bytes, max_size: int, seed: int, inner: Mutate) -> bytes:
    return mutate_frames(data, max_size, seed, inner, ProtoMessage)


def check(data: bytes) -> None:
    """Check that an accepted message can be encoded again, and that its arrays have the announced type and shape."""
    flags, head, *parts = frames.split(data, 2)
    mode = flags[0] % 4 if flags else _AS_THEY_ARE
    buffers = parts if mode == _AS_THEY_ARE else _laid_out(mode, parts)
    guarded = Guarded(expected=MalformedError)
    if flags and flags[0] & _RECORDS:
        records = guarded(records_from_buffers, [head, *buffers])
        assert records is None or records_from_buffers(records_to_buffers(records)).keys() == records.keys()
        return
    message = guarded(message_from_buffers, [head, *buffers])
    if message is None:
        return
    again = message_from_buffers(message_to_buffers(message))
    assert again.has_content() == message.has_content()
    if message.has_content():
        # The records are not compared, because NaN is not equal to itself.
        assert message_to_buffers(again)[1:] == message_to_buffers(message)[1:]
        for record in message.content.values():
            for array in record.values() if isinstance(record, ArrayRecord) else ():
                _require_as_announced(array)
    control = guarded(read_control, message)
    if control is not None:
        assert control.action in Action
        assert control.interval is None or 0 < control.interval < math.inf
        require_discreet(MalformedError(control.reason))
    pong = guarded(read_pong, message, 0.5)
    if pong is not None:
        assert 0 <= pong.waiting < 1 << 53
        for text in (pong.software, pong.flower, pong.running):
            assert is_visible(text)
            assert len(text) <= 128


def _require_as_announced(array: Array) -> None:
    """Raise AssertionError if numpy reads another type or shape than announced.

    Every array that begins like numpy's format is read: this must not end the process.
    """
    if not array.data.startswith(_MAGIC):
        return
    try:
        found = np.load(io.BytesIO(array.data), allow_pickle=False)
    except ValueError:
        # numpy writes some types of ml_dtypes and does not read them. It also refuses a long header.
        return
    assert isinstance(found, np.ndarray)
    if array.stype == _NUMPY and array.dtype:
        assert found.shape == tuple(array.shape)
        assert found.dtype.kind == "V" or str(found.dtype) == array.dtype


def _taken_apart(buffer: bytes) -> tuple[bytes, bytes]:
    """Return the header text and the values of an array in numpy's format."""
    (size,) = struct.unpack_from("<H", buffer, 8)
    return buffer[10 : 10 + size], buffer[10 + size :]


def _laid_out(mode: int, parts: list[bytes]) -> list[bytes]:
    """Return arrays in numpy's format, with correct header lengths, from alternating header texts and values."""
    kind, version = _LENGTHS[mode]
    arrays: list[bytes] = []
    for text, values in zip(parts[::2], [*parts[1::2], b""], strict=False):
        short = text[:0xFFFF]
        arrays.append(_MAGIC + version + struct.pack(kind, len(short)) + short + values)
    return arrays
