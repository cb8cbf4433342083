"""Checkpoints: bit by bit what was saved, whole after a kill at any instant, or an error of ours."""

import errno
import inspect
import json
import os
import re
import stat
import subprocess
import sys
import tomllib
import tracemalloc
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import safetensors
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, MetricRecord
from flwr.common import Parameters, Scalar, ndarrays_to_parameters, parameters_to_ndarrays
from flwr.server import ClientManager, SimpleClientManager
from flwr.server.strategy import FedAvg as LegacyFedAvg
from flwr.serverapp import Grid
from flwr.serverapp.strategy import DifferentialPrivacyClientSideFixedClipping, FedAvg, Result, Strategy
from numpy.typing import NDArray
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

import syft_flwr.fl_orchestrator as package
from syft_flwr.checkpoints import checkpoint_file
from syft_flwr.checkpoints.arrays import DTYPES, named
from syft_flwr.checkpoints.strategies import KeptStrategy
from syft_flwr.errors import ConfigError, NotFoundError, StorageError, StorageFullError, StoreError, SyftFlwrError
from syft_flwr.fl_orchestrator import Checkpoint, Checkpoints

MODEL: dict[str, NDArray[Any]] = {"weight": np.arange(6, dtype=np.float32).reshape(2, 3), "bias": np.array([0.5, -0.0])}


def only(checkpoint: Checkpoint | None) -> Checkpoint:
    assert checkpoint is not None
    return checkpoint


def rounds(checkpoints: Checkpoints) -> tuple[int | None, int | None]:
    """Return the rounds of the last and of the best checkpoint."""
    last, best = checkpoints.last(), checkpoints.best()
    return last.server_round if last else None, best.server_round if best else None


def round_trip(folder: Path, array: NDArray[Any]) -> NDArray[Any]:
    checkpoints = Checkpoints(folder)
    checkpoints.save(checkpoints.rounds_done + 1, {"array": array})
    return only(checkpoints.last()).arrays["array"]


def to_record(model: Mapping[str, NDArray[Any]]) -> ArrayRecord:
    return ArrayRecord({name: Array(array) for name, array in model.items()})


# Arrays


@pytest.mark.parametrize("name", DTYPES)
def test_every_bit_of_every_type_comes_back(tmp_path: Path, name: str) -> None:
    kind = np.dtype(name)
    raw = np.random.default_rng(7).integers(0, 256, 60 * kind.itemsize, dtype=np.uint8)
    array = (raw & 1 if name == "bool" else raw).view(kind).reshape(3, 4, 5)
    found = round_trip(tmp_path, array)
    assert (found.dtype, found.shape) == (array.dtype, array.shape)
    assert found.tobytes() == array.tobytes()
    assert found.flags.writeable


@pytest.mark.parametrize("shape", [(), (1,), (0,), (3, 0, 2), (1, 1, 1, 2)])
def test_every_shape_comes_back(tmp_path: Path, shape: tuple[int, ...]) -> None:
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
def test_an_array_of_any_layout_in_memory_comes_back_as_its_values(tmp_path: Path, array: NDArray[Any]) -> None:
    np.testing.assert_array_equal(round_trip(tmp_path, array), array)
    record = only(_saved(tmp_path / "record", ArrayRecord({"array": Array(array)})).last())
    np.testing.assert_array_equal(record.arrays["array"], array)


def _saved(folder: Path, arrays: Any, **options: Any) -> Checkpoints:
    checkpoints = Checkpoints(folder, **options)
    checkpoints.save(1, arrays)
    return checkpoints


@pytest.mark.parametrize("kind", [">f4", ">f2", ">i8", ">u2"])
def test_a_big_endian_array_is_converted(tmp_path: Path, kind: str) -> None:
    array = np.arange(7).astype(kind)
    for found in (
        round_trip(tmp_path, array),
        only(_saved(tmp_path / "record", ArrayRecord({"array": Array(array)})).last()).arrays["array"],
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
        # What is left of an array of ml_dtypes.bfloat16 in NumPy's format.
        np.zeros(2, "V2"),
    ],
    ids=["complex", "longdouble", "text", "object", "time", "structure", "bfloat16"],
)
def test_a_type_that_cannot_be_kept_is_refused_by_name(tmp_path: Path, array: NDArray[Any]) -> None:
    with pytest.raises(ConfigError, match=re.escape(f"'array' has the type {array.dtype.name}")) as caught:
        round_trip(tmp_path, array)
    assert "float32" in caught.value.hint
    assert not list(tmp_path.iterdir())


def test_an_array_of_objects_in_a_record_is_never_unpickled(tmp_path: Path) -> None:
    path = tmp_path / "objects.npy"
    np.save(path, np.array([_Unpickled()], dtype=object), allow_pickle=True)
    record = ArrayRecord({"array": Array("object", (1,), "numpy.ndarray", path.read_bytes())})
    with pytest.raises(ConfigError, match="type object"):
        _saved(tmp_path / "checkpoints", record)


class _Unpickled:
    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return os._exit, (3,)


def test_what_is_no_array_is_refused(tmp_path: Path) -> None:
    whole = Array(np.arange(100.0))
    for array in (
        Array("float64", (100,), "numpy.ndarray", whole.data[:-1]),
        Array("float64", (100,), "numpy.ndarray", whole.data[1:]),
        Array("float64", (100,), "numpy.ndarray", b""),
        Array("float64", (100,), "torch", whole.data),
    ):
        with pytest.raises(ConfigError, match="'array' is no NumPy array"):
            _saved(tmp_path, ArrayRecord({"array": array}))
    with pytest.raises(ConfigError, match="'array' is a list, not a NumPy array"):
        _saved(tmp_path, {"array": [1.0]})
    with pytest.raises(ConfigError, match="at least one array"):
        _saved(tmp_path, ArrayRecord())


