"""Checks the bytes of arrays in NumPy's format (NEP 1), before NumPy evaluates their header.

NumPy's reader evaluates the header as Python and builds each type in it. This can raise any exception, and
``'<M8[s/0]'`` ends the process (a division by zero). So only headers in the form of NumPy's writer pass, and only types
of known forms. NumPy reads bytes with another beginning as no array, so they are opaque here, as in Flower.
"""

import ast
import math
import re
from collections.abc import Iterable
from functools import lru_cache
from typing import NoReturn

from flwr.app import Array

from syft_flwr.errors import MalformedError
from syft_flwr.text import printable

#: Flower's name for arrays in the format of NumPy (``flwr.common.constant.SType``).
_NUMPY = "numpy.ndarray"
_MAGIC = b"\x93NUMPY"
#: For each version of the format: the bytes of the length of the header, and the encoding of its text.
_VERSIONS = {b"\x01\x00": (2, "latin-1"), b"\x02\x00": (4, "latin-1"), b"\x03\x00": (4, "utf-8")}
_MAX_HEADER = 16_384
#: Bytes of the different structured types of one message, and those that each type adds. To check them takes 0.3 s.
_MAX_STRUCTURED, _A_TYPE = 512 << 10, 32
_PLAIN = r"[<>|](?:b1|[iufcW][1-9]\d?|[SUV]\d{1,6}|[mM]8(?:\[(?:[1-9]\d{0,5})?(?:Y|M|W|D|h|m|s|[munpfa]s)\])?)"
_HEADER = re.compile(
    rb"\{'descr': (?:'(?P<plain>%(plain)s)'|(?P<fields>\[.*\])), 'fortran_order': (?:False|True), "
    rb"'shape': \((?P<shape>(?:|%(n)s,|%(n)s(?:, %(n)s){1,63}+))\), \} *+\n"
    % {b"plain": _PLAIN.encode(), b"n": rb"(?:0|[1-9]\d{0,17}+)"},
    re.DOTALL,
)
_PLAIN_TYPE = re.compile(_PLAIN)
#: A token of a structured type, as Python writes it: a bracket, a number, or a text in quotes.
_ESCAPE = r"\\(?:[\\'\"nrt]|x[0-9a-f]{2}|u[0-9a-f]{4}|U[0-9a-f]{8})"
_TOKEN = re.compile(rf"[\[\](), ]|\d{{1,10}}|'(?:[^'\\\x00-\x1f]|{_ESCAPE})*'|\"(?:[^\"\\\x00-\x1f]|{_ESCAPE})*\"")
#: Brackets inside each other. A type inside a type needs two.
_DEEPEST = 32
#: NumPy's limits for one item of an array, and for a whole array.
_MAX_ITEM, _MAX_ARRAY = 1 << 31, 1 << 63
#: An item can have no bytes, so a short file could hold any number of them. The limit is for all arrays of a message.
_MOST_EMPTY_ITEMS = 1_000_000
#: The types of ml_dtypes with the size of an item. NumPy's header names only this size.
_ML_DTYPES = {
    "bfloat16": 2,
    "bcomplex32": 4,
    "complex32": 4,
    **dict.fromkeys(("int1", "int2", "int4", "uint1", "uint2", "uint4"), 1),
    **dict.fromkeys(("float4_e2m1fn", "float6_e2m3fn", "float6_e3m2fn", "float8_e3m4", "float8_e4m3"), 1),
    **dict.fromkeys(("float8_e4m3b11", "float8_e4m3b11fnuz", "float8_e4m3fn", "float8_e4m3fnuz"), 1),
    **dict.fromkeys(("float8_e5m2", "float8_e5m2fnuz", "float8_e8m0fnu"), 1),
}
#: The codes of some of these types, which NumPy writes and cannot read.
_WRITTEN_ONLY = {"f1", "W4"}
#: The texts of structured types and records begin with these. They differ before and after a file, so are not compared.
_STRUCTURED = ("[", "{", "(")
#: Characters of an announced value that an error text shows.
_SHOWN = 60


