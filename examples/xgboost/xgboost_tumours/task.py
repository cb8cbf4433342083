"""The tumours of a clinic, and the settings of the trees."""

import os
from pathlib import Path

import numpy as np
import xgboost as xgb
from flwr.app import ArrayRecord, Context
from numpy.typing import NDArray
from sklearn.datasets import load_breast_cancer

COLUMNS = ("radius", "texture", "perimeter", "area", "smoothness", "compactness", "concavity", "concave_points")
OUTCOME = "malignant"
#: The last part of the rows is held out for tests.
TEST_SHARE = 0.25
SEED = 1
#: One thread, so that every run grows the same trees.
TREES = {"objective": "binary:logistic", "eta": 0.3, "max_depth": 3, "nthread": 1, "seed": SEED}


def load_tumours(context: Context) -> tuple[xgb.DMatrix, xgb.DMatrix]:
    """Return the tumours of this clinic, for training and for tests.

    They come from the folder ``DATA_DIR``. Without it, for example in ``flwr run``, they are the part of the public data set
    with the number ``partition-id``.
    """
    if folder := os.environ.get("DATA_DIR"):
        rows = np.loadtxt(Path(folder) / "tumours.csv", delimiter=",", skiprows=1)
    else:
        rows = partition(int(context.node_config["partition-id"]), int(context.node_config["num-partitions"]))
    split = round(len(rows) * (1 - TEST_SHARE))
    return _matrix(rows[:split]), _matrix(rows[split:])


def partition(number: int, of: int) -> NDArray[np.float64]:
    """Return one part of the tumours in scikit-learn: measurements, and 1 for a malignant tumour."""
    data = load_breast_cancer()
    rows = np.column_stack([data.data[:, : len(COLUMNS)], data.target == 0])
    return np.random.default_rng(SEED).permutation(rows)[number::of]


def to_record(model: bytes) -> ArrayRecord:
    """Return a model, or no model yet (no bytes), in the form that ``FedXgbBagging`` expects."""
    return ArrayRecord([np.frombuffer(model, dtype=np.uint8)])


def from_record(record: ArrayRecord) -> bytes:
    """Return the model in a record of ``FedXgbBagging``; no bytes before the first round."""
    return record["0"].numpy().tobytes()


def _matrix(rows: NDArray[np.float64]) -> xgb.DMatrix:
    return xgb.DMatrix(rows[:, :-1], label=rows[:, -1], feature_names=list(COLUMNS))
