"""The fields of a protobuf are counted before it is parsed: no part is walked twice, and no field is free."""

from collections.abc import Callable

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, MetricRecord, RecordDict

from syft_flwr._messaging.wire.limits import MAX_BUFFERS, MAX_FIELDS
from syft_flwr.config.user_config import MAX_KEYS
from syft_flwr.errors import LocalProtocolError, MalformedError
from syft_flwr.fl_orchestrator.codec import (
    message_from_buffers,
    message_to_buffers,
    records_from_buffers,
    records_to_buffers,
)
from syft_flwr.fl_orchestrator.proto_size import require_small_in_memory
from syft_flwr.fl_orchestrator.request_config import config_to_buffer
from syft_flwr.flower import ProtoMessage, ProtoRecordDict, set_task_identity

MESSAGE, RECORDS = ProtoMessage.DESCRIPTOR, ProtoRecordDict.DESCRIPTOR
#: The tag of a field with a length, by its number.
TAGS = {number: bytes([number << 3 | 2]) for number in range(1, 16)}
#: The tags that lead to a part, and a field inside it.
PLACES = {
    "metadata": ([1], b"\x08\x00"),
    "an error": ([3], b"\x08\x00"),
    "a record": ([2, 1], b"\x0a\x00"),
    "an array": ([2, 1, 2, 1, 2], b"\x12\x00"),
    "a metric": ([2, 1, 3, 1, 2], b"\x18\x00"),
    "a value of a configuration": ([2, 1, 4, 1, 2], b"\x18\x00"),
}
HONEST: dict[str, Callable[[], RecordDict]] = {
    "the most arrays": lambda: RecordDict({"a": ArrayRecord(dict.fromkeys(names(MAX_BUFFERS - 2), array()))}),
    "many metrics": lambda: RecordDict({"m": MetricRecord(dict.fromkeys(names(40_000), 0.5))}),
    "a long list": lambda: RecordDict({"m": MetricRecord({"losses": [0.5] * 1_300_000})}),
    "many texts": lambda: RecordDict({"c": ConfigRecord({"names": ["a"] * (MAX_FIELDS - 100)})}),
}


@pytest.fixture(autouse=True)
def identity() -> None:
    set_task_identity(5, 1)


def names(count: int) -> list[str]:
    return [f"layers.{number}.weight" for number in range(count)]


def array() -> Array:
    return Array(np.zeros((1, 1, 2, 2), np.float32))


def inside(numbers: list[int], content: bytes, *, more: int = 0) -> bytes:
    """Return ``content`` inside of parts. The innermost one announces ``more`` bytes than it has."""
    for number in reversed(numbers):
        size, more = len(content) + more, 0
        content = TAGS[number] + bytes([0x80 | size & 0x7F, 0x80 | size >> 7 & 0x7F, size >> 14]) + content
    return content


def refuse(head: bytes, text: str) -> None:
    with pytest.raises(MalformedError, match=text):
        message_from_buffers([head])
    with pytest.raises(MalformedError, match=text):
        require_small_in_memory(head, MESSAGE)


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("later", [b"", b"\x12\x00" * 50_000])
def test_part_beyond_its_parent_is_refused(place: str, later: bytes) -> None:
    numbers, field = PLACES[place]
    assert require_small_in_memory(inside(numbers, field) + later, MESSAGE) == len(numbers) + 1 + len(later) // 2
    refuse(inside(numbers, field, more=1) + later, "not a Flower message")
    for cut in range(1, len(field)):
        refuse(inside(numbers, field[:-cut]) + later, "not a Flower message")


@pytest.mark.parametrize("field", [b"\x12\x00", b"\x78\x00", b"\x78" + b"\xff" * 9 + b"\x01", b"\x7d1234", b"\x7a\x00"])
def test_each_field_costs_one_step(field: bytes) -> None:
    assert require_small_in_memory(field * 1_000, MESSAGE) == 1_000
    refuse(field * (MAX_FIELDS + 1), "too many small parts")


def test_empty_lists_are_counted_in_each_part() -> None:
    lists = b"\x12\x00" * 1_000
    assert require_small_in_memory(inside(PLACES["an array"][0], lists), MESSAGE) == 1_005
    refuse(inside([2], inside([1, 2, 1, 2], lists) * 200), "too many small parts")


@pytest.mark.parametrize("number", [b"\x80" * 9, b"\x80" * 11 + b"\x01", b""])
def test_number_without_an_end_is_refused(number: bytes) -> None:
    for tag in (b"", b"\x78", b"\x12"):
        if tag + number:
            refuse(tag + number, "not a Flower message")


@pytest.mark.parametrize("kind", HONEST)
def test_largest_honest_message_is_sent_and_read(kind: str) -> None:
    content = HONEST[kind]()
    buffers = message_to_buffers(Message(content, 7, "train"))
    assert message_from_buffers(buffers).content.keys() == content.keys()
    assert require_small_in_memory(buffers[0], MESSAGE) <= MAX_FIELDS
    assert records_from_buffers(records_to_buffers(content)).keys() == content.keys()


def test_largest_run_configuration_has_few_fields() -> None:
    config = config_to_buffer({f"key {number}": "a" * 90 for number in range(MAX_KEYS)})
    assert require_small_in_memory(config, RECORDS) < MAX_FIELDS / 100


@pytest.mark.parametrize("count", [MAX_FIELDS - 100, MAX_FIELDS])
def test_sender_refuses_exactly_what_the_reader_refuses(count: int) -> None:
    content = RecordDict({"c": ConfigRecord({"names": ["a"] * count})})
    is_allowed = count < MAX_FIELDS
    for send in (lambda: message_to_buffers(Message(content, 7, "train")), lambda: records_to_buffers(content)):
        if is_allowed:
            assert send()
        else:
            with pytest.raises(LocalProtocolError, match="key 'names': 200000 values in a list are too many"):
                send()


def test_records_with_too_many_fields_are_refused() -> None:
    with pytest.raises(MalformedError, match="too many small parts"):
        records_from_buffers([b"\x78\x00" * (MAX_FIELDS + 1)])
