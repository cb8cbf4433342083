"""Hostile arrays and message heads.

NumPy evaluates the header of an array as Python text, and a small protobuf can expand to a large structure.
"""

import io
import struct
import subprocess
import sys
import textwrap
from collections.abc import Callable, Sequence

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, Message, RecordDict
from hostile.invariants import MEMORY, Guarded, bounded_memory, can_measure, release
from hypothesis import example, given, settings
from hypothesis import strategies as st

from syft_flwr.errors import MalformedError
from syft_flwr.fl_orchestrator.codec import message_from_buffers, message_to_buffers
from syft_flwr.flower import ProtoMessage, ProtoRecordDict, set_task_identity

deterministic = settings(derandomize=True, max_examples=200)
NUMPY = "numpy.ndarray"
#: Longer than the headers that NumPy accepts.
LONG = 9_000


def npy(text: str, values: bytes = b"abcd", version: tuple[int, int] = (1, 0)) -> bytes:
    """Return bytes in the npy format with any header."""
    header = text.encode("latin-1")
    return (
        b"\x93NUMPY" + bytes(version) + struct.pack("<H" if version == (1, 0) else "<I", len(header)) + header + values
    )


def described(descr: str = "'<f4'", shape: str = "(1,)", order: str = "False") -> str:
    return f"{{'descr': {descr}, 'fortran_order': {order}, 'shape': {shape}, }}\n"


def message_of(data: bytes, dtype: str = "float32", shape: Sequence[int] = (1,), stype: str = NUMPY) -> list[bytes]:
    """Return the buffers of a message with one array and the given dtype and shape. The writer would refuse bad data."""
    set_task_identity(5, 1)
    content = RecordDict({"arrays": ArrayRecord({"0": Array(dtype, tuple(shape), stype, b"")})})
    return [message_to_buffers(Message(content, 7, "train"))[0], data]


def read_back(buffers: Sequence[bytes]) -> Array | None:
    """Return the array of a message, or None if it is refused; NumPy must read an accepted one as announced."""
    message = Guarded(expected=MalformedError)(message_from_buffers, buffers)
    if message is None:
        return None
    (array,) = message.content.array_records["arrays"].values()
    if array.data.startswith(b"\x93NUMPY"):
        found = np.load(io.BytesIO(array.data), allow_pickle=False)
        if array.dtype:
            assert (str(found.dtype), found.shape) == (array.dtype, tuple(array.shape))
    return array


@pytest.mark.parametrize(
    "array",
    [
        np.arange(6, dtype=np.float32).reshape(2, 3),
        np.asfortranarray(np.arange(6).reshape(2, 3)),
        np.zeros((0, 4), np.float16),
        np.array(1.5),
        np.array([True, False]),
        np.array([1 + 2j]),
        np.array([b"ab", b""]),
        np.array(["é", "bc"]),
        np.arange(3, dtype=">i2"),
        np.array(["2030-01-01"], dtype="M8[ns]"),
        np.array([5], dtype="m8[25us]"),
        np.zeros((1,) * 32, np.uint8),
        np.zeros(2, [("a", "i4"), ("b", [("c", "f8", (2,)), ("d", "S3")])]),
        np.zeros(2, [(("title", "it's"), "M8[us]"), ("é", ">i2")]),
    ],
    ids=str,
)
def test_numpy_arrays_are_read_unchanged(array: "np.ndarray[tuple[int, ...], np.dtype[np.generic]]") -> None:
    data = Array(array).data
    back = read_back(message_of(data, str(array.dtype), array.shape))
    assert back is not None
    assert back.data == data