@pytest.mark.parametrize("given", [MODEL, to_record(MODEL), ndarrays_to_parameters(list(MODEL.values()))])
def test_both_apis_and_plain_arrays_are_saved_alike(tmp_path: Path, given: Any) -> None:
    found = only(_saved(tmp_path, given, names=list(MODEL)).last())
    assert list(found.arrays) == list(MODEL)
    for name, array in MODEL.items():
        assert (found.arrays[name].dtype, found.arrays[name].shape) == (array.dtype, array.shape)
        assert found.arrays[name].tobytes() == array.tobytes()


def test_the_arrays_of_a_record_are_written_from_where_they_lie(tmp_path: Path) -> None:
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


def test_names_come_back_in_their_order(tmp_path: Path) -> None:
    model = {
        name: np.array(float(number)) for number, name in enumerate(["z", "a.weight", "", "ünï\n\0\"'", "ä" * 300])
    }
    found = only(_saved(tmp_path, model).last()).arrays
    assert list(found.items()) == list(model.items())


@pytest.mark.parametrize("name", ["__metadata__", "\ud800", 3])
def test_a_name_that_a_file_cannot_have_is_refused(tmp_path: Path, name: Any) -> None:
    with pytest.raises(ConfigError, match="cannot be the name of an array"):
        _saved(tmp_path, {name: np.zeros(1)})
    with pytest.raises(ConfigError, match="cannot be the name of an array"):
        Checkpoints(tmp_path, names=[name])


def test_names_for_the_older_api_are_as_many_as_arrays_and_differ(tmp_path: Path) -> None:
    parameters = ndarrays_to_parameters(list(MODEL.values()))
    with pytest.raises(ConfigError, match="no names, and none were given"):
        _saved(tmp_path, parameters)
    for names in (["weight"], ["weight", "bias", "more"]):
        with pytest.raises(ConfigError, match=f"{len(names)} names for 2 arrays"):
            _saved(tmp_path, parameters, names=names)
    with pytest.raises(ConfigError, match="'weight' stands there twice"):
        Checkpoints(tmp_path, names=["weight", "bias", "weight"])
    with pytest.raises(ConfigError, match="single text 'weight'"):
        Checkpoints(tmp_path, names="weight")


# The file


