"""Each array that NumPy writes is accepted unchanged, and each header that NumPy must not evaluate is refused."""

import io
import struct
import warnings
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, Message, RecordDict

from syft_flwr.errors import LocalProtocolError, MalformedError
from syft_flwr.fl_orchestrator.array_check import ArrayCheck
from syft_flwr.fl_orchestrator.codec import (
    message_from_buffers,
    message_to_buffers,
    records_from_buffers,
    records_to_buffers,
)
from syft_flwr.flower import set_task_identity

NUMPY = "numpy.ndarray"
STRUCTURED = {
    "flat": [("a", "i4"), ("b", ">f8"), ("c", "?"), ("d", "U3"), ("e", "S3"), ("f", "M8[ns]"), ("g", "m8[25us]")],
    "nested": [("a", "i4"), ("b", [("c", "f8"), ("d", [("e", "S3")])])],
    "aligned": np.dtype([("a", "i1"), ("b", "f8"), ("c", "i2")], align=True),
    "titles": [(("a title", "a"), "i4"), ("b", "f4")],
    "subarrays": [("a", "f4", (2, 3)), ("b", [("x", "i4")], (2,)), ("c", "f4", (0,))],
    "records": np.dtype((np.record, [("a", "f4")])),
    "padding": np.dtype({"names": ["a", "b"], "formats": ["f4", "i2"], "offsets": [4, 12], "itemsize": 32}),
    "odd names": [("it's", "f4"), ("both \" and '", "f4"), ("a\nb", "f4"), ("é", "f4"), ("日本", "f4"), ("\\", "f4")],
    "a name like a header": [("], 'fortran_order': False, 'shape': (1,), }", "f4")],
    "many fields": [(f"column {number}", "f8") for number in range(300)],
    "bfloat16 inside": [("a", ml_dtypes.bfloat16), ("b", "f4")],
    "float8_e5m2 inside": [("a", ml_dtypes.float8_e5m2), ("b", "f4")],
    "void": [("a", "V5")],
}
ML_DTYPES = [
    name for name in dir(ml_dtypes) if isinstance(getattr(ml_dtypes, name), type) and name not in ("finfo", "iinfo")
]


def written(array: "np.ndarray[Any, Any]") -> Array:
    with warnings.catch_warnings():
        # NumPy warns that a name outside Latin-1 needs version 3 of the format.
        warnings.simplefilter("ignore", UserWarning)
        return Array(array)


def accept(array: Array) -> None:
    """Check the array with its announcement, and as a reply of a NumPyClient has it: without one."""
    ArrayCheck().require_sound(array, array.data)
    ArrayCheck().require_sound(Array("", (), NUMPY, array.data), array.data)
    ArrayCheck().require_sound(Array("torch", (9,), "another.kind", array.data), array.data)
    for data in (array.data[:-1], array.data + b"\x00"):
        with pytest.raises(MalformedError, match="bytes is announced"):
            ArrayCheck().require_sound(array, data)


def refuse(data: bytes, match: str, stype: str = NUMPY) -> None:
    with pytest.raises(MalformedError, match=match):
        ArrayCheck().require_sound(Array("", (), stype, data), data)


def npy(descr: str, shape: str = "(1,)", values: bytes = b"", version: bytes = b"\x01\x00") -> bytes:
    header = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}\n".encode()
    return b"\x93NUMPY" + version + struct.pack("<H" if version[0] == 1 else "<I", len(header)) + header + values


@pytest.mark.parametrize("kind", STRUCTURED)
def test_structured_array_is_accepted(kind: str) -> None:
    accept(written(np.zeros((2, 3), STRUCTURED[kind])))


@pytest.mark.parametrize("name", ML_DTYPES)
def test_array_of_ml_dtypes_is_accepted(name: str) -> None:
    array = written(np.zeros((2, 3), getattr(ml_dtypes, name)))
    assert array.dtype == name
    accept(array)
    with pytest.raises(MalformedError, match="and bfloat17 of"):
        ArrayCheck().require_sound(Array("bfloat17", (2, 3), NUMPY, array.data), array.data)


@pytest.mark.parametrize(
    ("dtype", "shape"), [("float64", (3,)), ("[('a', '<f4')]", (3,)), ("float32", (1, 3)), ("float8_e5m2", (3,))]
)
def test_other_announcement_is_refused(dtype: str, shape: tuple[int, ...]) -> None:
    data = written(np.zeros(3, np.float32)).data
    with pytest.raises(MalformedError, match="is announced"):
        ArrayCheck().require_sound(Array(dtype, shape, NUMPY, data), data)


def test_structured_array_is_no_announced_number() -> None:
    data = written(np.zeros(3, [("a", "f4")])).data
    with pytest.raises(MalformedError, match="an array is a structured type of shape"):
        ArrayCheck().require_sound(Array("float32", (3,), NUMPY, data), data)


@pytest.mark.parametrize("stype", [NUMPY, "torch.Tensor", ""])
@pytest.mark.parametrize("data", [b"", b"\x93NUMP", b"PK\x03\x04", b"\x80\x04.", b"12345678", b"\x93numpy\x01\x00"])
def test_other_bytes_are_opaque(stype: str, data: bytes) -> None:
    for dtype, shape in (("", ()), ("float32", (2, 3))):
        array = Array(dtype, shape, stype, data)
        ArrayCheck().require_sound(array, data)
        # As in Flower, an app that takes such bytes for an array gets an exception; an archive has no array yet.
        if stype == NUMPY and not data.startswith(b"PK"):
            with pytest.raises((ValueError, EOFError)):
                array.numpy()


