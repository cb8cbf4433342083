"""Writes the folder ``data/``, with the same bytes every time: ``python scripts/make_data.py``.

The private tumours are those in scikit-learn. The mock tumours are drawn from the round figures below, so no private row is
read for them.
"""

import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

PROJECT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(PROJECT))

from xgboost_tumours.task import COLUMNS, OUTCOME, partition  # noqa: E402

CLINICS = ("clinic_a", "clinic_b", "clinic_c")
MOCK_SIZE = 80
#: For each column: the mean of benign and of malignant tumours, and the spread.
FIGURES = np.array(
    [
        (12, 17, 2.5),
        (18, 21, 4),
        (78, 115, 17),
        (450, 950, 200),
        (0.09, 0.1, 0.01),
        (0.08, 0.14, 0.04),
        (0.05, 0.15, 0.05),
        (0.03, 0.08, 0.02),
    ]
)


def main() -> None:
    for number, clinic in enumerate(CLINICS):
        write(clinic, "private", partition(number, len(CLINICS)))
        write(clinic, "mock", drawn(seed=number))


def drawn(seed: int) -> NDArray[np.float64]:
    """Return made-up tumours."""
    dice = np.random.default_rng(seed)
    malignant = dice.integers(0, 2, MOCK_SIZE)
    means = FIGURES[:, malignant].T
    return np.column_stack([np.maximum(0, dice.normal(means, FIGURES[:, 2])).round(4), malignant])


def write(clinic: str, kind: str, rows: NDArray[np.float64]) -> None:
    folder = PROJECT / "data" / clinic / kind
    folder.mkdir(parents=True, exist_ok=True)
    header = ",".join([*COLUMNS, OUTCOME])
    np.savetxt(folder / "tumours.csv", rows, fmt="%g", delimiter=",", header=header, comments="")


if __name__ == "__main__":
    main()
