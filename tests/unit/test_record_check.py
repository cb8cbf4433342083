"""The writer refuses the records that the reader refuses, and names the record and the key."""

from collections.abc import Callable

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, Error, Message, MetricRecord, RecordDict

from syft_flwr._messaging.wire.limits import MAX_BUFFERS
from syft_flwr.errors import LocalProtocolError, MalformedError
from syft_flwr.fl_orchestrator import record_check
from syft_flwr.fl_orchestrator.codec import (
    message_from_buffers,
    message_to_buffers,
    records_from_buffers,
    records_to_buffers,
)
from syft_flwr.flower import set_task_identity


@pytest.fixture(autouse=True)
def identity() -> None:
    set_task_identity(5, 1)


def buffers_of(records: RecordDict) -> list[bytes]:
    return message_to_buffers(Message(records, 7, "train"))


def arrays(**data: bytes) -> ArrayRecord:
    return ArrayRecord({name: Array("", (), "numpy.ndarray", value) for name, value in data.items()})


def with_data(data: object) -> ArrayRecord:
    record = ArrayRecord([np.ones(3)])
    record["0"].data = data  # type: ignore[assignment]
    return record


#: Records that are refused as a part of a message, and the text after the place of the value.
UNSENDABLE: dict[str, tuple[Callable[[], RecordDict], str]] = {
    "many numbers": (
        lambda: RecordDict({"good": MetricRecord({"a": 1}), "m": MetricRecord({"n": 1, "losses": [0.5] * 2_000_000})}),
        "record 'm', key 'losses': 2000000 values in a list are too many for a message; use an array",
    ),
    "many integers": (
        lambda: RecordDict({"c": ConfigRecord({"ids": [5] * 2_000_000})}),
        "record 'c', key 'ids': 2000000 values in a list are too many",
    ),
    "many keys": (
        lambda: RecordDict({"m": MetricRecord({str(number): 1 for number in range(200_000)})}),
        "record 'm': 200000 keys are too many",
    ),
    "many records": (
        lambda: RecordDict({str(number): MetricRecord({"a": 1}) for number in range(60_000)}),
        "and 59999 other records are too many",
    ),
    "many arrays": (
        lambda: RecordDict({"a": arrays(one=b""), "b": arrays(**{f"w{n}": b"" for n in range(MAX_BUFFERS)})}),
        f"record 'b': {MAX_BUFFERS} arrays; a message has at most {MAX_BUFFERS - 2}",
    ),
}
#: Records that are refused in a message and in the state of an app.
UNREADABLE: dict[str, tuple[Callable[[], RecordDict], str]] = {
    "a surrogate": (lambda: RecordDict({"c": ConfigRecord({"x": "\ud800"})}), "record 'c', key 'x': a text cannot be"),
    "a surrogate in a list": (
        lambda: RecordDict({"c": ConfigRecord({"x": ["a", "\ud800"]})}),
        "key 'x': a text cannot",
    ),
    "a surrogate in a key": (
        lambda: RecordDict({"c": ConfigRecord({"a\ud800": 1})}),
        r"key 'a\ud800': the name cannot be",
    ),
    "a surrogate in a name": (lambda: RecordDict({"c\ud800": ConfigRecord()}), r"record 'c\ud800': the name cannot be"),
    "a large integer": (
        lambda: RecordDict({"m": MetricRecord({"x": 1 << 64})}),
        "'m', key 'x': an integer is beyond 64",
    ),
    "a low integer": (lambda: RecordDict({"m": MetricRecord({"x": [0, -(1 << 63) - 1]})}), "an integer is beyond 64"),
    "two signs": (lambda: RecordDict({"m": MetricRecord({"x": [-1, 1 << 63]})}), "a list mixes negative and huge"),
    "a long side": (
        lambda: RecordDict({"a": ArrayRecord({"w": Array("u1", (1 << 31,), "own", b"")})}),
        "record 'a', key 'w': the type, the shape or the kind of the array cannot be sent",
    ),
    "a bad header": (
        lambda: RecordDict({"a": arrays(ok=b"x", w=b"\x93NUMPY")}),
        "key 'w': the reader would refuse it: an array is not in numpy's",
    ),
    "a cut array": (
        lambda: RecordDict({"a": arrays(w=Array(np.ones(3)).data[:-1])}),
        "record 'a', key 'w': the reader would refuse it: an array of 24 bytes is announced and 23 arrived",
    ),
    "a bytearray": (
        lambda: RecordDict({"a": with_data(bytearray(b"x"))}),
        "key '0': the data of an array are not bytes",
    ),
    "a number as data": (lambda: RecordDict({"a": with_data(5)}), "key '0': the data of an array are not bytes"),
}