class ArrayCheck:
    """Checks the arrays of one message or one record dictionary."""

    def __init__(self) -> None:
        #: The size of an item for each structured type so far. Arrays often share a type.
        self._structured: dict[tuple[bytes, str], int] = {}
        self._room = _MAX_STRUCTURED
        self._empty_items = _MOST_EMPTY_ITEMS

    def require_sound(self, array: Array, data: bytes) -> None:
        """Raise MalformedError if ``data`` is in NumPy's format and wrong, or not what ``array`` announces.

        Type and shape are compared only if both are announced, and only for arrays of NumPy. Nothing is copied.
        """
        if not data.startswith(_MAGIC):
            return
        found, start, encoding = _header_of(data)
        shape = _shape_of(found)
        if plain := found["plain"]:
            size, names = _plain_type(plain.decode())
        else:
            size, names = self._structured_size(found["fields"], encoding), ("a structured type",)
        if array.stype == _NUMPY and array.dtype:
            is_announced = array.dtype in names if plain else array.dtype.startswith(_STRUCTURED)
            if not is_announced or shape != tuple(array.shape):
                said = f"{printable(array.dtype, _SHOWN)} of {str(tuple(array.shape))[:_SHOWN]}"
                raise MalformedError(f"an array is {names[0]} of shape {str(shape)[:_SHOWN]}, and {said} is announced")
        _require_size(shape, size, len(data) - start)
        if not size:
            self._empty_items -= math.prod(shape)
            if self._empty_items < 0:
                raise MalformedError("the arrays have too many items without bytes")

    def _structured_size(self, fields: bytes, encoding: str) -> int:
        known = self._structured.get((fields, encoding))
        if known is None:
            self._room -= len(fields) + _A_TYPE
            if self._room < 0:
                raise MalformedError("the arrays have too many different structured types")
            known = self._structured[fields, encoding] = _structured_size(fields, encoding)
        return known


def form_of(array: Array) -> tuple[str, tuple[int, ...] | None]:
    """Return the type and the shape in the header of a sound array. Opaque bytes have no shape."""
    if not array.data.startswith(_MAGIC):
        return "opaque bytes", None
    found, _, _ = _header_of(array.data)
    name = _plain_type(found["plain"].decode())[1][0] if found["plain"] else "a structured type"
    return name, _shape_of(found)


def layout_of(array: Array) -> tuple[tuple[int, ...], int] | None:
    """Return the shape and the bytes of an item of a sound array, by its header. Opaque bytes have none."""
    if not array.data.startswith(_MAGIC):
        return None
    found, start, _ = _header_of(array.data)
    shape = _shape_of(found)
    return shape, (len(array.data) - start) // max(math.prod(shape), 1)


def _shape_of(header: "re.Match[bytes]") -> tuple[int, ...]:
    return tuple(map(int, header["shape"].replace(b",", b" ").split()))


def _require_size(shape: tuple[int, ...], size: int, arrived: int) -> None:
    """Raise MalformedError unless an array of this shape, with items of ``size`` bytes, has ``arrived`` bytes."""
    items = math.prod(shape)
    if math.prod(max(number, 1) for number in shape) * max(size, 1) >= _MAX_ARRAY:
        raise MalformedError("an array is larger than numpy allows")
    if arrived != items * size:
        raise MalformedError(f"an array of {items * size} bytes is announced and {arrived} arrived")


def _header_of(data: bytes) -> tuple["re.Match[bytes]", int, str]:
    """Return the parts of the header, the position after it, and the encoding of its text."""
    length, encoding = _VERSIONS.get(data[6:8], (0, ""))
    start = 8 + length
    end = start + int.from_bytes(data[8:start], "little")
    found = _HEADER.fullmatch(data, start, end) if length and end <= min(len(data), start + _MAX_HEADER) else None
    if found is None:
        raise MalformedError("an array is not in numpy's format")
    return found, end, encoding


