"""Arrays and their names: a checkpoint returns them bit by bit, or refuses them with their name."""

import os
import re
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from checkpointkit.models import MODEL, only, round_trip, saved, to_record
from flwr.app import Array, ArrayRecord
from flwr.common import ndarrays_to_parameters
from numpy.typing import NDArray

from syft_flwr.checkpoints.arrays import DTYPES, named
from syft_flwr.errors import ConfigError
from syft_flwr.fl_orchestrator import Checkpoints

# Arrays


@pytest.mark.parametrize("name", DTYPES)
def test_every_dtype_round_trips_bit_by_bit(tmp_path: Path, name: str) -> None:
    kind = np.dtype(name)
    raw = np.random.default_rng(7).integers(0, 256, 60 * kind.itemsize, dtype=np.uint8)
    array = (raw & 1 if name == "bool" else raw).view(kind).reshape(3, 4, 5)
    found = round_trip(tmp_path, array)
    assert (found.dtype, found.shape) == (array.dtype, array.shape)
    assert found.tobytes() == array.tobytes()
    assert found.flags.writeable


@pytest.mark.parametrize("shape", [(), (1,), (0,), (3, 0, 2), (1, 1, 1, 2)])
def test_every_shape_round_trips(tmp_path: Path, shape: tuple[int, ...]) -> None:
    for kind in (np.float32, np.int8):
        array = np.ones(shape, kind)
        found = round_trip(tmp_path, array)
        assert (found.dtype, found.shape) == (array.dtype, shape)
        assert found.tobytes() == array.tobytes()


_SQUARE = np.arange(24, dtype=np.float64).reshape(4, 6)


@pytest.mark.parametrize(
    "array",
    [np.asfortranarray(_SQUARE), _SQUARE[::2, 1::3], _SQUARE[::-1], _SQUARE.T, np.broadcast_to(_SQUARE[0], (3, 6))],
    ids=["fortran", "strides", "negative strides", "transposed", "broadcast"],
)
def test_any_memory_layout_round_trips(tmp_path: Path, array: NDArray[Any]) -> None:
    np.testing.assert_array_equal(round_trip(tmp_path, array), array)
    record = only(saved(tmp_path / "record", ArrayRecord({"array": Array(array)})).last())
    np.testing.assert_array_equal(record.arrays["array"], array)


@pytest.mark.parametrize("kind", [">f4", ">f2", ">i8", ">u2"])
def test_big_endian_array_is_converted(tmp_path: Path, kind: str) -> None:
    array = np.arange(7).astype(kind)
    for found in (
        round_trip(tmp_path, array),
        only(saved(tmp_path / "record", ArrayRecord({"array": Array(array)})).last()).arrays["array"],
    ):
        assert found.dtype == array.dtype.newbyteorder("=")
        np.testing.assert_array_equal(found, array)


@pytest.mark.parametrize(
    "array",
    [
        np.zeros(2, np.complex64),
        np.zeros(2, np.longdouble),
        np.array(["a"]),
        np.array([{}]),
        np.zeros(2, "datetime64[s]"),
        np.zeros(2, [("a", "f4"), ("b", "i4")]),
        # NumPy's format keeps an array of ml_dtypes.bfloat16 as this type.
        np.zeros(2, "V2"),
    ],
    ids=["complex", "longdouble", "text", "object", "time", "structure", "bfloat16"],
)
def test_unsupported_dtype_error_names_array_and_type(tmp_path: Path, array: NDArray[Any]) -> None:
    with pytest.raises(ConfigError, match=re.escape(f"'array' has the type {array.dtype.name}")) as caught:
        round_trip(tmp_path, array)
    assert "float32" in caught.value.hint
    assert not list(tmp_path.iterdir())