def test_any_reader_of_safetensors_reads_it(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(7, MODEL, {"loss": 0.25})
    path = tmp_path / "last.safetensors"
    found = load_file(path)
    assert found.keys() == MODEL.keys()
    for name, array in MODEL.items():
        np.testing.assert_array_equal(found[name], array)
    opener: Any = safe_open
    with opener(path, framework="np") as file:
        metadata = file.metadata()
    assert metadata["round"] == "7"
    assert json.loads(metadata["metrics"]) == {"loss": 0.25}
    assert json.loads(metadata["names"]) == list(MODEL)


def test_only_its_owner_can_read_it_and_nothing_else_is_left(tmp_path: Path) -> None:
    umask = os.umask(0)
    try:
        checkpoints = Checkpoints(tmp_path, metric="loss")
        checkpoints.save(1, MODEL, {"loss": 1.0})
    finally:
        os.umask(umask)
    files = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
    assert files == {"last.safetensors": 0o600, "best.safetensors": 0o600}


def test_it_is_on_the_disk_before_it_takes_its_place_and_its_name_after(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []
    fsync, replace = os.fsync, Path.replace

    def noted_fsync(fd: int) -> None:
        calls.append(f"fsync {Path(os.readlink(f'/proc/self/fd/{fd}')).relative_to(tmp_path)}")
        fsync(fd)

    def noted_replace(path: Path, target: Path) -> Path:
        calls.append(f"rename to {target.relative_to(tmp_path)}")
        return replace(path, target)

    checkpoints = Checkpoints(tmp_path, metric="loss")
    monkeypatch.setattr(os, "fsync", noted_fsync)
    monkeypatch.setattr(Path, "replace", noted_replace)
    checkpoints.save(1, MODEL, {"loss": 1.0})
    assert calls == [
        step
        for name in ("last.safetensors", "best.safetensors")
        for step in (f"fsync .saving/{name}", f"rename to {name}", "fsync .")
    ]


def test_metrics_come_back_with_their_types(tmp_path: Path) -> None:
    given = {
        "int": 1,
        "big": 1 << 80,
        "float": 0.1,
        "whole": 2.0,
        "text": 'ä"',
        "bool": True,
        "list": [1, 2],
        "floats": [0.5, 1.0],
        "inf": float("-inf"),
        "numpy": np.float32(0.5),
        "vector": np.arange(2),
    }
    checkpoints = Checkpoints(tmp_path)
    left_out = {"bytes": b"\0", "nothing": None, "nested": [[1]], "texts": ["a"], "truths": [True], "matrix": np.eye(2)}
    checkpoints.save(1, MODEL, {**given, **left_out})
    found = only(checkpoints.last()).metrics
    assert found == {**given, "numpy": 0.5, "vector": [0, 1]}
    assert [type(found[name]) for name in ("int", "whole", "bool")] == [int, float, bool]
    with pytest.raises(ConfigError, match="round 2 cannot be saved: its metadata has a wrong metrics"):
        checkpoints.save(2, MODEL, {"text": "half of a character: \ud83d"})
    assert rounds(checkpoints) == (1, None)


def _file(folder: Path) -> Path:
    checkpoints = Checkpoints(folder)
    checkpoints.save(3, {"weight": np.arange(3, dtype=np.int16).reshape(3, 1), "bias": np.array(0.5)}, {"loss": 0.25})
    return folder / "last.safetensors"


def _assert_refused(path: Path, content: bytes, what: object) -> None:
    path.write_bytes(content)
    found: object = None
    try:
        found = Checkpoints(path.parent).last()
    except StoreError as error:
        found = error
    assert isinstance(found, StoreError), f"{what} was read"
    assert "no whole checkpoint" in str(found), what
    assert found.hint


@pytest.mark.parametrize("change", [0x01, 0x20, 0x80, 0xFF])
def test_a_change_of_any_byte_is_noticed(tmp_path: Path, change: int) -> None:
    path = _file(tmp_path)
    content = path.read_bytes()
    for place in range(len(content)):
        changed = bytearray(content)
        changed[place] ^= change
        _assert_refused(path, bytes(changed), place)


def test_a_file_cut_or_lengthened_anywhere_is_refused(tmp_path: Path) -> None:
    path = _file(tmp_path)
    content = path.read_bytes()
    for length in range(len(content)):
        _assert_refused(path, content[:length], length)
    for more in (b"\0", b" " * 8, content):
        _assert_refused(path, content + more, len(more))


@pytest.mark.parametrize(
    ("written", "instead"), [(b'"I16"', b'"U16"'), (b'"I16"', b'"F16"'), (b"[3,1]", b"[1,3]"), (b"[3,1]", b"[03] ")]
)
def test_the_types_and_shapes_are_those_that_were_written(tmp_path: Path, written: bytes, instead: bytes) -> None:
    content = _file(tmp_path).read_bytes()
    assert content.count(written) == 1
    _assert_refused(tmp_path / "last.safetensors", content.replace(written, instead), instead)


def _safetensors(header: bytes, data: bytes = b"") -> bytes:
    return len(header).to_bytes(8, "little") + header + data


@pytest.mark.parametrize(
    "content",
    [
        b"\x80\x04cos\nsystem\n(S'exit 3'\ntR.",
        b"PK\x03\x04" + bytes(200),
        b"\xff" * 8 + b"{}",
        (1 << 40).to_bytes(8, "little") + b"{" + b" " * 1000,
        # Over the 100 MB that safetensors accepts.
        (100_000_001).to_bytes(8, "little") + b"{",
        _safetensors(b""),
        _safetensors(b"{}"),
        _safetensors(b"[" * 5000),
        _safetensors(b'{"__metadata__":{"syft_flwr":"2"}}'),
        _safetensors(b'{"__metadata__":{"syft_flwr":"1"}}'),
        _safetensors(b'{"__metadata__":{"syft_flwr":"1","round":"-1","metrics":"{}","names":"[]","sha256":""}}'),
        _safetensors(b'{"__metadata__":{"syft_flwr":"1","round":"1","metrics":"[[[","names":"[]","sha256":""}}'),
        _safetensors(b'{"__metadata__":{"syft_flwr":"1","round":"1","metrics":"{}","names":"[]","sha256":""}}'),
        _safetensors(
            b'{"__metadata__":{"syft_flwr":"1","round":"1","metrics":"{}","names":"[\\"a\\"]","sha256":""},'
            b'"a":{"dtype":"BF16","shape":[1],"data_offsets":[0,2]}}',
            b"\0\0",
        ),
    ],
)
def test_a_foreign_file_is_refused(tmp_path: Path, content: bytes) -> None:
    _assert_refused(tmp_path / "last.safetensors", content, content[:40])


def test_a_safetensors_file_of_another_program_is_refused(tmp_path: Path) -> None:
    save_file(MODEL, tmp_path / "last.safetensors", {"format": "pt"})
    with pytest.raises(StoreError, match="this package did not write"):
        Checkpoints(tmp_path).last()


def test_what_is_no_file_is_refused_without_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "last.safetensors")
    (tmp_path / "best.safetensors").mkdir()
    checkpoints = Checkpoints(tmp_path)
    for read in (checkpoints.last, checkpoints.best):
        with pytest.raises(StoreError, match="not a regular file"):
            read()


# The last and the best


def test_without_a_checkpoint_there_is_none(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path / "new", metric="loss")
    assert rounds(checkpoints) == (None, None)
    assert checkpoints.rounds_done == 0


@pytest.mark.parametrize(
    ("higher", "values", "best"),
    [
        (True, [0.1, 0.3, 0.2], 2),
        (False, [0.3, 0.1, 0.2], 2),
        (True, [1, 1, 1], 1),
        (True, [float("nan"), -5.0, float("nan")], 2),
        (False, [float("-inf"), 5, float("inf")], 2),
        (True, [float("nan"), float("inf")], None),
    ],
)
@pytest.mark.parametrize("restarts", [True, False])
def test_the_best_has_the_best_finite_number_and_the_earliest_of_equals(
    tmp_path: Path, *, higher: bool, values: list[float], best: int | None, restarts: bool
) -> None:
    checkpoints = Checkpoints(tmp_path, metric="score", higher_is_better=higher)
    for number, value in enumerate(values, start=1):
        if restarts:
            checkpoints = Checkpoints(tmp_path, metric="score", higher_is_better=higher)
        checkpoints.save(number, {"round": np.array(number)}, {"score": value})
    assert rounds(checkpoints) == (len(values), best)
    if best:
        assert only(checkpoints.best()).arrays["round"] == best
        assert only(checkpoints.best()).metrics == {"score": values[best - 1]}


@pytest.mark.parametrize("metrics", [{}, {"other": 1.0}, {"score": "high"}, {"score": [1.0]}, {"score": True}])
def test_without_its_number_a_round_is_the_last_only_and_that_is_said_once(
    tmp_path: Path, metrics: dict[str, Any], logged: list[str]
) -> None:
    checkpoints = Checkpoints(tmp_path, metric="score")
    checkpoints.save(1, MODEL, {"score": 1.0})
    for number in (2, 3):
        checkpoints.save(number, MODEL, metrics)
    assert rounds(checkpoints) == (3, 1)
    warnings = [line for line in logged if line.startswith("WARNING")]
    assert len(warnings) == 1
    assert "round 2 has no number 'score'" in warnings[0]


def test_without_a_metric_there_is_no_best_and_nothing_to_say(tmp_path: Path, logged: list[str]) -> None:
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(1, MODEL, {"score": 1.0})
    assert rounds(checkpoints) == (1, None)
    assert not [line for line in logged if line.startswith("WARNING")]


def test_the_best_is_written_once(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path, metric="score")
    last, best = tmp_path / "last.safetensors", tmp_path / "best.safetensors"
    checkpoints.save(1, MODEL, {"score": 1.0})
    assert last.samefile(best)
    checkpoints.save(2, MODEL, {"score": 0.5})
    assert not last.samefile(best)


def test_what_a_killed_process_left_is_removed_before_it_takes_the_room_of_the_next(small_disk: Path) -> None:
    (small_disk / ".saving").mkdir()
    (small_disk / ".saving" / ".tmpQ3x7a1").write_bytes(bytes(200 << 10))
    checkpoints = Checkpoints(small_disk)
    checkpoints.save(1, {"weight": np.zeros(100 << 10, np.uint8)})
    assert rounds(checkpoints) == (1, None)
    assert os.listdir(small_disk) == ["last.safetensors"]


def test_where_there_are_no_hard_links_the_best_is_a_second_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))

    monkeypatch.setattr(os, "link", refuse)
    checkpoints = Checkpoints(tmp_path, metric="score")
    for number in (1, 2):
        checkpoints.save(number, MODEL, {"score": float(number)})
        assert rounds(checkpoints) == (number, number)
    assert not (tmp_path / "last.safetensors").samefile(tmp_path / "best.safetensors")


