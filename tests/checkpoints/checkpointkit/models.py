"""A small model, and functions that save it and read it back."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from flwr.app import Array, ArrayRecord
from numpy.typing import NDArray

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


def saved(folder: Path, arrays: Any, **options: Any) -> Checkpoints:
    checkpoints = Checkpoints(folder, **options)
    checkpoints.save(1, arrays)
    return checkpoints


def small_file(folder: Path) -> Path:
    checkpoints = Checkpoints(folder)
    checkpoints.save(3, {"weight": np.arange(3, dtype=np.int16).reshape(3, 1), "bias": np.array(0.5)}, {"loss": 0.25})
    return folder / "last.safetensors"