@pytest.mark.parametrize("kind", UNSENDABLE | UNREADABLE)
def test_unsendable_record_is_refused_by_name(kind: str) -> None:
    make, text = (UNSENDABLE | UNREADABLE)[kind]
    with pytest.raises(LocalProtocolError) as refused:
        buffers_of(make())
    assert text in str(refused.value)
    assert str(refused.value).isprintable()
    assert refused.value.hint


@pytest.mark.parametrize("kind", UNREADABLE)
def test_unreadable_state_is_refused_by_name(kind: str) -> None:
    make, text = UNREADABLE[kind]
    with pytest.raises(LocalProtocolError) as refused:
        records_to_buffers(make())
    assert text in str(refused.value)


def test_list_changed_to_mixed_types_is_refused() -> None:
    records = RecordDict({"m": MetricRecord({"x": [1]})})
    records["m"]["x"].append("secret")  # type: ignore[union-attr, arg-type]
    with pytest.raises(LocalProtocolError) as refused:
        buffers_of(records)
    assert "record 'm', key 'x': a list has values of several types" in str(refused.value)
    assert "secret" not in str(refused.value)


def test_total_of_a_message_is_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(record_check, "MAX_MESSAGE", 1_000)
    assert buffers_of(RecordDict({"a": arrays(x=b"1" * 1_000)}))
    with pytest.raises(LocalProtocolError, match="record 'b': 600 bytes; a message has at most 1000"):
        buffers_of(RecordDict({"a": arrays(x=b"1" * 500), "b": arrays(x=b"1" * 300, y=b"1" * 300)}))


@pytest.mark.parametrize(
    "records",
    [
        RecordDict({"m": MetricRecord({"x": (1 << 64) - 1, "y": -(1 << 63), "z": [0, (1 << 64) - 1]})}),
        RecordDict({"a\0b": ConfigRecord({"x\0": "y\0", "": []}), "": arrays(**{"k\0": b""})}),
        RecordDict({"c": ConfigRecord({"inf": float("inf"), "small": 5e-324, "minus": -0.0, "é": "日本"})}),
        RecordDict({"m": MetricRecord({"x": [0.5] * 1_200_000})}),
        RecordDict({"a": arrays(sparse=b"PK\x03\x04", torch=b"\x80\x02", none=b"", quantised=b"\x01" * 9)}),
        RecordDict({"a": ArrayRecord({"w": Array("float32", (2, 3), "numpy.ndarray", b"encrypted")})}),
        RecordDict({f"record {number}": MetricRecord({"a": 1}) for number in range(1_000)}),
    ],
    ids=["wide integers", "NUL", "floats", "numbers", "opaque arrays", "announced opaque array", "records"],
)
def test_accepted_records_are_read_back_equal(records: RecordDict) -> None:
    assert message_from_buffers(buffers_of(records)).content == records
    assert records_from_buffers(records_to_buffers(records)) == records


def test_refused_buffers_are_refused_by_the_reader() -> None:
    good = buffers_of(RecordDict({"a": arrays(w=b"x")}))
    with pytest.raises(MalformedError):
        message_from_buffers([good[0], b"\x93NUMPY"])


def test_error_that_cannot_be_sent_is_refused() -> None:
    message = Message(RecordDict(), 7, "train")
    for error in (Error(1 << 70, "why"), Error(1, "\ud800")):
        with pytest.raises(LocalProtocolError, match="the code or the reason of an error"):
            message_to_buffers(Message(error, reply_to=message))
