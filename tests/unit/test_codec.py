"""Conversion of Flower's messages and records to buffers and back, and refusal of invalid buffers."""

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, Error, Message, MetricRecord, RecordDict

from syft_flwr.errors import MalformedError
from syft_flwr.fl_orchestrator.codec import (
    message_from_buffers,
    message_to_buffers,
    records_from_buffers,
    records_to_buffers,
)
from syft_flwr.flower import ProtoRecordDict, set_task_identity


def _records() -> RecordDict:
    arrays = ArrayRecord([np.arange(6, dtype=np.float32).reshape(2, 3), np.zeros((0, 4)), np.array(1.5)])
    return RecordDict(
        {
            "arrays": arrays,
            "config": ConfigRecord({"lr": 0.1, "names": ["a", "b"], "blob": b"\x00\xff", "flag": True}),
            "more": ArrayRecord({"w": Array("bfloat16", (2,), "other.format", b"1234")}),
            "metrics": MetricRecord({"loss": 1.0, "counts": [1, 2]}),
        }
    )


def test_records_round_trip_in_order() -> None:
    records = _records()
    again = records_from_buffers(records_to_buffers(records))
    assert list(again) == list(records)
    assert again == records


def test_array_bytes_are_not_copied_into_protobuf() -> None:
    records = _records()
    head, *buffers = records_to_buffers(records)
    arrays = [array for record in records.array_records.values() for array in record.values()]
    assert [id(buffer) for buffer in buffers] == [id(array.data) for array in arrays]
    assert arrays[0].data not in head
    assert records["arrays"]["0"].data == arrays[0].data, "the original keeps its bytes"


def test_messages_and_errors_round_trip() -> None:
    set_task_identity(5, 1)
    message = Message(_records(), 7, "train", group_id="3")
    again = message_from_buffers(message_to_buffers(message), message.metadata)
    assert again.content == message.content
    assert again.metadata.group_id == "3"
    failed = message_from_buffers(message_to_buffers(Message(Error(2, "why"), reply_to=message)))
    assert failed.error == Error(2, "why")


def test_message_omits_run_time_and_recipient() -> None:
    set_task_identity((1 << 62) + 5, 1)
    message = Message(_records(), (1 << 62) + 7, "train.secret", group_id="group-3", ttl=12_345.5)
    for sent in (message, Message(Error(2, "why"), reply_to=message)):
        metadata = message_from_buffers(message_to_buffers(sent)).metadata
        numbers = (metadata.run_id, metadata.src_node_id, metadata.dst_node_id, metadata.created_at, metadata.ttl)
        assert numbers == (0, 0, 0, 0.0, 0.0)
        texts = (metadata.message_id, metadata.group_id, metadata.reply_to_message_id, metadata.message_type)
        assert texts == ("", "", "", "query")


def test_equal_content_gives_equal_buffers() -> None:
    set_task_identity(5, 1)
    first = Message(_records(), 7, "train", group_id="3", ttl=60.0)
    set_task_identity(6, 1)
    second = Message(_records(), 8, "evaluate", group_id="4", ttl=90.0)
    assert message_to_buffers(first) == message_to_buffers(second)
    why = Error(2, "why")
    replies = [Message(why, reply_to=message) for message in (first, second)]
    assert message_to_buffers(replies[0]) == message_to_buffers(replies[1])
    assert message_to_buffers(replies[0]) != message_to_buffers(Message(Error(2, "what"), reply_to=first))


@pytest.mark.parametrize("count", [0, 3, 5])
def test_wrong_number_of_arrays_is_refused(count: int) -> None:
    head, *buffers = records_to_buffers(_records())
    with pytest.raises(MalformedError, match="arrays are announced"):
        records_from_buffers([head, *(buffers * 2)[:count]])


@pytest.mark.parametrize(
    "data",
    [
        Array(np.arange(6, dtype=np.float32).reshape(3, 2)).data,
        Array(np.arange(6, dtype=np.float64).reshape(2, 3)).data,
        Array(np.arange(6, dtype=np.float32).reshape(2, 3)).data[:-1],
        Array(np.arange(6, dtype=np.float32).reshape(2, 3)).data + b"\x00",
        b"\x93NUMPY\x01\x00\x10\x00{'descr': '|O', }",
        b"\x93NUMPY",
    ],
    ids=["other shape", "other type", "cut", "longer", "objects", "no header"],
)
def test_array_unlike_its_record_is_refused(data: bytes) -> None:
    head, _, *rest = records_to_buffers(_records())
    with pytest.raises(MalformedError):
        records_from_buffers([head, data, *rest])


def test_invalid_message_bytes_are_refused() -> None:
    for buffers in ([], [b"\xff\xff\xff"]):
        with pytest.raises(MalformedError):
            message_from_buffers(buffers)
        with pytest.raises(MalformedError):
            records_from_buffers(buffers)


def test_metric_without_a_type_is_refused() -> None:
    record = ProtoRecordDict()
    item = record.items.add(key="metrics")
    item.metric_record.items.add(key="loss").value.SetInParent()
    with pytest.raises(MalformedError):
        records_from_buffers([record.SerializeToString()])
