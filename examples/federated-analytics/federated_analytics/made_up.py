"""Makes up admissions, so that a query can be tested without real patients."""

import numpy as np
import pandas as pd

#: For each ward: the share of admissions, the mean age, and the mean number of nights.
MOCK_WARDS = {"surgery": (0.4, 50, 4), "medicine": (0.3, 60, 6), "maternity": (0.2, 30, 3), "burns": (0.1, 40, 12)}


def admissions(seed: int, rows: int = 120, wards: dict[str, tuple[float, float, float]] = MOCK_WARDS) -> pd.DataFrame:
    """Return a table with the columns ``ward``, ``age`` and ``nights``, the same for the same seed."""
    dice = np.random.default_rng(seed)
    shares, ages, nights = np.array(list(wards.values())).T
    ward = dice.choice(len(wards), size=rows, p=shares / shares.sum())
    return pd.DataFrame(
        {
            "ward": np.array(list(wards))[ward],
            "age": np.clip(dice.normal(ages[ward], 12), 0, 99).astype(int),
            "nights": 1 + dice.poisson(nights[ward] - 1),
        }
    )
