"""Flower's messages as buffers: one protobuf without array bytes, then the bytes of each array as they are.

The bytes of an ``Array`` are never copied and never pass through protobuf, whose limit is 2 GiB; the same ``bytes``
object comes out in every message of a broadcast, which is how it is recognised further down.
"""

import io
import math
from collections.abc import Iterator, Sequence
from tokenize import TokenError

from flwr.app import Array, ArrayRecord, Message, Metadata, RecordDict

from syft_flwr.errors import MalformedError
from syft_flwr.fl_orchestrator._flower import (
    ProtoMessage,
    ProtoRecordDict,
    make_message,
    message_from_proto,
    message_to_proto,
    recorddict_from_proto,
    recorddict_to_proto,
)

#: Flower's name for arrays in numpy's format (``flwr.common.constant.SType``).
_NUMPY = "numpy.ndarray"
_MAX_NUMPY_HEADER = 16_384
#: The envelope says who asks whom, when and what; the message says the rest.
_BLANK = Metadata(
    run_id=0,
    message_id="",
    src_node_id=0,
    dst_node_id=0,
    reply_to_message_id="",
    group_id="",
    created_at=0.0,
    ttl=0.0,
    message_type="query",
)


def message_to_buffers(message: Message) -> list[bytes]:
    """Return the protobuf of a message without metadata and array bytes, and the bytes of each array in order.

    The same content gives the same buffers, whenever and to whomever it is sent.
    """
    if not message.has_content():
        error = make_message(metadata=_BLANK, error=message.error)
        return [message_to_proto(error).SerializeToString(deterministic=True)]
    content = message.content
    hollow = make_message(metadata=_BLANK, content=_hollow(content))
    return [message_to_proto(hollow).SerializeToString(deterministic=True), *(array.data for array in _arrays(content))]


def message_from_buffers(buffers: Sequence[bytes], metadata: Metadata | None = None) -> Message:
    """Read :func:`message_to_buffers` back; with ``metadata``, which the envelope vouches for, in place of its own.

    Raises:
        MalformedError: it is no message, or the number of arrays differs.
    """
    try:
        message = message_from_proto(ProtoMessage.FromString(buffers[0]))
    except Exception as error:
        raise MalformedError("the content is no Flower message") from error
    if message.has_content():
        _fill(message.content, buffers[1:])
    elif len(buffers) > 1:
        raise MalformedError("an error message carries no arrays")
    if metadata is not None:
        message.__dict__["_metadata"] = metadata
    return message


def array_bytes(message: Message) -> int:
    """Return how many bytes the arrays of a message have."""
    return sum(len(array.data) for array in _arrays(message.content)) if message.has_content() else 0


def records_to_buffers(records: RecordDict) -> list[bytes]:
    """The same for a record dictionary alone."""
    return [
        recorddict_to_proto(_hollow(records)).SerializeToString(deterministic=True),
        *(array.data for array in _arrays(records)),
    ]


def records_from_buffers(buffers: Sequence[bytes]) -> RecordDict:
    """Read :func:`records_to_buffers` back; MalformedError if that is not what it is."""
    try:
        records = recorddict_from_proto(ProtoRecordDict.FromString(buffers[0]))
    except Exception as error:
        raise MalformedError("the content is no Flower record dictionary") from error
    _fill(records, buffers[1:])
    return records


def _arrays(records: RecordDict) -> Iterator[Array]:
    for record in records.values():
        if isinstance(record, ArrayRecord):
            yield from record.values()


def _hollow(records: RecordDict) -> RecordDict:
    """Return the same records with arrays of no bytes."""
    hollow = RecordDict()
    for key, record in records.items():
        if isinstance(record, ArrayRecord):
            empty = ((name, Array(array.dtype, tuple(array.shape), array.stype, b"")) for name, array in record.items())
            hollow[key] = ArrayRecord(dict(empty))
        else:
            hollow[key] = record
    return hollow


def _fill(records: RecordDict, buffers: Sequence[bytes]) -> None:
    arrays = list(_arrays(records))
    if len(arrays) != len(buffers):
        raise MalformedError(f"{len(arrays)} arrays are announced and {len(buffers)} arrived")
    for array, data in zip(arrays, buffers, strict=True):
        if array.stype == _NUMPY and array.dtype:
            _require_as_announced(array, data)
        array.data = data


def _require_as_announced(array: Array, data: bytes) -> None:
    """Compare numpy's own header (NEP 1) with what the record says, and the length with both."""
    import numpy as np

    file = io.BytesIO(data[:_MAX_NUMPY_HEADER])
    try:
        version = np.lib.format.read_magic(file)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, _, dtype = read(file)
    except (ValueError, EOFError, SyntaxError, TypeError, TokenError) as error:
        raise MalformedError("an array is not in numpy's format") from error
    size = math.prod(shape) * dtype.itemsize
    if dtype.hasobject or str(dtype) != array.dtype or shape != tuple(array.shape):
        raise MalformedError(f"an array is {dtype} of shape {shape}, and {array.dtype} of {array.shape} is announced")
    if len(data) != file.tell() + size:
        raise MalformedError(f"an array of {size} bytes is announced and {len(data) - file.tell()} arrived")