def test_a_best_that_another_metric_chose_is_not_replaced(tmp_path: Path) -> None:
    Checkpoints(tmp_path, metric="loss").save(1, MODEL, {"loss": 1.0})
    checkpoints = Checkpoints(tmp_path, metric="accuracy")
    with pytest.raises(ConfigError, match=r"was not chosen by 'accuracy'; it has loss"):
        checkpoints.save(2, MODEL, {"accuracy": 1.0})
    assert rounds(checkpoints) == (1, 1)


def test_rounds_only_go_forward(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(3, MODEL)
    checkpoints.save(3, MODEL, {"loss": 1.0})
    for one in (checkpoints, Checkpoints(tmp_path)):
        with pytest.raises(ConfigError, match=r"round 2 cannot be saved: .* is of round 3"):
            one.save(2, MODEL)
    for number in (-1, True, 1.0, "4"):
        with pytest.raises(ConfigError, match="no number of a round"):
            checkpoints.save(cast("int", number), MODEL)


# What can go wrong


def test_a_full_disk_is_an_error_and_what_was_there_stays(small_disk: Path) -> None:
    checkpoints = Checkpoints(small_disk, metric="score")
    checkpoints.save(1, MODEL, {"score": 1.0})
    with pytest.raises(StorageFullError, match=r"no room left to write .*last\.safetensors"):
        checkpoints.save(2, {"weight": np.zeros(100_000)}, {"score": 2.0})
    assert rounds(checkpoints) == (1, 1)
    assert sorted(os.listdir(small_disk)) == ["best.safetensors", "last.safetensors"]
    checkpoints.save(2, MODEL, {"score": 2.0})
    assert rounds(checkpoints) == (2, 2)


def test_a_folder_that_cannot_be_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StorageError):
        Checkpoints(tmp_path / "file").save(1, MODEL)
    checkpoints = _saved(tmp_path / "folder", MODEL)
    (tmp_path / "folder" / "last.safetensors").unlink()
    (tmp_path / "folder").rmdir()
    with pytest.raises(NotFoundError):
        checkpoints.save(2, MODEL)


def test_without_safetensors_it_is_said_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(safetensors, "__version__", "0.7.0")
    with pytest.raises(ConfigError, match=r"safetensors from 0\.8 on; 0\.7\.0 is installed"):
        Checkpoints(tmp_path)
    monkeypatch.setitem(sys.modules, "safetensors", None)
    with pytest.raises(ConfigError, match="it is not installed") as caught:
        Checkpoints(tmp_path)
    assert caught.value.hint == "Run: pip install 'safetensors>=0.8'"


def test_the_extra_asks_for_the_release_that_the_code_does() -> None:
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8"))
    floor = ".".join(map(str, checkpoint_file._SAFETENSORS))
    assert project["project"]["optional-dependencies"]["checkpoint"] == [f"safetensors>={floor}"]


