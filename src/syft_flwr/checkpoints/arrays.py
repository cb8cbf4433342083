"""Named arrays: what Flower's two APIs hold, as views that safetensors can write, and back.

Nothing is copied on the way out: the arrays of a record or of ``Parameters`` are looked at where they lie, in Flower's own
``.npy`` bytes. Nothing is ever unpickled.
"""

from collections.abc import Mapping, Sequence
from io import BytesIO
from math import prod
from typing import Any

import numpy as np
from flwr.app import Array, ArrayRecord
from numpy.typing import NDArray

from syft_flwr.errors import ConfigError
from syft_flwr.flower import Parameters

Arrays = dict[str, NDArray[Any]]
#: What a strategy or its author may hand over.
AnyArrays = ArrayRecord | Parameters | Mapping[str, NDArray[Any]]

#: NumPy's types that safetensors knows, by NumPy's name. bfloat16 and the 8-bit floats are none of NumPy's own, and
#: ``.npy`` loses them; complex numbers are read back by few.
DTYPES = {
    "bool": "BOOL",
    "int8": "I8",
    "int16": "I16",
    "int32": "I32",
    "int64": "I64",
    "uint8": "U8",
    "uint16": "U16",
    "uint32": "U32",
    "uint64": "U64",
    "float16": "F16",
    "float32": "F32",
    "float64": "F64",
}

_READ_HEADER = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
_STYPE = "numpy.ndarray"
_RESERVED = "__metadata__"


def check_names(names: Sequence[str]) -> tuple[str, ...]:
    """Return ``names``, which are texts and differ from each other.

    Raises:
        ConfigError: they are not.
    """
    if isinstance(names, str):
        raise ConfigError(f"names: expected a list of names, got the single text {names!r}")
    for name in names:
        _check_name(name)
    if len(set(names)) != len(names):
        twice = next(name for name in names if list(names).count(name) > 1)
        raise ConfigError(f"names: {twice!r} stands there twice", hint="Give each array a name of its own.")
    return tuple(names)


def named(arrays: AnyArrays, names: Sequence[str] | None) -> Arrays:
    """Return every array with its name, as C-contiguous little-endian arrays that may be views of ``arrays``.

    Args:
        arrays: a record, or a mapping, which have names; or ``Parameters``, which have none.
        names: those of ``Parameters``, in their order.

    Raises:
        ConfigError: there are no names, or not as many as arrays; or an array cannot be written.
    """
    if isinstance(arrays, Parameters):
        found = dict(zip(_names_of(arrays, names), arrays.tensors, strict=True))
        given = {name: _view(name, arrays.tensor_type, data) for name, data in found.items()}
    elif isinstance(arrays, ArrayRecord):
        given = {name: _view(name, array.stype, array.data) for name, array in arrays.items()}
    else:
        given = dict(arrays)
    if not given:
        raise ConfigError("a checkpoint needs at least one array")
    return {name: _writable(name, array) for name, array in given.items()}


def put_in_order(arrays: Arrays, names: Sequence[str] | None, model: Mapping[str, NDArray[Any]]) -> Arrays:
    """Return ``arrays`` in the order of ``names`` (None: as they are), if they are those of ``model``, as far as it is known.

    Raises:
        ValueError: they are not; the text says what differs.
    """
    if names is None:
        return dict(arrays)
    if missing := [name for name in names if name not in arrays]:
        raise ValueError(f"it lacks the array {missing[0]!r}")
    if strangers := [name for name in arrays if name not in set(names)]:
        raise ValueError(f"its array {strangers[0]!r} is none of the model's")
    for name, array in model.items():
        # One without elements is a placeholder, as Flower's strategies for XGBoost start from.
        if array.size and array.shape != arrays[name].shape:
            raise ValueError(f"its array {name!r} has the shape {arrays[name].shape}, the model's has {array.shape}")
    return {name: arrays[name] for name in names}


def to_record(arrays: Arrays, *, keep_input: bool = True) -> ArrayRecord:
    """Return a record of ``arrays``; without ``keep_input`` they are taken out one by one, to hold the model once."""
    record = ArrayRecord()
    for name in list(arrays):
        record[name] = Array(arrays[name] if keep_input else arrays.pop(name))
    return record


def to_parameters(arrays: Arrays) -> Parameters:
    """Return ``arrays`` as the older API has them, in their order; they are taken out one by one."""
    return Parameters(tensors=[Array(arrays.pop(name)).data for name in list(arrays)], tensor_type=_STYPE)


def _names_of(parameters: Parameters, names: Sequence[str] | None) -> Sequence[str]:
    if names is None:
        raise ConfigError(
            "names: parameters of the older API have no names, and none were given",
            hint="Pass names=[…] to Checkpoints, one for each array, such as the keys of the model's state_dict().",
        )
    if len(names) != len(parameters.tensors):
        raise ConfigError(f"names: {len(names)} names for {len(parameters.tensors)} arrays", hint="Give one for each.")
    return names


def _check_name(name: str) -> None:
    try:
        encodable = bool(name.encode()) or not name
    except (AttributeError, UnicodeEncodeError):
        encodable = False
    if not encodable or name == _RESERVED:
        raise ConfigError(f"{name!r} cannot be the name of an array in a checkpoint", hint="Name it otherwise.")


def _view(name: str, stype: str, data: bytes) -> NDArray[Any]:
    """Look at the array in Flower's serialised form without copying it."""
    try:
        if stype != _STYPE:
            raise ValueError(f"its form is {stype!r}")
        file = BytesIO(data)
        shape, fortran, dtype = _READ_HEADER[np.lib.format.read_magic(file)](file)
        # Before the view is made: one of objects would take any bytes for pointers.
        _check_type(name, dtype)
        if len(data) - file.tell() < dtype.itemsize * prod(shape):
            raise ValueError("it is cut")
    except (ValueError, KeyError) as error:
        raise ConfigError(f"{name!r} is no NumPy array: {error}") from error
    return np.ndarray(shape, dtype, data, file.tell(), order="F" if fortran else "C")


def _writable(name: str, array: NDArray[Any]) -> NDArray[Any]:
    """Return ``array`` as the file has it; safetensors writes raw memory and asks neither for order nor for strides."""
    _check_name(name)
    if not isinstance(array, np.ndarray):
        raise ConfigError(f"{name!r} is a {type(array).__name__}, not a NumPy array")
    _check_type(name, array.dtype)
    # Not ascontiguousarray, which makes a vector of a scalar.
    return np.asarray(array, dtype=array.dtype.newbyteorder("<"), order="C")


def _check_type(name: str, dtype: np.dtype[Any]) -> None:
    if dtype.name not in DTYPES:
        raise ConfigError(
            f"{name!r} has the type {dtype.name}, which a checkpoint cannot hold",
            hint=f"Convert it to one of {', '.join(DTYPES)}; bfloat16 fits into float32 without loss.",
        )
