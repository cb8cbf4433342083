"""The start of a training: from the given arrays, or from the last checkpoint of the same model."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from checkpointkit.models import MODEL, only, saved, small_file, to_record
from flwr.app import Array, ArrayRecord
from flwr.common import ndarrays_to_parameters, parameters_to_ndarrays
from flwr.serverapp.strategy import FedAvg

from syft_flwr.errors import StoreError
from syft_flwr.fl_orchestrator import Checkpoints


def test_new_training_starts_from_the_given_arrays(tmp_path: Path) -> None:
    record, parameters = to_record(MODEL), ndarrays_to_parameters(list(MODEL.values()))
    checkpoints = Checkpoints(tmp_path, names=list(MODEL))
    assert checkpoints.initial(record) is record
    assert checkpoints.initial(parameters) is parameters
    assert checkpoints.initial(None) is None
    assert checkpoints.rounds_done == 0


def test_resumed_training_keeps_the_array_order(tmp_path: Path) -> None:
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
        ({"weight": MODEL["weight"]}, "'bias' is not in the model"),
        ({**MODEL, "more": np.zeros(1)}, "lacks the array 'more'"),
        (
            {"weight": np.zeros((3, 2)), "bias": MODEL["bias"]},
            r"'weight' has the shape \(2, 3\), the model's has \(3, 2\)",
        ),
    ],
)
def test_checkpoint_of_another_model_is_refused(tmp_path: Path, model: dict[str, Any], what: str) -> None:
    checkpoints = saved(tmp_path, MODEL)
    with pytest.raises(StoreError, match=f"belongs to another model: .*{what}"):
        checkpoints.initial(to_record(model))


def test_empty_placeholder_matches_any_shape(tmp_path: Path) -> None:
    checkpoints = saved(tmp_path, {"trees": np.arange(9, dtype=np.uint8)})
    record = checkpoints.initial(ArrayRecord({"trees": Array(np.array([], np.uint8))}))
    np.testing.assert_array_equal(record["trees"].numpy(), np.arange(9, dtype=np.uint8))


def test_damaged_checkpoint_stops_the_training(tmp_path: Path) -> None:
    path = small_file(tmp_path)
    path.write_bytes(path.read_bytes()[:-1])
    checkpoints = Checkpoints(tmp_path)
    for start in (
        lambda: checkpoints.initial(to_record(MODEL)),
        lambda: checkpoints.keep(FedAvg()),
        lambda: checkpoints.rounds_done,
        lambda: checkpoints.save(1, MODEL),
    ):
        with pytest.raises(StoreError, match="not a complete checkpoint"):
            start()