def test_object_array_is_never_unpickled(tmp_path: Path) -> None:
    path = tmp_path / "objects.npy"
    np.save(path, np.array([_Unpickled()], dtype=object), allow_pickle=True)
    record = ArrayRecord({"array": Array("object", (1,), "numpy.ndarray", path.read_bytes())})
    with pytest.raises(ConfigError, match="type object"):
        saved(tmp_path / "checkpoints", record)


class _Unpickled:
    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return os._exit, (3,)


def test_invalid_array_is_refused(tmp_path: Path) -> None:
    whole = Array(np.arange(100.0))
    for array in (
        Array("float64", (100,), "numpy.ndarray", whole.data[:-1]),
        Array("float64", (100,), "numpy.ndarray", whole.data[1:]),
        Array("float64", (100,), "numpy.ndarray", b""),
        Array("float64", (100,), "torch", whole.data),
    ):
        with pytest.raises(ConfigError, match="'array' is not a NumPy array"):
            saved(tmp_path, ArrayRecord({"array": array}))
    with pytest.raises(ConfigError, match="'array' is a list, not a NumPy array"):
        saved(tmp_path, {"array": [1.0]})
    with pytest.raises(ConfigError, match="at least one array"):
        saved(tmp_path, ArrayRecord())


@pytest.mark.parametrize("given", [MODEL, to_record(MODEL), ndarrays_to_parameters(list(MODEL.values()))])
def test_both_apis_save_the_same_as_plain_arrays(tmp_path: Path, given: Any) -> None:
    found = only(saved(tmp_path, given, names=list(MODEL)).last())
    assert list(found.arrays) == list(MODEL)
    for name, array in MODEL.items():
        assert (found.arrays[name].dtype, found.arrays[name].shape) == (array.dtype, array.shape)
        assert found.arrays[name].tobytes() == array.tobytes()


def test_arrays_are_written_without_a_copy(tmp_path: Path) -> None:
    model: dict[str, NDArray[Any]] = {"weight": np.ones((1 << 20, 2), np.float32), "bias": np.ones(1 << 18)}
    record, parameters = to_record(model), ndarrays_to_parameters(list(model.values()))
    for given in (record, parameters):
        for array in named(given, list(model)).values():
            assert not array.flags.owndata
    checkpoints = Checkpoints(tmp_path, names=list(model))
    checkpoints.save(1, record)
    tracemalloc.start()
    try:
        checkpoints.save(2, record)
        checkpoints.save(3, parameters)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 1 << 20


# Names


def test_array_names_keep_their_order(tmp_path: Path) -> None:
    model = {
        name: np.array(float(number)) for number, name in enumerate(["z", "a.weight", "", "ünï\n\0\"'", "ä" * 300])
    }
    found = only(saved(tmp_path, model).last()).arrays
    assert list(found.items()) == list(model.items())


@pytest.mark.parametrize("name", ["__metadata__", "\ud800", 3])
def test_invalid_array_name_is_refused(tmp_path: Path, name: Any) -> None:
    with pytest.raises(ConfigError, match="cannot be the name of an array"):
        saved(tmp_path, {name: np.zeros(1)})
    with pytest.raises(ConfigError, match="cannot be the name of an array"):
        Checkpoints(tmp_path, names=[name])


def test_legacy_api_needs_one_unique_name_per_array(tmp_path: Path) -> None:
    parameters = ndarrays_to_parameters(list(MODEL.values()))
    with pytest.raises(ConfigError, match="names: not set, and parameters of the older API have no names"):
        saved(tmp_path, parameters)
    for names in (["weight"], ["weight", "bias", "more"]):
        with pytest.raises(ConfigError, match=f"{len(names)} names for 2 arrays"):
            saved(tmp_path, parameters, names=names)
    with pytest.raises(ConfigError, match="'weight' is listed twice"):
        Checkpoints(tmp_path, names=["weight", "bias", "weight"])
    with pytest.raises(ConfigError, match="single text 'weight'"):
        Checkpoints(tmp_path, names="weight")