_KILLS = """
import json, os, shutil, signal, sys, time
from pathlib import Path
import numpy as np
from syft_flwr.fl_orchestrator import Checkpoints

EVENTS = ("open", "os.link", "os.mkdir", "os.remove", "os.rename", "os.rmdir")


def save(folder, first, last, size):
    checkpoints = Checkpoints(folder, metric="score")
    for number in range(first, last + 1):
        checkpoints.save(number, {"a": np.full(size, number, np.float32), "b": np.array(number)}, {"score": number})


def fork(work):
    child = os.fork()
    if child:
        return child
    try:
        work()
    except BaseException as error:
        print(error, file=sys.stderr)
        os._exit(1)
    os._exit(0)


def die_at(event_number):
    seen = 0

    def hook(event, arguments):
        nonlocal seen
        if event in EVENTS:
            seen += 1
            if seen == event_number:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)


def identify(path):
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    return status.st_ino, status.st_mtime_ns


def is_writing(folder):
    try:
        return bool(os.listdir(folder / ".saving"))
    except FileNotFoundError:
        return False


def die_while(child, folder, saves, looks):
    "Kill after so many whole saves, and so many looks at which the next was being written."
    deadline = time.monotonic() + 20
    before = identify(folder / "last.safetensors")
    while (saves or looks) and time.monotonic() < deadline:
        now = identify(folder / "last.safetensors")
        if saves:
            saves -= now != before
            before = now
        else:
            looks -= is_writing(folder)
    os.kill(child, signal.SIGKILL)


def look(folder):
    "Return the rounds of last and best; reading checks every bit."
    checkpoints = Checkpoints(folder, metric="score")
    found = []
    for one in (checkpoints.last(), checkpoints.best()):
        assert one is None or all((array == one.server_round).all() for array in one.arrays.values())
        found.append(one and one.server_round)
    return found


# A file-system call at a time: two rounds are there, two more are saved.
def between_calls(root):
    save(root / "before", 1, 2, 1000)
    for event_number in range(1, 1000):
        folder = root / str(event_number)
        shutil.copytree(root / "before", folder)

        def work():
            import safetensors.numpy
            die_at(event_number)
            save(folder, 3, 4, 1000)

        code = os.waitstatus_to_exitcode(os.waitpid(fork(work), 0)[1])
        found = look(folder)
        save(folder, found[0] + 1, found[0] + 1, 1000)
        yield code, found, look(folder), sorted(os.listdir(folder))
        if code != -signal.SIGKILL:
            return


# In the middle of the writing of a larger file, again and again in one folder.
def while_writing(root):
    folder = root / "writing"
    done = 0
    for turn in range(15):
        child = fork(lambda: save(folder, done + 1, done + 10_000, 1_000_000))
        die_while(child, folder, turn % 2, 1 + turn % 5)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        found = look(folder)
        left = sum(len(files) for _, _, files in os.walk(folder))
        yield code, done, found, left, (folder / ".saving").exists()
        done = found[0] or 0


root = Path(sys.argv[1])
print(json.dumps({"calls": list(between_calls(root)), "writing": list(while_writing(root))}))
"""


def test_a_kill_at_any_instant_leaves_the_old_or_the_new_whole(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _KILLS, str(tmp_path)],
        env=os.environ | {"OPENBLAS_NUM_THREADS": "1", "LOGURU_LEVEL": "ERROR"},
        check=False,
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)

    *killed, finished = found["calls"]
    assert finished[:2] == [0, [4, 4]]
    assert len(killed) > 20
    assert {code for code, *_ in killed} == {-9}
    # Every instant between two rounds was met, and the one between the last and the best.
    assert [tuple(pair) for pair in dict.fromkeys(tuple(pair) for _, pair, *_ in killed)] == [
        (2, 2),
        (3, 2),
        (3, 3),
        (4, 3),
        (4, 4),
    ]
    for _, (last, _), afterwards, left in found["calls"]:
        assert afterwards == [last + 1, last + 1]
        assert left == ["best.safetensors", "last.safetensors"]

    for code, before, (last, best), left, _ in found["writing"]:
        assert code == -9
        assert (last or 0) >= before
        assert best in ({None} if last is None else {last, last - 1 or None})
        # The last, the best and the one in the making: kills do not pile up.
        assert left <= 3
    assert found["writing"][-1][2][0]
    assert any(cut for *_, cut in found["writing"])


def test_a_best_that_a_kill_prevented_is_made_at_the_next_start(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path, metric="score")
    checkpoints.save(1, MODEL, {"score": 1.0})
    before = (tmp_path / "best.safetensors").read_bytes()
    checkpoints.save(2, MODEL, {"score": 2.0})
    (tmp_path / "best.safetensors").unlink()
    (tmp_path / "best.safetensors").write_bytes(before)
    again = Checkpoints(tmp_path, metric="score")
    assert rounds(again) == (2, 1)
    assert again.rounds_done == 2
    assert rounds(again) == (2, 2)
    np.testing.assert_array_equal(only(again.best()).arrays["weight"], MODEL["weight"])


# Starting from it


def test_a_new_training_starts_from_what_it_is_given(tmp_path: Path) -> None:
    record, parameters = to_record(MODEL), ndarrays_to_parameters(list(MODEL.values()))
    checkpoints = Checkpoints(tmp_path, names=list(MODEL))
    assert checkpoints.initial(record) is record
    assert checkpoints.initial(parameters) is parameters
    assert checkpoints.initial(None) is None
    assert checkpoints.rounds_done == 0


