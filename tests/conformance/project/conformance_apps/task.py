"""Logistic regression on synthetic patients, with results that can be compared bit by bit.

Replies arrive in any order, and a sum of floats depends on that order in its last bits. Two rules make every average
exact, so that unmodified strategies give the same bits in any order:

* clients send only multiples of a power of two (:func:`on_grid`);
* the sizes of the partitions are powers of two, and so is their sum, with and without the last partition.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Model = list[NDArray[Any]]
Data = tuple[NDArray[np.float64], NDArray[np.float64]]

KEYS = ("coefficients", "intercept")
#: Fractional bits, few enough for exact sums in the mantissa of the type.
_GRID = {np.dtype(np.float64): 20, np.dtype(np.float32): 10}


def partition_size(partition: int) -> int:
    """Return 16, 16, 32, 64, 128, …"""
    return 16 << max(partition - 1, 0)


def load(partition: int, features: int, seed: int) -> Data:
    """Return the patients of one site as arrays of shape (n, features) and (n,).

    They are the same in every process; each site has its own distribution.
    """
    random = np.random.default_rng([seed, partition])
    truth = np.random.default_rng(seed).normal(size=features)
    size = partition_size(partition)
    measured = random.normal(loc=0.2 * partition, size=(size, features)) * 2 / np.sqrt(features)
    outcome = (measured @ truth + random.normal(scale=0.5, size=size) > 0).astype(np.float64)
    return measured, outcome


def initial_model(features: int) -> Model:
    return [np.zeros(features), np.zeros(1, dtype=np.float32)]


def train(model: Model, data: Data, *, learning_rate: float, steps: int, proximal_mu: float = 0.0) -> Model:
    """Return the model after ``steps`` full-batch gradient steps; ``proximal_mu`` pulls it back to ``model``."""
    measured, outcome = data
    coefficients, intercept = model[0].copy(), float(model[1][0])
    for _ in range(steps):
        error = _probability(measured, coefficients, intercept) - outcome
        coefficients -= learning_rate * (measured.T @ error / len(outcome) + proximal_mu * (coefficients - model[0]))
        intercept -= learning_rate * (error.mean() + proximal_mu * (intercept - float(model[1][0])))
    return [on_grid(coefficients), on_grid(np.array([intercept], dtype=np.float32))]


def evaluate(model: Model, data: Data) -> tuple[float, float]:
    """Return log loss and accuracy, both on the grid."""
    measured, outcome = data
    logits = measured @ model[0] + float(model[1][0])
    loss = np.mean(np.logaddexp(0, logits) - outcome * logits)
    accuracy = np.mean((logits > 0) == (outcome > 0.5))
    return float(on_grid(loss)), float(on_grid(accuracy))


def on_grid(values: Any) -> NDArray[Any]:
    """Round ``values`` to multiples of a power of two, which can be added without rounding in their type."""
    values = np.asarray(values)
    bits = _GRID[values.dtype]
    return (np.round(values * 2**bits) / 2**bits).astype(values.dtype)


def _probability(measured: NDArray[np.float64], coefficients: NDArray[np.float64], intercept: float) -> Any:
    return 1 / (1 + np.exp(-(measured @ coefficients + intercept)))
