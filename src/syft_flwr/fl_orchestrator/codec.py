"""Converts Flower messages to buffers and back: one protobuf without array bytes, then the bytes of each array.

The bytes of an ``Array`` are never copied. They do not pass through protobuf, which has a limit of 2 GiB. All messages of
a broadcast contain the same ``bytes`` object, so that lower layers recognise it and store it once.
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

#: Characters of an announced value that an error text shows.
_SHOWN = 60
#: Flower's name for arrays in the format of NumPy (``flwr.common.constant.SType``).
_NUMPY = "numpy.ndarray"
_MAX_NUMPY_HEADER = 16_384
_NUMPY_HEADER = re.compile(
    rb"\x93NUMPY(?:\x01\x00(?P<short>..)|[\x02\x03]\x00(?P<long>....))(?P<text>"
    rb"\{'descr': '(?P<descr>[<>|](?:b1|[iufc][1-9]\d?|[SUV]\d{1,6}|[mM]8(?:\[(?:[1-9]\d{0,5})?(?:Y|M|W|D|h|m|s|[munpfa]s)\])?))', "
    rb"'fortran_order': (?:False|True), "
    rb"'shape': \((?P<shape>(?:|%(n)s,|%(n)s(?:, %(n)s){1,63}))\), \} *\n)" % {b"n": rb"(?:0|[1-9]\d{0,17})"},
    re.DOTALL,
)
#: The envelope carries sender, recipient, times and type, so the metadata of the message stay empty.
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
    """Return the protobuf of a message without metadata and array bytes, and then the bytes of each array in order.

    The same content gives the same buffers, for every recipient and at any time.
    """
    if not message.has_content():
        error = make_message(metadata=_BLANK, error=message.error)
        return [message_to_proto(error).SerializeToString(deterministic=True)]
    content = message.content
    hollow = make_message(metadata=_BLANK, content=_hollow(content))
    return [message_to_proto(hollow).SerializeToString(deterministic=True), *(array.data for array in _arrays(content))]


def records_message_to_buffers(content: RecordDict) -> list[bytes]:
    """Return the buffers of a message with these records, as :func:`message_to_buffers` does."""
    return message_to_buffers(make_message(metadata=_BLANK, content=content))


def message_from_buffers(buffers: Sequence[bytes], metadata: Metadata | None = None) -> Message:
    """Return the message of buffers from :func:`message_to_buffers`.

    Args:
        buffers: the buffers. They may come from a peer.
        metadata: the metadata of the returned message, made from the signed envelope; None keeps those in the buffers.

    Raises:
        MalformedError: the buffers are not a message, or their arrays differ from the announced ones.
    """
    try:
        require_small_in_memory(buffers[0], ProtoMessage.DESCRIPTOR)
        message = message_from_proto(ProtoMessage.FromString(buffers[0]))
    except MalformedError:
        raise
    except Exception as error:
        raise MalformedError("the content is not a Flower message") from error
    if message.has_content():
        _fill(message.content, buffers[1:])
    elif len(buffers) > 1:
        raise MalformedError("an error message carries no arrays")
    if metadata is not None:
        set_metadata(message, metadata)
    return message


def array_bytes(message: Message) -> int:
    """Return the size of all arrays of a message, in bytes."""
    return sum(len(array.data) for array in _arrays(message.content)) if message.has_content() else 0


def records_to_buffers(records: RecordDict) -> list[bytes]:
    """Return a record dictionary as buffers, in the same form as :func:`message_to_buffers`."""
    return [
        recorddict_to_proto(_hollow(records)).SerializeToString(deterministic=True),
        *(array.data for array in _arrays(records)),
    ]


def records_from_buffers(buffers: Sequence[bytes]) -> RecordDict:
    """Return the records of buffers from :func:`records_to_buffers`; MalformedError if they have another form."""
    try:
        records = recorddict_from_proto(ProtoRecordDict.FromString(buffers[0]))
    except Exception as error:
        raise MalformedError("the content is not a Flower record dictionary") from error
    _fill(records, buffers[1:])
    return records


def _arrays(records: RecordDict) -> Iterator[Array]:
    for record in records.values():
        if isinstance(record, ArrayRecord):
            yield from record.values()


def _hollow(records: RecordDict) -> RecordDict:
    """Return the same records with empty arrays."""
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
    """Raise MalformedError unless type, shape and size of the array agree with its NumPy header (NEP 1).

    NumPy's reader evaluates the header as Python and passes any type to ``numpy.dtype``. This can raise any exception, and
    ``'<M8[s/0]'`` ends the process (a division by zero). So only headers that NumPy writes for plain types are accepted.
    """
    import numpy as np

    found = _NUMPY_HEADER.match(data, 0, _MAX_NUMPY_HEADER)
    if found is None or int.from_bytes(found["short"] or found["long"], "little") != len(found["text"]):
        raise MalformedError("an array is not in numpy's format")
    try:
        dtype = np.dtype(found["descr"].decode())
    except (ValueError, TypeError) as error:
        raise MalformedError("an array has a type that numpy does not know") from error
    shape = tuple(int(number) for number in re.findall(rb"\d+", found["shape"]))
    size = math.prod(shape) * dtype.itemsize
    if array.dtype and (str(dtype) != array.dtype or shape != tuple(array.shape)):
        said = f"{printable(array.dtype[:_SHOWN])} of {str(tuple(array.shape))[:_SHOWN]}"
        raise MalformedError(f"an array is {dtype} of shape {str(shape)[:_SHOWN]}, and {said} is announced")
    if len(data) != found.end() + size:
        raise MalformedError(
            f"an array of {str(size)[:_SHOWN]} bytes is announced and {len(data) - found.end()} arrived"
        )
