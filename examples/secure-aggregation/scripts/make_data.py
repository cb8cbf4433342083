"""Writes the folder ``data/``, with the same bytes every time: ``python scripts/make_data.py``.

The private tumours are those in scikit-learn. Hospital D has too few of them to train. The mock tumours are drawn from round
figures, so no private row is read for them.
"""

import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

PROJECT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(PROJECT))

from secure_aggregation.task import CENTRES, COLUMNS, OUTCOME, SPREADS, public_tumours  # noqa: E402

#: The number of patients of each hospital.
PRIVATE = {"hospital_a": 170, "hospital_b": 170, "hospital_c": 170, "hospital_d": 59}
MOCK = {"hospital_a": 120, "hospital_b": 120, "hospital_c": 120, "hospital_d": 60}


def main() -> None:
    shares = np.split(public_tumours(), np.cumsum([*PRIVATE.values()])[:-1])
    for seed, (hospital, rows) in enumerate(zip(PRIVATE, shares, strict=True)):
        write(hospital, "private", rows)
        write(hospital, "mock", drawn(seed, MOCK[hospital]))


def drawn(seed: int, size: int) -> NDArray[np.float64]:
    """Return made-up tumours: malignant ones have larger measurements."""
    dice = np.random.default_rng(seed)
    malignant = dice.integers(0, 2, size)
    measured = CENTRES + SPREADS * (dice.normal(scale=0.7, size=(size, len(COLUMNS))) + malignant[:, None] - 0.5)
    return np.column_stack([np.maximum(0, measured).round(4), malignant])


def write(hospital: str, kind: str, rows: NDArray[np.float64]) -> None:
    folder = PROJECT / "data" / hospital / kind
    folder.mkdir(parents=True, exist_ok=True)
    header = ",".join([*COLUMNS, OUTCOME])
    np.savetxt(folder / "tumours.csv", rows, fmt="%g", delimiter=",", header=header, comments="")


if __name__ == "__main__":
    main()
