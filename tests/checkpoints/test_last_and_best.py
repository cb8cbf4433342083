"""The last and the best checkpoint: the choice of their rounds, and the replacement of their files."""

import errno
import os
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from checkpointkit.models import MODEL, only, rounds
from safetensors.numpy import save_file

from syft_flwr.errors import ConfigError, StoreError
from syft_flwr.fl_orchestrator import Checkpoints


def test_new_folder_has_no_checkpoint(tmp_path: Path) -> None:
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
def test_best_is_the_earliest_best_finite_value(
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
def test_round_without_the_metric_is_never_the_best(tmp_path: Path, metrics: dict[str, Any], logged: list[str]) -> None:
    checkpoints = Checkpoints(tmp_path, metric="score")
    checkpoints.save(1, MODEL, {"score": 1.0})
    for number in (2, 3):
        checkpoints.save(number, MODEL, metrics)
    assert rounds(checkpoints) == (3, 1)
    warnings = [line for line in logged if line.startswith("WARNING")]
    assert len(warnings) == 1
    assert "round 2 has no number 'score'" in warnings[0]


def test_no_metric_means_no_best(tmp_path: Path, logged: list[str]) -> None:
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(1, MODEL, {"score": 1.0})
    assert rounds(checkpoints) == (1, None)
    assert not [line for line in logged if line.startswith("WARNING")]


def test_best_is_a_hard_link_to_its_round(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path, metric="score")
    last, best = tmp_path / "last.safetensors", tmp_path / "best.safetensors"
    checkpoints.save(1, MODEL, {"score": 1.0})
    assert last.samefile(best)
    checkpoints.save(2, MODEL, {"score": 0.5})
    assert not last.samefile(best)


def test_files_of_a_killed_process_are_removed_first(small_disk: Path) -> None:
    (small_disk / ".syft_flwr_saving").mkdir()
    (small_disk / ".syft_flwr_saving" / ".tmpQ3x7a1").write_bytes(bytes(200 << 10))
    checkpoints = Checkpoints(small_disk)
    checkpoints.save(1, {"weight": np.zeros(100 << 10, np.uint8)})
    assert rounds(checkpoints) == (1, None)
    assert os.listdir(small_disk) == ["last.safetensors"]


def test_best_is_a_copy_without_hard_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))

    monkeypatch.setattr(os, "link", refuse)
    checkpoints = Checkpoints(tmp_path, metric="score")
    for number in (1, 2):
        checkpoints.save(number, MODEL, {"score": float(number)})
        assert rounds(checkpoints) == (number, number)
    assert not (tmp_path / "last.safetensors").samefile(tmp_path / "best.safetensors")


def test_best_of_another_metric_is_not_replaced(tmp_path: Path) -> None:
    Checkpoints(tmp_path, metric="loss").save(1, MODEL, {"loss": 1.0})
    checkpoints = Checkpoints(tmp_path, metric="accuracy")
    with pytest.raises(ConfigError, match=r"was not chosen by 'accuracy'; it has loss"):
        checkpoints.save(2, MODEL, {"accuracy": 1.0})
    assert rounds(checkpoints) == (1, 1)


def test_rounds_only_increase(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(3, MODEL)
    checkpoints.save(3, MODEL, {"loss": 1.0})
    for one in (checkpoints, Checkpoints(tmp_path)):
        with pytest.raises(ConfigError, match=r"round 2 cannot be saved: .* is already of round 3"):
            one.save(2, MODEL)
    for number in (-1, True, 1.0, "4"):
        with pytest.raises(ConfigError, match="not the number of a round"):
            checkpoints.save(cast("int", number), MODEL)


@pytest.mark.parametrize("name", ["last", "best"])
@pytest.mark.parametrize("foreign", ["text", "arrays", "folder"])
def test_file_that_appears_later_is_not_replaced(tmp_path: Path, name: str, foreign: str) -> None:
    """The first round ends long after the begin."""
    checkpoints = Checkpoints(tmp_path, metric="score")
    assert checkpoints.rounds_done == 0
    path = tmp_path / f"{name}.safetensors"
    if foreign == "folder":
        path.mkdir()
    elif foreign == "text":
        path.write_text("mine")
    else:
        save_file({"mine": np.ones(3)}, path)
    before = path.read_bytes() if path.is_file() else b""
    for _ in range(2):
        with pytest.raises(StoreError, match=f"{name}.safetensors is not a complete checkpoint"):
            checkpoints.save(1, MODEL, {"score": 1.0})
    assert (path.read_bytes() if path.is_file() else b"") == before
    path.rename(tmp_path / "away")
    checkpoints.save(1, MODEL, {"score": 1.0})
    assert rounds(checkpoints) == (1, 1)