NESTED = "[('a', " * 40 + "'<f4'" + ")]" * 40
BAD_TYPES = {
    "a zero divisor": "'<M8[s/0]'",
    "a zero divisor inside": "[('a', '<f4'), ('b', '<M8[s/0]')]",
    "a zero divisor deep inside": "[('a', [('b', '<m8[D/0]', (2,))])]",
    "objects": "'|O'",
    "objects inside": "[('a', '<f4'), ('b', '|O')]",
    "objects deep inside": "[('a', [('b', '|O')])]",
    "an unknown type": "'<f99'",
    "a subarray as a type": "('<f4', (2,))",
    "a subarray as a part": "[('a', ('<f4', (2,)))]",
    "a subarray that overflows": "[('a', '<f4', (2147483647, 2147483647))]",
    "an empty subarray that overflows": "[('a', '<f4', (0, 2147483647, 2147483647))]",
    "a sum that overflows": "[('a', '<f4', (400000000,)), ('b', '<f4', (400000000,))]",
    "a negative side": "[('a', '<f4', (-1,))]",
    "a side that is a text": "[('a', '<f4', ('1',))]",
    "a side without a tuple": "[('a', '<f4', 3)]",
    "very many brackets": NESTED,
    "more brackets": "[" * 5_000,
    "a name twice": "[('a', '<f4'), ('a', '<f4')]",
    "a title that is a name": "[(('a', 'b'), '<f4'), ('a', '<f4')]",
    "half of a surrogate pair": "[('\\ud800', '<f4')]",
    "an unknown character": "[('\\U00ffffff', '<f4')]",
    "a name that is a number": "[(1, '<f4')]",
    "a field of one part": "[('a',)]",
    "a call": "[('a', '<f4')('b')]",
    "an operator": "[('a', '<f4' + '')]",
    "a sign": "[('a', '<f4', (+1,))]",
    "a name": "[('a', float)]",
    "a dictionary": "[{'a': '<f4'}]",
    "no type": "[('a', '')]",
    "a comment": "[('a', '<f4') # ]",
    "a line break": "[('a',\n '<f4')]",
    "two lists": "[('a', '<f4')], [('a', '<f4')]",
    "an open text": "[('a, '<f4')]",
    "too long": f"[('{'a' * 17_000}', '<f4')]",
}


@pytest.mark.parametrize("stype", [NUMPY, "torch.Tensor"])
@pytest.mark.parametrize("kind", BAD_TYPES)
def test_bad_type_in_a_header_is_refused(kind: str, stype: str) -> None:
    for version in (b"\x01\x00", b"\x02\x00", b"\x03\x00"):
        refuse(npy(BAD_TYPES[kind], values=b"\x00" * 8, version=version), "not in numpy's format|does not know", stype)


def test_bytes_that_are_not_utf8_are_refused() -> None:
    refuse(npy("[('a', '<f4')]", version=b"\x03\x00").replace(b"'a'", b"'\xff'"), "does not know")


def test_many_different_structured_types_are_refused() -> None:
    check = ArrayCheck()
    same = written(np.zeros(1, [(f"column {number}", "f8") for number in range(300)]))
    for _ in range(1_000):
        check.require_sound(same, same.data)

    def check_different() -> None:
        for number in range(100):
            data = npy(f"[('{number:05}{'a' * 16_000}', '|V0')]")
            check.require_sound(Array("", (), NUMPY, data), data)

    with pytest.raises(MalformedError, match="too many different structured types"):
        check_different()


@pytest.mark.parametrize("descr", ["'|V0'", "'<U0'", "[]", "[('a', '<f4', (0,))]"])
def test_items_without_bytes_are_limited(descr: str) -> None:
    data = npy(descr, "(1000,)")
    ArrayCheck().require_sound(Array("", (), NUMPY, data), data)
    refuse(npy(descr, "(999999999999,)"), "too many items without bytes")


def test_items_without_bytes_are_limited_for_a_message() -> None:
    set_task_identity(5, 1)
    data = npy("'<U0'", "(400000,)")
    for count in (2, 3):
        arrays = {str(number): Array("", (), NUMPY, data) for number in range(count)}
        # Spread over several records, because the limit is not for each record.
        content = RecordDict({name: ArrayRecord({name: array}) for name, array in arrays.items()})
        for send, receive in (
            (lambda content: message_to_buffers(Message(content, 7, "train")), message_from_buffers),
            (records_to_buffers, records_from_buffers),
        ):
            if count == 2:
                buffers = send(content)
                assert receive(buffers)
                with pytest.raises(MalformedError, match="arrays are announced"):
                    receive([*buffers, data])
                continue
            with pytest.raises(
                LocalProtocolError, match="record '2', key '2': the reader would refuse it: the arrays have"
            ):
                send(content)
            hollow = RecordDict({name: ArrayRecord({name: Array("", (), NUMPY, b"")}) for name in arrays})
            with pytest.raises(MalformedError, match="too many items without bytes"):
                receive([send(hollow)[0], *[data] * count])


def test_shape_that_numpy_cannot_hold_is_refused() -> None:
    refuse(npy("'<f4'", "(0, 999999999999999999, 999999999999999999)"), "larger than numpy allows")


def test_accepted_structured_array_is_read_by_numpy() -> None:
    for kind, dtype in STRUCTURED.items():
        if kind != "float8_e5m2 inside":
            data = written(np.zeros(2, dtype)).data
            assert np.load(io.BytesIO(data), allow_pickle=False).shape == (2,)
