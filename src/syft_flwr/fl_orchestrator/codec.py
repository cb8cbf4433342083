"""Flower's messages as buffers: one protobuf without array bytes, then the bytes of each array as they are.

The bytes of an ``Array`` are never copied and never pass through protobuf, whose limit is 2 GiB; the same ``bytes``
object comes out in every message of a broadcast, which is how it is recognised further down.
"""

import math
import re
from collections.abc import Iterator, Sequence

from flwr.app import Array, ArrayRecord, Message, Metadata, RecordDict

from syft_flwr.errors import MalformedError
from syft_flwr.fl_orchestrator.proto_size import require_small_in_memory
from syft_flwr.flower import (
    ProtoMessage,
    ProtoRecordDict,
    make_message,
    message_from_proto,
    message_to_proto,
    recorddict_from_proto,
    recorddict_to_proto,
    set_metadata,
)
from syft_flwr.text import printable

#: Characters of what somebody announced that an error repeats.
_SHOWN = 60
#: Flower's name for arrays in numpy's format (``flwr.common.constant.SType``).
_NUMPY = "numpy.ndarray"
_MAX_NUMPY_HEADER = 16_384
_NUMPY_HEADER = re.compile(
    rb"\x93NUMPY(?:\x01\x00(?P<short>..)|[\x02\x03]\x00(?P<long>....))(?P<text>"
    rb"\{'descr': '(?P<descr>[<>|](?:b1|[iufc][1-9]\d?|[SUV]\d{1,6}|[mM]8(?:\[(?:[1-9]\d{0,5})?(?:Y|M|W|D|h|m|s|[munpfa]s)\])?))', "
    rb"'fortran_order': (?:False|True), "
    rb"'shape': \((?P<shape>(?:|%(n)s,|%(n)s(?:, %(n)s){1,63}))\), \} *\n)" % {b"n": rb"(?:0|[1-9]\d{0,17})"},
    re.DOTALL,
)
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
        require_small_in_memory(buffers[0], ProtoMessage.DESCRIPTOR)
        message = message_from_proto(ProtoMessage.FromString(buffers[0]))
    except MalformedError:
        raise
    except Exception as error:
        raise MalformedError("the content is no Flower message") from error
    if message.has_content():
        _fill(message.content, buffers[1:])
    elif len(buffers) > 1:
        raise MalformedError("an error message carries no arrays")
    if metadata is not None:
        set_metadata(message, metadata)
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
        if array.stype == _NUMPY:
            _require_as_announced(array, data)
        array.data = data


def _require_as_announced(array: Array, data: bytes) -> None:
    """Compare numpy's own header (NEP 1) with what the record says, and the length with both.

    numpy's reader evaluates the header as Python and hands any type to ``numpy.dtype``: that can raise anything, and
    ``'<M8[s/0]'`` ends the process (a division by zero). So only what numpy writes for plain types is read at all.
    """
    import numpy as np

    found = _NUMPY_HEADER.match(data, 0, _MAX_NUMPY_HEADER)
    if found is None or int.from_bytes(found["short"] or found["long"], "little") != len(found["text"]):
        raise MalformedError("an array is not in numpy's format")
    try:
        dtype = np.dtype(found["descr"].decode())
    except (ValueError, TypeError) as error:
        raise MalformedError("an array is of no type that numpy has") from error
    shape = tuple(int(number) for number in re.findall(rb"\d+", found["shape"]))
    size = math.prod(shape) * dtype.itemsize
    if array.dtype and (str(dtype) != array.dtype or shape != tuple(array.shape)):
        said = f"{printable(array.dtype[:_SHOWN])} of {str(tuple(array.shape))[:_SHOWN]}"
        raise MalformedError(f"an array is {dtype} of shape {str(shape)[:_SHOWN]}, and {said} is announced")
    if len(data) != found.end() + size:
        raise MalformedError(
            f"an array of {str(size)[:_SHOWN]} bytes is announced and {len(data) - found.end()} arrived"
        )