def test_a_training_goes_on_from_the_last_in_the_models_own_order(tmp_path: Path) -> None:
    other_order = dict(reversed(MODEL.items()))
    Checkpoints(tmp_path).save(5, MODEL)
    checkpoints = Checkpoints(tmp_path, names=list(other_order))

    record = checkpoints.initial(to_record({name: array + 1 for name, array in other_order.items()}))
    assert list(record) == list(other_order)
    parameters = checkpoints.initial(ndarrays_to_parameters(list(other_order.values())))
    asked = checkpoints.initial(None)
    assert asked is not None
    for arrays in (
        record.to_numpy_ndarrays(),
        parameters_to_ndarrays(parameters),
        parameters_to_ndarrays(asked),
    ):
        for array, expected in zip(arrays, other_order.values(), strict=True):
            assert array.dtype == expected.dtype
            np.testing.assert_array_equal(array, expected)
    assert parameters.tensor_type == "numpy.ndarray"
    assert checkpoints.rounds_done == 5
    assert list(only(checkpoints.last()).to_array_record()) == list(MODEL)


@pytest.mark.parametrize(
    ("model", "what"),
    [
        ({"weight": MODEL["weight"]}, "'bias' is none of the model's"),
        ({**MODEL, "more": np.zeros(1)}, "lacks the array 'more'"),
        (
            {"weight": np.zeros((3, 2)), "bias": MODEL["bias"]},
            r"'weight' has the shape \(2, 3\), the model's has \(3, 2\)",
        ),
    ],
)
def test_the_checkpoint_of_another_model_is_refused(tmp_path: Path, model: dict[str, Any], what: str) -> None:
    checkpoints = _saved(tmp_path, MODEL)
    with pytest.raises(StoreError, match=f"is of another model: .*{what}"):
        checkpoints.initial(to_record(model))


def test_a_placeholder_without_elements_has_no_shape_to_compare(tmp_path: Path) -> None:
    checkpoints = _saved(tmp_path, {"trees": np.arange(9, dtype=np.uint8)})
    record = checkpoints.initial(ArrayRecord({"trees": Array(np.array([], np.uint8))}))
    np.testing.assert_array_equal(record["trees"].numpy(), np.arange(9, dtype=np.uint8))


def test_a_damaged_checkpoint_never_starts_a_training_anew(tmp_path: Path) -> None:
    path = _file(tmp_path)
    path.write_bytes(path.read_bytes()[:-1])
    checkpoints = Checkpoints(tmp_path)
    for start in (
        lambda: checkpoints.initial(to_record(MODEL)),
        lambda: checkpoints.keep(FedAvg()),
        lambda: checkpoints.rounds_done,
        lambda: checkpoints.save(1, MODEL),
    ):
        with pytest.raises(StoreError, match="no whole checkpoint"):
            start()


# Kept strategies


