"""Makes up patients. A hospital gives them to others, who can then test code without real records.

The made-up tables have the columns of the private tables and plausible values. They are drawn with a fixed seed from the
round figures below, so no private record is read. ``scripts/make_data.py`` writes them to ``data/*/mock``. A simulation
with ``flwr run`` trains on them directly.
"""

import math
import random
from dataclasses import dataclass
from typing import NamedTuple


class Figure(NamedTuple):
    """The distribution of a measurement: mean without and with diabetes, spread, range, and decimals in the table."""

    without: float
    with_diabetes: float
    spread: float
    low: float
    high: float
    digits: int


GLUCOSE = Figure(110, 143, 27, 55, 199, 0)
BLOOD_PRESSURE = Figure(70, 75, 12, 40, 110, 0)
SKIN_FOLD = Figure(27, 33, 10, 7, 60, 0)
BMI = Figure(31, 36, 6.5, 18, 60, 1)
LOG_PEDIGREE = Figure(math.log(0.37), math.log(0.52), 0.6, math.log(0.08), math.log(2.4), 9)


@dataclass(frozen=True)
class Profile:
    """The made-up patients of one hospital: share under 25, share with diabetes, and the sizes of the tables."""

    name: str
    seed: str
    under_25: float
    diabetes: float
    train_size: int
    test_size: int

    def train(self) -> list[list[float]]:
        return self._draw("train", self.train_size)

    def test(self) -> list[list[float]]:
        return self._draw("test", self.test_size)

    def _draw(self, part: str, size: int) -> list[list[float]]:
        # The standard library hashes a text seed with SHA-512, so the rows are the same on every machine.
        dice = random.Random(f"{self.seed}/{part}")
        return [self._patient(dice) for _ in range(size)]

    def _patient(self, dice: random.Random) -> list[float]:
        ill = dice.random() < self.diabetes
        age = dice.randint(21, 24) if dice.random() < self.under_25 else min(81, 25 + int(dice.expovariate(1 / 11)))
        pregnancies = max(0, min(15, round(dice.gauss((age - 19) / 4, 1.5))))
        measured = [_sample(figure, ill, dice) for figure in (GLUCOSE, BLOOD_PRESSURE, SKIN_FOLD, BMI)]
        pedigree = round(math.exp(_sample(LOG_PEDIGREE, ill, dice)), 3)
        return [pregnancies, *measured, pedigree, age, int(ill)]


def _sample(figure: Figure, ill: bool, dice: random.Random) -> float:
    value = dice.gauss(figure.with_diabetes if ill else figure.without, figure.spread)
    return round(max(figure.low, min(figure.high, value)), figure.digits)


PROFILES = (
    Profile("Hospital A (mock)", "hospital_a", under_25=0.8, diabetes=0.15, train_size=60, test_size=60),
    Profile("Hospital B (mock)", "hospital_b", under_25=0.1, diabetes=0.45, train_size=60, test_size=60),
)
