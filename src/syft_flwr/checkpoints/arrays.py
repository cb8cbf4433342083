"""Converts the arrays of Flower's two APIs to named NumPy arrays that safetensors can write, and back.

The conversion from Flower does not copy: each array is a view of the ``.npy`` bytes in a record or in ``Parameters``. No
data is ever unpickled.
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
#: The forms in which a strategy or its author may pass arrays.
AnyArrays = ArrayRecord | Parameters | Mapping[str, NDArray[Any]]

#: Types of NumPy that safetensors can write, by NumPy's name. NumPy itself has no bfloat16 and 8-bit floats, and ``.npy``
#: loses them. Few readers support complex numbers.
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
    """Return ``names`` as a tuple.

    Raises:
        ConfigError: a name is not allowed or is listed twice, or ``names`` is a single text.
    """
    if isinstance(names, str):
        raise ConfigError(
            f"names: expected a list of names, got the single text {names!r}", hint="Pass a list, such as ['weight']."
        )
    for name in names:
        _check_name(name)
    if len(set(names)) != len(names):
        twice = next(name for name in names if list(names).count(name) > 1)
        raise ConfigError(f"names: {twice!r} is listed twice", hint="Give each array a name of its own.")
    return tuple(names)


def named(arrays: AnyArrays, names: Sequence[str] | None) -> Arrays:
    """Return the arrays by name, C-contiguous and little-endian. They may be views of ``arrays``.

    Args:
        arrays: a record or a mapping, which have names, or ``Parameters``, which need ``names``.
        names: the names of ``Parameters``, in their order.

    Raises:
        ConfigError: ``names`` are missing or do not fit, ``arrays`` is empty, or an array cannot be written.
    """
    if isinstance(arrays, Parameters):
        found = dict(zip(_names_of(arrays, names), arrays.tensors, strict=True))
        given = {name: _view(name, arrays.tensor_type, data) for name, data in found.items()}
    elif isinstance(arrays, ArrayRecord):
        given = {name: _view(name, array.stype, array.data) for name, array in arrays.items()}
    else:
        given = dict(arrays)
    if not given:
        raise ConfigError("a checkpoint needs at least one array", hint="Pass the arrays of the model.")
    return {name: _writable(name, array) for name, array in given.items()}


def put_in_order(arrays: Arrays, names: Sequence[str] | None, model: Mapping[str, NDArray[Any]]) -> Arrays:
    """Return ``arrays`` in the order of ``names``, after a check that they fit ``model``.

    Args:
        arrays: the arrays of a checkpoint.
        names: the names of the model, in order; None skips the check and keeps the order.
        model: the arrays of the model, to compare the shapes; may be empty.

    Raises:
        ValueError: the names or shapes differ. The text tells the first difference.
    """
    if names is None:
        return dict(arrays)
    if missing := [name for name in names if name not in arrays]:
        raise ValueError(f"it lacks the array {missing[0]!r}")
    if strangers := [name for name in arrays if name not in set(names)]:
        raise ValueError(f"its array {strangers[0]!r} is not in the model")
    for name, array in model.items():
        # An array without elements is a placeholder. Flower's strategies for XGBoost start from one.
        if array.size and array.shape != arrays[name].shape:
            raise ValueError(f"its array {name!r} has the shape {arrays[name].shape}, the model's has {array.shape}")
    return {name: arrays[name] for name in names}


def to_record(arrays: Arrays, *, keep_input: bool = True) -> ArrayRecord:
    """Return a record of ``arrays``. Without ``keep_input``, they are removed one by one, to save memory."""
    record = ArrayRecord()
    for name in list(arrays):
        record[name] = Array(arrays[name] if keep_input else arrays.pop(name))
    return record


def to_parameters(arrays: Arrays) -> Parameters:
    """Return ``arrays`` in the form of the older API, in their order. They are removed one by one, to save memory."""
    return Parameters(tensors=[Array(arrays.pop(name)).data for name in list(arrays)], tensor_type=_STYPE)


def require_names(names: Sequence[str] | None) -> Sequence[str]:
    """Return the names for parameters of the older API; ConfigError if they are not set."""
    if names is None:
        raise ConfigError(
            "names: not set, and parameters of the older API have no names",
            hint="Pass names=[…] to Checkpoints, one for each array, such as the keys of the model's state_dict().",
        )
    return names


def _names_of(parameters: Parameters, names: Sequence[str] | None) -> Sequence[str]:
    names = require_names(names)
    if len(names) != len(parameters.tensors):
        raise ConfigError(f"names: {len(names)} names for {len(parameters.tensors)} arrays", hint="Give one for each.")
    return names


def _check_name(name: str) -> None:
    try:
        encodable = bool(name.encode()) or not name
    except (AttributeError, UnicodeEncodeError):
        encodable = False
    if not encodable or name == _RESERVED:
        raise ConfigError(
            f"{name!r} cannot be the name of an array in a checkpoint",
            hint=f"Use a valid text other than {_RESERVED!r}.",
        )


def _view(name: str, stype: str, data: bytes) -> NDArray[Any]:
    """Return a view of an array in Flower's serialised form, without a copy."""
    try:
        if stype != _STYPE:
            raise ValueError(f"its form is {stype!r}")
        file = BytesIO(data)
        shape, fortran, dtype = _READ_HEADER[np.lib.format.read_magic(file)](file)
        # Checked before the view is made: a view of type object would take any bytes for pointers.
        _check_type(name, dtype)
        if len(data) - file.tell() < dtype.itemsize * prod(shape):
            raise ValueError("it is cut")
    except (ValueError, KeyError) as error:
        raise ConfigError(
            f"{name!r} is not a NumPy array: {error}", hint="Make it with flwr.app.Array(…) from a NumPy array."
        ) from error
    return np.ndarray(shape, dtype, data, file.tell(), order="F" if fortran else "C")


def _writable(name: str, array: NDArray[Any]) -> NDArray[Any]:
    """Return ``array`` in little-endian C order: safetensors writes the raw memory and ignores order and strides."""
    _check_name(name)
    if not isinstance(array, np.ndarray):
        raise ConfigError(
            f"{name!r} is a {type(array).__name__}, not a NumPy array", hint="Convert it with numpy.asarray(…)."
        )
    _check_type(name, array.dtype)
    # ascontiguousarray would turn a scalar into a vector.
    return np.asarray(array, dtype=array.dtype.newbyteorder("<"), order="C")


def _check_type(name: str, dtype: np.dtype[Any]) -> None:
    if dtype.name not in DTYPES:
        raise ConfigError(
            f"{name!r} has the type {dtype.name}, which a checkpoint cannot hold",
            hint=f"Convert it to one of {', '.join(DTYPES)}; bfloat16 fits into float32 without loss.",
        )