HEADERS = {
    "very many signs": "-" * LONG + "1",
    "a very long sum": "1" + "+1" * (LONG // 2),
    "very many powers": "1" + "**1" * (LONG // 3),
    "very many attributes": "a" + ".a" * (LONG // 2),
    "very many calls": "a" + "()" * (LONG // 2),
    "very many brackets": "(" * LONG,
    "no type": described("()"),
    "a type of one part": described("('<f4',)"),
    "a type of None": described("None"),
    "a shape of too many digits": described(shape="(0x" + "f" * LONG + ",)"),
    "a shape of many numbers": described(shape=f"({', '.join(['9' * 18] * 64)})"),
    "objects": described("'|O'"),
    "a type of objects": described("[('a', '<f4'), ('b', '|O')]"),
    "very many brackets in a type": described("[" * LONG),
    "very many types in types": described("[('a', " * 1_000 + "'<f4'" + ")]" * 1_000),
    "very many fields": described("[" + ", ".join(f"('{number}', '|u1')" for number in range(1_000)) + "]"),
    "a subarray that overflows": described("[('a', '<f4', (2147483647, 2147483647))]"),
    "an empty subarray that overflows": described("[('a', '<f4', (0, 2147483647, 2147483647))]"),
    "a name that is half a character": described("[('\\ud800', '<f4')]"),
    "a name that ends the header": described("[(\"'), ], 'fortran_order': False, 'shape': (1,), }\", '<f4')]"),
    "a type of types": described("('<f4', (0x7fffffff, 0x7fffffff))"),
    "a negative shape": described(shape="(-1, -4)"),
    "a type of no bytes": described("'|V0'", "(0x7fffffffffffffff,)"),
    "a boolean shape": described(shape="(True,)"),
    "a shape of Python 2": described(shape="(1L,)"),
    "an invalid escape sequence": described("'\\d'"),
    "a key that cannot be hashed": "{[]: 1}",
    "no dictionary": "1",
    "an empty header": "",
}


@pytest.mark.parametrize("header", HEADERS)
def test_hostile_array_header_is_refused_or_read_right(header: str) -> None:
    for version in ((1, 0), (2, 0), (3, 0), (9, 9)):
        for dtype, shape in (("float32", (1,)), ("float32", (-1, -4)), ("float32", (1 << 30,)), ("", ())):
            read_back(message_of(npy(HEADERS[header], version=version), dtype, shape))


TOKENS = st.sampled_from(
    (
        *("'<f4'", "'|O'", "'<M8[s]'", "'descr'", "'shape'", "'fortran_order'", "{", "}", "(", ")", "[", "]", ",", ":"),
        *("1", "-", "+", "0x", "L", "True", "None", " ", "\n", "'", "\\", "#", "1e9", "'a'", "(1,)", "lambda:", "**"),
        *("if", "é"),
    )
)
#: Parts of structured types, hostile and harmless.
FIELDS = st.sampled_from(
    (
        *("[", "]", "(", ")", ", ", "[('a', '<f4')]", "('b', '<i2')", "('', '|V4')", "(('t', 'c'), 'x')", "'|V0'"),
        *("'a'", '"it\'s"', "'<f4'", "'>M8[s]'", "'<M8[s/0]'", "'|O'", "(2, 3)", "(0,)", "(2147483647,)", "'\\ud800'"),
    )
)


@deterministic
@given(st.lists(TOKENS, max_size=30).map("".join), st.sampled_from([(1, 0), (2, 0), (3, 0)]), st.binary(max_size=8))
@example(described(), (1, 0), b"abcd")
def test_header_of_python_tokens_is_refused_or_read_right(text: str, version: tuple[int, int], values: bytes) -> None:
    read_back(message_of(npy(text, values, version)))


@deterministic
@given(
    st.sampled_from(["'<f4'", "'>f4'", "'|b1'", "'<M8[3D]'", "('<f4', (2,))", "[('a', '<i2'), ('b', '<i2')]", "'f'"]),
    st.lists(st.integers(-2, 3), max_size=3).map(tuple),
    st.sampled_from(["False", "True", "1", "None"]),
    st.binary(max_size=24),
)
@example("'<f4'", (1,), "False", b"abcd")
def test_accepted_array_matches_its_announcement(descr: str, shape: tuple[int, ...], order: str, values: bytes) -> None:
    read_back(message_of(npy(described(descr, str(shape), order), values), shape=shape))


@deterministic
@given(st.lists(FIELDS, max_size=12).map("".join), st.binary(max_size=16))
@example("[('a', '<f4')]", b"abcd")
@example("[('a', '<M8[s/0]')]", b"abcdefgh")
def test_header_of_fields_is_refused_or_read_right(text: str, values: bytes) -> None:
    try:
        array = message_from_buffers(message_of(npy(described(text), values), ""))
    except MalformedError:
        return
    (found,) = array.content.array_records["arrays"].values()
    assert np.load(io.BytesIO(found.data), allow_pickle=False).shape == (1,)


#: Reads one array as NumPy's and as PyTorch's, with and without an announced dtype.
_DEADLY = """
    import sys
    sys.path[:0] = {folders!r}
    from test_arrays import described, message_of, npy
    from syft_flwr.errors import MalformedError
    from syft_flwr.fl_orchestrator.codec import message_from_buffers

    for stype in ("numpy.ndarray", "torch.Tensor"):
        for dtype in ("float32", ""):
            try:
                head, _ = message_of(b"", dtype, stype=stype)
                message = message_from_buffers([head, npy(described({descr!r}))])
                message.content.array_records["arrays"]["0"].numpy()
            except MalformedError:
                print("refused")
"""


@pytest.mark.parametrize(
    "descr",
    ["'<M8[s/0]'", "'<m8[D/0]'", "[('a', '<M8[s/0]')]", "[('a', [('b', '<M8[s/0]', (2,))])]", "[" * 9_000],
    ids=["a time", "a difference", "in a field", "in a field of a field", "brackets"],
)
def test_header_that_ends_the_reader_is_refused(descr: str, request: pytest.FixtureRequest) -> None:
    folders = [str(request.path.parent), str(request.path.parents[2] / "fuzz")]
    script = textwrap.dedent(_DEADLY.format(folders=folders, descr=descr))
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (0, "refused\n" * 4), "the reading process died"


@pytest.mark.parametrize(
    "announced",
    [
        ("float32\nERROR all data was lost", (1,)),
        ("\x1b[2J", (1,)),
        ("f" * 100_000, (1,)),
        ("float32", tuple(range(1, 100_000))),
    ],
    ids=["a second line", "a terminal's commands", "a long name", "a long shape"],
)
def test_error_about_an_array_is_one_short_line(announced: tuple[str, tuple[int, ...]]) -> None:
    assert read_back(message_of(Array(np.ones(1, np.float32)).data, *announced)) is None


def folded(field: int, content: bytes) -> bytes:
    """Return a protobuf field with ``content``."""
    size, length = len(content), b""
    while size > 0x7F:
        length, size = length + bytes([size & 0x7F | 0x80]), size >> 7
    return bytes([field << 3 | 2]) + length + bytes([size]) + content


def head_of(records: bytes) -> bytes:
    """Return the protobuf of a message with these bytes as its content."""
    set_task_identity(5, 1)
    whole = ProtoMessage.FromString(message_to_buffers(Message(RecordDict(), 7, "train"))[0])
    whole.ClearField("content")
    return bytes(whole.SerializeToString()) + folded(ProtoMessage.DESCRIPTOR.fields_by_name["content"].number, records)


def record(kind: str, content: bytes) -> bytes:
    item = ProtoRecordDict.DESCRIPTOR.fields_by_name["items"].message_type
    key, value = item.fields_by_name["key"].number, item.fields_by_name[kind].number
    return folded(ProtoRecordDict.DESCRIPTOR.fields_by_name["items"].number, folded(key, b"k") + folded(value, content))


#: Bytes that fit into an envelope. A head in an object can be larger.
ROOM = 3_800_000
#: Field 1 holds the items of a record and of a record dictionary.
#: In an array's item, field 2 is the array, and field 2 of the array is its shape.
HEADS: dict[str, Callable[[], bytes]] = {
    "empty records": lambda: head_of(folded(1, b"") * (ROOM // 2)),
    "empty metrics": lambda: head_of(record("metric_record", folded(1, b"") * (ROOM // 2))),
    "empty settings": lambda: head_of(record("config_record", folded(1, b"") * (ROOM // 2))),
    "a shape of two million": lambda: head_of(
        record("array_record", folded(1, folded(2, folded(2, b"\xff\x7f" * (ROOM // 2)))))
    ),
}


@pytest.mark.skipif(not can_measure(), reason="this system does not report the peak memory of a process")
@pytest.mark.parametrize("head", HEADS)
def test_message_head_stays_within_memory_limit(head: str) -> None:
    data = HEADS[head]()
    read_back(message_of(Array(np.ones(1, np.float32)).data))
    release()
    with bounded_memory(MEMORY):
        Guarded(expected=MalformedError)(message_from_buffers, [data])
