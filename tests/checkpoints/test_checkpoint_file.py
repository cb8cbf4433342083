"""The checkpoint file: it is valid safetensors, and every change of it is detected."""

import json
import os
import stat
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from checkpointkit.models import MODEL, only, rounds, small_file
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from syft_flwr.errors import ConfigError, StoreError
from syft_flwr.fl_orchestrator import Checkpoints


def test_checkpoint_is_a_valid_safetensors_file(tmp_path: Path) -> None:
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


def test_checkpoint_is_private_to_its_user(tmp_path: Path) -> None:
    umask = os.umask(0)
    try:
        checkpoints = Checkpoints(tmp_path, metric="loss")
        checkpoints.save(1, MODEL, {"loss": 1.0})
    finally:
        os.umask(umask)
    files = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
    assert files == {"last.safetensors": 0o600, "best.safetensors": 0o600}


def test_file_and_folder_are_synced_around_a_rename(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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
        for step in (f"fsync .syft_flwr_saving/{name}", f"rename to {name}", "fsync .")
    ]


def test_metrics_keep_their_types(tmp_path: Path) -> None:
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


def _assert_refused(path: Path, content: bytes, what: object) -> None:
    path.write_bytes(content)
    found: object = None
    try:
        found = Checkpoints(path.parent).last()
    except StoreError as error:
        found = error
    assert isinstance(found, StoreError), f"{what} was read"
    assert "not a complete checkpoint" in str(found), what
    assert found.hint


@pytest.mark.parametrize("change", [0x01, 0x20, 0x80, 0xFF])
def test_any_changed_byte_is_refused(tmp_path: Path, change: int) -> None:
    path = small_file(tmp_path)
    content = path.read_bytes()
    for place in range(len(content)):
        changed = bytearray(content)
        changed[place] ^= change
        _assert_refused(path, bytes(changed), place)


def test_cut_or_extended_file_is_refused(tmp_path: Path) -> None:
    path = small_file(tmp_path)
    content = path.read_bytes()
    for length in range(len(content)):
        _assert_refused(path, content[:length], length)
    for more in (b"\0", b" " * 8, content):
        _assert_refused(path, content + more, len(more))


@pytest.mark.parametrize(
    ("written", "instead"), [(b'"I16"', b'"U16"'), (b'"I16"', b'"F16"'), (b"[3,1]", b"[1,3]"), (b"[3,1]", b"[03] ")]
)
def test_changed_dtype_or_shape_is_refused(tmp_path: Path, written: bytes, instead: bytes) -> None:
    content = small_file(tmp_path).read_bytes()
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
        # Over the limit of safetensors, 100 MB.
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
def test_foreign_file_is_refused(tmp_path: Path, content: bytes) -> None:
    _assert_refused(tmp_path / "last.safetensors", content, content[:40])


def test_safetensors_of_another_program_are_refused(tmp_path: Path) -> None:
    save_file(MODEL, tmp_path / "last.safetensors", {"format": "pt"})
    with pytest.raises(StoreError, match="this package did not write"):
        Checkpoints(tmp_path).last()


def test_pipe_or_folder_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "last.safetensors")
    (tmp_path / "best.safetensors").mkdir()
    checkpoints = Checkpoints(tmp_path)
    for read in (checkpoints.last, checkpoints.best):
        with pytest.raises(StoreError, match="not a regular file"):
            read()