@lru_cache(maxsize=1024)
def _plain_type(descr: str) -> tuple[int, tuple[str, ...]]:
    """Return the size of an item of a plain type, and the names under which the type may be announced."""
    import numpy as np

    code = descr[1:]
    if code in _WRITTEN_ONLY:
        size, names = int(code[1:]), [descr]
    else:
        try:
            dtype = np.dtype(descr)
        except (ValueError, TypeError):
            _refuse_type()
        size, names = dtype.itemsize, [str(dtype)]
    if code[0] == "V" or code in _WRITTEN_ONLY:
        names += [descr, *(name for name, bytes_of_it in _ML_DTYPES.items() if bytes_of_it == size)]
    return size, tuple(names)


def _structured_size(text: bytes, encoding: str) -> int:
    """Return the size of an item of a structured type, which NumPy knows or can write."""
    from numpy.lib.format import descr_to_dtype

    try:
        descr = text.decode(encoding)
        _require_shallow(descr)
        fields = ast.literal_eval(descr)
    except (ValueError, SyntaxError):
        _refuse_type()
    size = _size_of(fields)
    if not _is_readable(fields):
        # NumPy's reader raises an exception for it, and Flower carries it.
        return size
    try:
        dtype = descr_to_dtype(fields)
    except (ValueError, TypeError):
        _refuse_type()
    if dtype.itemsize != size or dtype.hasobject:
        _refuse_type()
    return size


def _require_shallow(text: str) -> None:
    """Raise MalformedError unless ``text`` has only tokens of a type, and few brackets inside each other.

    Python's own parser can overflow the stack of the process.
    """
    at = depth = 0
    while at < len(text):
        token = _TOKEN.match(text, at)
        if token is None:
            _refuse_type()
        depth += (token[0] in ("[", "(")) - (token[0] in ("]", ")"))
        if depth > _DEEPEST:
            _refuse_type()
        at = token.end()


def _size_of(descr: object) -> int:
    """Return the size of an item of this type, which is the text of a plain type or a list of fields."""
    if isinstance(descr, str) and _PLAIN_TYPE.fullmatch(descr):
        return _plain_type(descr)[0]
    if not isinstance(descr, list):
        _refuse_type()
    size = sum(map(_size_of_field, descr))
    return size if size < _MAX_ITEM else _refuse_type()


def _size_of_field(field: object) -> int:
    """Return the size of a field: its name, or a title and its name; its type; and the shape if it is an array."""
    if not isinstance(field, tuple) or len(field) not in (2, 3):
        _refuse_type()
    names = field[0] if isinstance(field[0], tuple) and len(field[0]) == 2 else (field[0],)
    shape = field[2] if len(field) == 3 else ()
    if not all(map(_is_text, names)) or not isinstance(shape, tuple) or not _is_shape(shape):
        _refuse_type()
    return _size_of(field[1]) * math.prod(shape)


def _is_readable(descr: object) -> bool:
    """Return whether NumPy's reader knows all plain types in a type that has a size."""
    if isinstance(descr, list):
        return all(_is_readable(field[1]) for field in descr)
    return str(descr)[1:] not in _WRITTEN_ONLY


def _is_text(name: object) -> bool:
    """Return whether ``name`` is text that can be printed and written: no half of a surrogate pair."""
    return isinstance(name, str) and not any("\ud800" <= character <= "\udfff" for character in name)


def _is_shape(shape: Iterable[object]) -> bool:
    numbers = [number for number in shape if isinstance(number, int)]
    return len(numbers) == len(list(shape)) and math.prod(max(number, 1) for number in numbers) < _MAX_ITEM


def _refuse_type() -> NoReturn:
    raise MalformedError("an array has a type that numpy does not know")
