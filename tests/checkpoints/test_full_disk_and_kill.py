"""A full disk, a missing package or a kill leaves the old or the new checkpoint, and it is complete."""

import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest
import safetensors
from checkpointkit import kills
from checkpointkit.models import MODEL, only, rounds, saved

from syft_flwr.checkpoints import checkpoint_file
from syft_flwr.errors import ConfigError, NotFoundError, StorageError, StorageFullError
from syft_flwr.fl_orchestrator import Checkpoints


def test_full_disk_keeps_the_old_checkpoint(small_disk: Path) -> None:
    checkpoints = Checkpoints(small_disk, metric="score")
    checkpoints.save(1, MODEL, {"score": 1.0})
    with pytest.raises(StorageFullError, match=r"no room left to write .*last\.safetensors"):
        checkpoints.save(2, {"weight": np.zeros(100_000)}, {"score": 2.0})
    assert rounds(checkpoints) == (1, 1)
    assert sorted(os.listdir(small_disk)) == ["best.safetensors", "last.safetensors"]
    checkpoints.save(2, MODEL, {"score": 2.0})
    assert rounds(checkpoints) == (2, 2)


def test_invalid_folder_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StorageError):
        Checkpoints(tmp_path / "file").save(1, MODEL)
    checkpoints = saved(tmp_path / "folder", MODEL)
    (tmp_path / "folder" / "last.safetensors").unlink()
    (tmp_path / "folder").rmdir()
    with pytest.raises(NotFoundError):
        checkpoints.save(2, MODEL)


def test_missing_safetensors_error_says_how_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(safetensors, "__version__", "0.7.0")
    with pytest.raises(ConfigError, match=r"safetensors, version 0\.8 or later; 0\.7\.0 is installed"):
        Checkpoints(tmp_path)
    monkeypatch.setitem(sys.modules, "safetensors", None)
    with pytest.raises(ConfigError, match="it is not installed") as caught:
        Checkpoints(tmp_path)
    assert caught.value.hint == "Run: pip install 'safetensors>=0.8'"


def test_extra_requires_the_checked_version() -> None:
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8"))
    floor = ".".join(map(str, checkpoint_file._SAFETENSORS))
    assert project["project"]["optional-dependencies"]["checkpoint"] == [f"safetensors>={floor}"]


def test_kill_leaves_a_whole_checkpoint(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, kills.__file__, str(tmp_path)],
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
    # The kills hit every moment between two rounds, also the one between the last and the best.
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
        # The last, the best and one unfinished file: repeated kills leave no more files.
        assert left <= 3
    assert found["writing"][-1][2][0]
    assert any(cut for *_, cut in found["writing"])


def test_missing_best_is_made_at_the_next_start(tmp_path: Path) -> None:
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
