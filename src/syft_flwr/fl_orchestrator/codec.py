"""Converts Flower messages to buffers and back: one protobuf without array bytes, then the bytes of each array.

The bytes of an ``Array`` are never copied. They do not pass through protobuf, which has a limit of 2 GiB. All messages of
a broadcast contain the same ``bytes`` object, so that lower layers recognise it and store it once.
"""

from collections.abc import Sequence

from flwr.app import Array, ArrayRecord, Message, Metadata, RecordDict

from syft_flwr.errors import LocalProtocolError, MalformedError
from syft_flwr.fl_orchestrator.array_check import ArrayCheck
from syft_flwr.fl_orchestrator.proto_size import require_small_in_memory
from syft_flwr.fl_orchestrator.record_check import arrays_of, encoded, place, require_room, require_sound_arrays
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

    Raises:
        LocalProtocolError: :func:`message_from_buffers` would refuse the buffers. The text names the record and the key.
    """
    if not message.has_content():
        return [_error_head(message)]
    content = message.content
    require_sound_arrays(content)
    require_room(content)
    return [encoded(_hollow(content), _content_head), *(array.data for array in arrays_of(content))]


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
        raise MalformedError("the content is not a Flower message", travels=True) from error
    if message.has_content():
        _fill(message.content, buffers[1:])
    elif len(buffers) > 1:
        raise MalformedError("an error message carries no arrays")
    if metadata is not None:
        set_metadata(message, metadata)
    return message


def array_bytes(message: Message) -> int:
    """Return the size of all arrays of a message, in bytes."""
    return sum(len(array.data) for array in arrays_of(message.content)) if message.has_content() else 0


def records_to_buffers(records: RecordDict) -> list[bytes]:
    """Return a record dictionary as buffers, in the same form as :func:`message_to_buffers`.

    Raises:
        LocalProtocolError: :func:`records_from_buffers` would refuse the buffers. The text names the record and the key.
    """
    require_sound_arrays(records)
    return [encoded(_hollow(records), _records_head), *(array.data for array in arrays_of(records))]


def records_from_buffers(buffers: Sequence[bytes]) -> RecordDict:
    """Return the records of buffers from :func:`records_to_buffers`; MalformedError if they have another form."""
    try:
        require_small_in_memory(buffers[0], ProtoRecordDict.DESCRIPTOR)
        records = recorddict_from_proto(ProtoRecordDict.FromString(buffers[0]))
    except MalformedError:
        raise
    except Exception as error:
        raise MalformedError("the content is not a Flower record dictionary") from error
    _fill(records, buffers[1:])
    return records


def _content_head(hollow: RecordDict) -> bytes:
    message = make_message(metadata=_BLANK, content=hollow)
    head: bytes = message_to_proto(message).SerializeToString(deterministic=True)
    require_small_in_memory(head, ProtoMessage.DESCRIPTOR)
    return head


def _records_head(hollow: RecordDict) -> bytes:
    head: bytes = recorddict_to_proto(hollow).SerializeToString(deterministic=True)
    require_small_in_memory(head, ProtoRecordDict.DESCRIPTOR)
    return head


def _error_head(message: Message) -> bytes:
    error = make_message(metadata=_BLANK, error=message.error)
    try:
        head: bytes = message_to_proto(error).SerializeToString(deterministic=True)
    except (TypeError, ValueError) as wrong:
        raise LocalProtocolError(
            "the code or the reason of an error cannot be sent",
            travels=True,
            hint="An error has a number of at most 32 bits and a text in UTF-8.",
        ) from wrong
    return head


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
    places = [(key, name) for key, record in records.items() if isinstance(record, ArrayRecord) for name in record]
    if len(places) != len(buffers):
        raise MalformedError(f"{len(places)} arrays are announced and {len(buffers)} arrived")
    check = ArrayCheck()
    for (key, name), array, data in zip(places, arrays_of(records), buffers, strict=True):
        try:
            check.require_sound(array, data)
        except MalformedError as error:
            raise MalformedError(f"{place(key, name)} is refused: {error}", hint=error.hint, told=error.told) from error
        array.data = data
