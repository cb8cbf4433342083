"""Refuses records that their reader would refuse, before anything is sealed or kept. The error names record and key.

The encoding itself finds a wrong value. Only then is the value searched, so that good records cost nothing more.
"""

from collections.abc import Callable, Iterator
from typing import cast

from flwr.app import Array, ArrayRecord, ConfigRecord, MetricRecord, RecordDict

from syft_flwr._messaging.wire.limits import MAX_BUFFERS, MAX_MESSAGE
from syft_flwr.errors import LocalProtocolError, MalformedError
from syft_flwr.fl_orchestrator.array_check import ArrayCheck
from syft_flwr.text import printable

#: Encodes records. An unsendable value makes it raise an exception; the type depends on Flower and on protobuf.
Encode = Callable[[RecordDict], bytes]
Record = ArrayRecord | MetricRecord | ConfigRecord

#: Buffers of a message that are not arrays: its protobuf, and the run configuration of a request.
_OTHER_BUFFERS = 2
_MAX_ARRAYS = MAX_BUFFERS - _OTHER_BUFFERS
#: Characters of a name that an error text shows.
_SHOWN = 60
_HINT = "Correct this value where the app makes the record. Many numbers belong into an array, in an ArrayRecord."


def arrays_of(records: RecordDict) -> Iterator[Array]:
    for record in records.values():
        if isinstance(record, ArrayRecord):
            yield from record.values()


def require_sound_arrays(records: RecordDict) -> None:
    """Raise LocalProtocolError if a reader would refuse an array."""
    check = ArrayCheck()
    for key, record in records.items():
        for name, array in record.items() if isinstance(record, ArrayRecord) else ():
            if not isinstance(array.data, bytes):
                raise _refused(f"{place(key, name)}: the data of an array are not bytes")
            try:
                check.require_sound(array, array.data)
            except MalformedError as error:
                raise _refused(f"{place(key, name)}: the reader would refuse it: {error}") from error


def require_room(records: RecordDict) -> None:
    """Raise LocalProtocolError if the records have too many arrays for one message, or too large ones."""
    arrays = {key: list(record.values()) for key, record in records.items() if isinstance(record, ArrayRecord)}
    if sum(map(len, arrays.values())) > _MAX_ARRAYS:
        key = max(arrays, key=lambda key: len(arrays[key]))
        text = f"{place(key)}: {len(arrays[key])} arrays; a message has at most {_MAX_ARRAYS}"
        raise _refused(text, hint="Send fewer, larger arrays in one message.")
    sizes = {key: sum(len(array.data) for array in values) for key, values in arrays.items()}
    if sum(sizes.values()) > MAX_MESSAGE:
        key = max(sizes, key=lambda key: sizes[key])
        text = f"{place(key)}: {sizes[key]} bytes; a message has at most {MAX_MESSAGE}"
        raise _refused(text, hint="Send fewer or smaller arrays in one message.")


def encoded(records: RecordDict, encode: Encode) -> bytes:
    """Return ``encode(records)``, for records without the bytes of arrays; LocalProtocolError if that fails."""
    try:
        return encode(records)
    except MalformedError as error:
        raise _refused(_largest(records)) from error
    except Exception as error:
        raise _refused(_first_wrong(records, encode)) from error


def _refused(text: str, hint: str = _HINT) -> LocalProtocolError:
    # The names of the records of a reply are for its reader, and no text has a value.
    return LocalProtocolError(text, hint=hint, travels=True)


def _largest(records: RecordDict) -> str:
    """Describe the largest part of records that have too many small parts for the memory of their reader."""
    sizes = {key: {name: _numbers(value) for name, value in record.items()} for key, record in records.items()}
    key = max(sizes, key=lambda key: sum(sizes[key].values()))
    name = max(sizes[key], key=lambda name: sizes[key][name], default="")
    total = sum(sum(record.values()) for record in sizes.values())
    if 2 * sizes[key].get(name, 0) > total:
        return f"{place(key, name)}: {sizes[key][name]} values in a list are too many for a message; use an array"
    if 2 * len(sizes[key]) > sum(map(len, sizes.values())):
        return f"{place(key)}: {len(sizes[key])} keys are too many for a message; use an array"
    return f"record '{_shown(key)}' and {len(records) - 1} other records are too many for a message; use an array"


def _numbers(value: object) -> int:
    return len(value.shape) if isinstance(value, Array) else len(value) if isinstance(value, list) else 1


def _first_wrong(records: RecordDict, encode: Encode) -> str:
    for key, record in records.items():
        if not _is_utf8(key):
            return f"{place(key)}: the name cannot be written in UTF-8"
        for name, value in record.items():
            if not _is_utf8(name):
                return f"{place(key, name)}: the name cannot be written in UTF-8"
            kind = cast("Callable[[dict[str, object]], Record]", type(record))
            if not _is_sendable(kind, key, name, value, encode):
                return f"{place(key, name)}: {_what_is_wrong(value)}"
    return "the records together are too large for protobuf; send fewer texts and bytes outside arrays"


def _is_sendable(
    kind: Callable[[dict[str, object]], Record], key: str, name: str, value: object, encode: Encode
) -> bool:
    try:
        # A value that was changed inside its record may not pass the check of a new record.
        encode(RecordDict({key: kind({name: value})}))
    except Exception:  # noqa: BLE001 - see encoded()
        return False
    return True


def _what_is_wrong(value: object) -> str:
    """Return the reason without the value, which may be private and long."""
    if isinstance(value, Array):
        return "the type, the shape or the kind of the array cannot be sent; a side has at most 2147483647 items"
    values = value if isinstance(value, list) else [value]
    if not all(-(1 << 63) <= one < 1 << 64 for one in values if isinstance(one, int)):
        return "an integer is beyond 64 bits"
    if not all(_is_utf8(one) for one in values if isinstance(one, str)):
        return "a text cannot be written in UTF-8"
    if len({type(one) for one in values}) > 1:
        return "a list has values of several types"
    # A list of integers is signed or unsigned.
    return f"a value of type {type(values[0]).__name__} is not allowed here, or a list mixes negative and huge integers"


def _is_utf8(text: str) -> bool:
    return not any("\ud800" <= character <= "\udfff" for character in text)


def place(key: object, name: object = None) -> str:
    """Return the text for a record, or for one of its keys. It is one line, with few characters of each name."""
    record = f"record '{_shown(key)}'"
    return record if name is None else f"{record}, key '{_shown(name)}'"


def _shown(name: object) -> str:
    text = str(name)
    return printable(text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…")
