"""The tumours of a hospital, and one step of training that limits the influence of each patient."""

import os
from pathlib import Path

import numpy as np
from flwr.app import Context
from numpy.typing import NDArray

COLUMNS = ("radius", "texture", "perimeter", "area", "smoothness", "compactness", "concavity", "concave_points")
OUTCOME = "malignant"
#: Round clinical figures, so that all hospitals use one scale without access to each other's data.
CENTRES = np.array([14, 19, 92, 650, 0.1, 0.1, 0.09, 0.05])
SPREADS = np.array([3.5, 4.3, 24, 350, 0.014, 0.05, 0.08, 0.04])
LEARNING_RATE = 1.0

#: A hospital with fewer patients refuses to train, because one patient would change its update too much.
MIN_PATIENTS = 100
#: The most that one patient can change the update of a hospital, because each gradient has at most the length 1.
SENSITIVITY = 2 * LEARNING_RATE / MIN_PATIENTS
#: The privacy of one patient in one round: a smaller epsilon is more noise. The epsilons of all rounds add up.
EPSILON = 1.0
DELTA = 1e-5

Array = NDArray[np.float64]


class TooFewPatients(Exception):  # noqa: N818 - the name is the reason that the data scientist reads
    """Raised by a hospital that must not train."""


def load_tumours(context: Context) -> tuple[Array, Array]:
    """Return scaled measurements with a last column of ones, and 1 for each malignant tumour.

    They come from the folder ``DATA_DIR``. Without it, for example in ``flwr run``, they are the part of the public data set
    with the number ``partition-id``.
    """
    if folder := os.environ.get("DATA_DIR"):
        rows = np.loadtxt(Path(folder) / "tumours.csv", delimiter=",", skiprows=1)
    else:
        rows = public_tumours()[int(context.node_config["partition-id"]) :: int(context.node_config["num-partitions"])]
    return np.column_stack([(rows[:, :-1] - CENTRES) / SPREADS, np.ones(len(rows))]), rows[:, -1]


def public_tumours() -> Array:
    """Return the tumours in scikit-learn in a random order: measurements, and 1 for a malignant tumour."""
    # Imported here, because a hospital with its own tumours does not need it.
    from sklearn.datasets import load_breast_cancer

    data = load_breast_cancer()
    rows = np.column_stack([data.data[:, : len(COLUMNS)], data.target == 0])
    return np.random.default_rng(1).permutation(rows)


def train_step(weights: Array, measurements: Array, malignant: Array) -> Array:
    """Return the weights after one step of logistic regression, with clipped gradients."""
    if len(malignant) < MIN_PATIENTS:
        raise TooFewPatients(f"training needs {MIN_PATIENTS} patients")
    errors = 1 / (1 + np.exp(-measurements @ weights)) - malignant
    gradients = errors[:, None] * measurements
    lengths = np.linalg.norm(gradients, axis=1, keepdims=True)
    return weights - LEARNING_RATE * (gradients / np.maximum(lengths, 1)).mean(axis=0)


def accuracy(weights: Array, measurements: Array, malignant: Array) -> float:
    """Return the share of correct predictions."""
    return float(np.mean((measurements @ weights > 0) == (malignant > 0.5)))