@dataclass
class Scripted(Strategy):
    """Says what it is told to say in each round, and notes with which number it was asked."""

    trained: Mapping[int, tuple[ArrayRecord | None, MetricRecord | None]] = field(default_factory=dict)
    evaluated: Mapping[int, MetricRecord | None] = field(default_factory=dict)
    asked: list[tuple[str, int]] = field(default_factory=list)

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        self.asked.append(("configure_train", server_round))
        return []

    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        self.asked.append(("aggregate_train", server_round))
        return self.trained.get(server_round, (to_record(of_round(server_round)), None))

    def configure_evaluate(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        self.asked.append(("configure_evaluate", server_round))
        return []

    def aggregate_evaluate(self, server_round: int, replies: Iterable[Message]) -> MetricRecord | None:
        self.asked.append(("aggregate_evaluate", server_round))
        return self.evaluated.get(server_round)

    def summary(self) -> None:
        self.asked.append(("summary", 0))


class NoNodes:
    """A grid of which nothing is asked but to send no messages."""

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> Iterable[Message]:
        assert not list(messages)
        return []


def of_round(number: int) -> dict[str, NDArray[Any]]:
    return {"weight": np.full(3, float(number)), "bias": np.array(number)}


def start(strategy: Strategy, checkpoints: Checkpoints, num_rounds: int, **options: Any) -> Result:
    arrays = checkpoints.initial(to_record(of_round(0)))
    return strategy.start(cast("Grid", NoNodes()), arrays, num_rounds, **options)


def test_a_kept_strategy_is_asked_with_the_number_of_the_round_in_the_whole_training(tmp_path: Path) -> None:
    scripted = Scripted()
    for rounds_before in (0, 2):
        checkpoints = Checkpoints(tmp_path)
        assert checkpoints.rounds_done == rounds_before
        evaluated: list[tuple[int, float]] = []

        def evaluate(number: int, arrays: ArrayRecord, seen: list[tuple[int, float]] = evaluated) -> None:
            seen.append((number, float(arrays["bias"].numpy())))

        scripted.asked.clear()
        result = start(checkpoints.keep(scripted), checkpoints, 2, evaluate_fn=evaluate)
        first, second = rounds_before + 1, rounds_before + 2
        assert scripted.asked == [
            ("summary", 0),
            *[
                (name, number)
                for number in (first, second)
                for name in ("configure_train", "aggregate_train", "configure_evaluate", "aggregate_evaluate")
            ],
        ]
        assert evaluated == [(number, float(number)) for number in (rounds_before, first, second)]
        np.testing.assert_array_equal(result.arrays["weight"].numpy(), of_round(second)["weight"])
        assert rounds(checkpoints) == (second, None)


def test_a_round_without_arrays_is_not_saved_and_the_next_is(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path)
    start(checkpoints.keep(Scripted(trained={2: (None, None), 3: (ArrayRecord(), None)})), checkpoints, 3)
    assert rounds(checkpoints) == (1, None)
    checkpoints = Checkpoints(tmp_path)
    start(checkpoints.keep(Scripted()), checkpoints, 1)
    assert rounds(checkpoints) == (2, None)


@pytest.mark.parametrize("source", ["train", "evaluate", "central"])
def test_the_best_is_chosen_by_the_metric_of_the_source_that_was_named(tmp_path: Path, source: str) -> None:
    values = {"train": [3.0, 1.0, 2.0], "evaluate": [1.0, 3.0, 2.0], "central": [1.0, 2.0, 3.0]}
    checkpoints = Checkpoints(tmp_path, metric=f"{source}/accuracy")

    def metrics(of: str, number: int) -> MetricRecord:
        return MetricRecord({"accuracy": values[of][number - 1]})

    scripted = Scripted(
        trained={number: (to_record(of_round(number)), metrics("train", number)) for number in (1, 2, 3)},
        evaluated={number: metrics("evaluate", number) for number in (1, 2, 3)},
    )
    start(
        checkpoints.keep(scripted),
        checkpoints,
        3,
        evaluate_fn=lambda number, _: metrics("central", number) if number else None,
    )
    best = values[source].index(3.0) + 1
    assert rounds(checkpoints) == (3, best)
    found = only(checkpoints.best())
    assert found.metrics[f"{source}/accuracy"] == 3.0
    assert found.metrics["train/accuracy"] == values["train"][best - 1]
    np.testing.assert_array_equal(found.arrays["weight"], of_round(best)["weight"])


def test_an_evaluation_in_a_round_without_arrays_is_of_those_of_the_round_before(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path, metric="evaluate/accuracy")
    evaluated = {number: MetricRecord({"accuracy": value}) for number, value in ((2, 0.5), (3, 0.75), (4, 0.25))}
    start(checkpoints.keep(Scripted(trained={2: (None, None), 3: (None, None)}, evaluated=evaluated)), checkpoints, 4)
    assert rounds(checkpoints) == (4, 1)
    # The first that was found of them counts.
    assert only(checkpoints.best()).metrics == {"evaluate/accuracy": 0.5}
    np.testing.assert_array_equal(only(checkpoints.best()).arrays["weight"], of_round(1)["weight"])


def test_an_evaluation_of_what_is_not_saved_chooses_nothing(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path, metric="central/accuracy")
    start(
        checkpoints.keep(Scripted()),
        checkpoints,
        2,
        evaluate_fn=lambda number, _: MetricRecord({"accuracy": 1.0 - number}),
    )
    assert rounds(checkpoints) == (2, 1)


def test_the_arrays_are_on_the_disk_before_their_evaluation_begins(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path, metric="central/accuracy")

    def evaluate(number: int, arrays: ArrayRecord) -> MetricRecord:
        if number == 2:
            raise RuntimeError("the evaluation failed")
        return MetricRecord({"accuracy": 0.5})

    with pytest.raises(RuntimeError, match="the evaluation failed"):
        start(checkpoints.keep(Scripted()), checkpoints, 3, evaluate_fn=evaluate)
    assert rounds(checkpoints) == (2, 1)


def test_an_evaluation_that_was_cut_off_is_made_up_for_at_the_next_start(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path, metric="central/accuracy")
    checkpoints.save(1, of_round(1), {"central/accuracy": 0.5})
    checkpoints.save(2, of_round(2))

    again = Checkpoints(tmp_path, metric="central/accuracy")
    start(again.keep(Scripted()), again, 0, evaluate_fn=lambda *_: MetricRecord({"accuracy": 0.75}))
    assert rounds(again) == (2, 2)
    assert only(again.best()).metrics == {"central/accuracy": 0.75}


@pytest.mark.parametrize("num_rounds", [1, 3])
def test_a_metric_that_never_comes_is_said_once(tmp_path: Path, num_rounds: int, logged: list[str]) -> None:
    checkpoints = Checkpoints(tmp_path, metric="evaluate/accuracy")
    scripted = Scripted(evaluated=dict.fromkeys(range(9), MetricRecord({"loss": 1.0})))
    start(checkpoints.keep(scripted), checkpoints, num_rounds)
    warnings = [line for line in logged if line.startswith("WARNING")]
    assert len(warnings) == 1
    assert "round 1 has no number 'evaluate/accuracy', only evaluate/loss" in warnings[0]
    assert rounds(checkpoints) == (num_rounds, None)


def test_a_training_that_would_begin_anew_over_an_older_one_is_refused_before_its_first_round(tmp_path: Path) -> None:
    Checkpoints(tmp_path).save(7, of_round(7))
    checkpoints = Checkpoints(tmp_path)
    scripted = Scripted()
    strategy = checkpoints.keep(scripted)
    with pytest.raises(ConfigError, match=r"is of round 7, and a training would write round 1 over it"):
        strategy.start(cast("Grid", NoNodes()), to_record(of_round(0)), 2)
    assert scripted.asked == [("summary", 0)]

    start(strategy, checkpoints, 1)
    assert rounds(checkpoints) == (8, None)
    with pytest.raises(ConfigError, match="is of round 8"):
        strategy.start(cast("Grid", NoNodes()), to_record(of_round(8)), 1)


def test_arrays_that_cannot_be_saved_are_refused_before_the_first_round(tmp_path: Path) -> None:
    scripted = Scripted()
    strategy = Checkpoints(tmp_path).keep(scripted)
    with pytest.raises(ConfigError, match="complex64"):
        strategy.start(cast("Grid", NoNodes()), ArrayRecord({"a": Array(np.zeros(1, np.complex64))}), 2)
    assert scripted.asked == [("summary", 0)]

    legacy = Checkpoints(tmp_path, names=["weight"]).keep(LegacyFedAvg())
    with pytest.raises(ConfigError, match="1 names for 2 arrays"):
        legacy.configure_fit(1, ndarrays_to_parameters(list(MODEL.values())), SimpleClientManager())


class OwnLoop(FedAvg):
    """A strategy whose start() is its own, as in one of Flower's examples."""

    def start(self, *_: Any, **__: Any) -> Result:
        return Result()


@pytest.mark.parametrize(
    ("strategy", "options", "what"),
    [
        (FedAvg(), {"metric": "accuracy"}, "does not say where it comes from"),
        (FedAvg(), {"metric": "test/accuracy"}, "does not say where it comes from"),
        (LegacyFedAvg(), {}, "none were given"),
        (OwnLoop(), {}, r"OwnLoop has a start\(\) of its own"),
        ("fedavg", {}, "str is no strategy"),
    ],
)
def test_what_cannot_be_kept_is_refused(tmp_path: Path, strategy: Any, options: dict[str, Any], what: str) -> None:
    with pytest.raises(ConfigError, match=what):
        Checkpoints(tmp_path, **options).keep(strategy)


def test_a_strategy_is_kept_once_and_stays_within_reach(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path, names=list(MODEL))
    inner = DifferentialPrivacyClientSideFixedClipping(FedAvg(), 1.0, 1.0, 2)
    kept = checkpoints.keep(inner)
    assert kept.strategy is inner
    for strategy in (kept, checkpoints.keep(LegacyFedAvg())):
        with pytest.raises(ConfigError, match="kept already"):
            checkpoints.keep(cast("Strategy", strategy))


def test_start_takes_what_flowers_own_takes() -> None:
    ours, flowers = inspect.signature(KeptStrategy.start), inspect.signature(Strategy.start)
    assert list(ours.parameters) == list(flowers.parameters)
    assert [one.default for one in ours.parameters.values()] == [one.default for one in flowers.parameters.values()]


class ScriptedLegacy(LegacyFedAvg):
    """Says what it is told to say, and notes with which number it was asked."""

    def __init__(self, asked: list[tuple[str, int]], **options: Any) -> None:
        super().__init__(**options)
        self._asked = asked

    def configure_fit(self, server_round: int, parameters: Parameters, client_manager: ClientManager) -> list[Any]:
        self._asked.append(("configure_fit", server_round))
        return []

    def aggregate_fit(self, server_round: int, results: Any, failures: Any) -> tuple[Parameters, dict[str, Scalar]]:
        self._asked.append(("aggregate_fit", server_round))
        return ndarrays_to_parameters(list(of_round(server_round).values())), {"raw": b"\0", "loss": 2.0}

    def configure_evaluate(self, server_round: int, parameters: Parameters, client_manager: ClientManager) -> list[Any]:
        self._asked.append(("configure_evaluate", server_round))
        return []

    def aggregate_evaluate(
        self, server_round: int, results: Any, failures: Any
    ) -> tuple[float | None, dict[str, Scalar]]:
        self._asked.append(("aggregate_evaluate", server_round))
        return 1.0, {"loss": 9.0, "accuracy": 0.5}

    def evaluate(self, server_round: int, parameters: Parameters) -> tuple[float, dict[str, Scalar]] | None:
        self._asked.append(("evaluate", server_round))
        return None if server_round == 0 else (float(server_round), {})


@pytest.mark.parametrize(("metric", "best"), [("central/loss", 1), ("evaluate/loss", 1), ("train/loss", 1)])
def test_the_older_api_is_kept_alike(tmp_path: Path, metric: str, best: int) -> None:
    asked: list[tuple[str, int]] = []
    manager = SimpleClientManager()
    for rounds_before in (0, 1):
        checkpoints = Checkpoints(tmp_path, metric=metric, higher_is_better=False, names=["weight", "bias"])
        initial = checkpoints.initial(None)
        strategy = checkpoints.keep(ScriptedLegacy(asked, initial_parameters=initial))
        asked.clear()
        # The calls of flwr.server.Server.fit, in its order.
        parameters = strategy.initialize_parameters(manager)
        assert parameters is initial
        strategy.evaluate(0, parameters or ndarrays_to_parameters([]))
        strategy.configure_fit(1, ndarrays_to_parameters(list(of_round(0).values())), manager)
        made, _ = strategy.aggregate_fit(1, [], [])
        assert made is not None
        strategy.evaluate(1, made)
        strategy.configure_evaluate(1, made, manager)
        assert strategy.aggregate_evaluate(1, [], []) == (1.0, {"loss": 9.0, "accuracy": 0.5})
        number = rounds_before + 1
        assert asked == [
            ("evaluate", rounds_before),
            ("configure_fit", number),
            ("aggregate_fit", number),
            ("evaluate", number),
            ("configure_evaluate", number),
            ("aggregate_evaluate", number),
        ]
    assert rounds(checkpoints) == (2, best)
    assert only(checkpoints.best()).metrics[metric] == {"central": 1.0, "evaluate": 1.0, "train": 2.0}[metric[:-5]]
    assert only(checkpoints.last()).metrics == {"train/loss": 2.0}
    np.testing.assert_array_equal(only(checkpoints.last()).arrays["weight"], of_round(2)["weight"])


# The surface


def test_the_package_offers_its_names_sorted_and_every_error_is_ours() -> None:
    assert sorted(package.__all__) == package.__all__
    for name in package.__all__:
        assert getattr(package, name).__name__ == name
    assert issubclass(StoreError, SyftFlwrError)
