"""Writes the folder ``data/``, with the same bytes every time: ``python scripts/make_data.py``.

The private images are digits that people wrote, from scikit-learn. The mock images are drawn like the digits of an alarm
clock, so no private image is read for them.
"""

import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

PROJECT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(PROJECT))

from pytorch_digits.task import partition  # noqa: E402

OFFICES = ("office_a", "office_b")
MOCK_SIZE = 200
#: The bars of an alarm clock: top, upper right, lower right, bottom, lower left, upper left, middle.
BARS = (
    (slice(0, 1), slice(2, 6)),
    (slice(0, 4), slice(5, 6)),
    (slice(4, 8), slice(5, 6)),
    (slice(7, 8), slice(2, 6)),
    (slice(4, 8), slice(2, 3)),
    (slice(0, 4), slice(2, 3)),
    (slice(3, 4), slice(2, 6)),
)
#: For each digit, the bars that are on.
DIGITS = ("012345", "12", "01643", "01623", "5612", "05623", "056423", "012", "0123456", "012356")


def main() -> None:
    for number, office in enumerate(OFFICES):
        write(office, "private", *partition(number, len(OFFICES)))
        write(office, "mock", *drawn(seed=number))


def drawn(seed: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Return pixels and labels of made-up digits."""
    dice = np.random.default_rng(seed)
    labels = dice.integers(0, 10, MOCK_SIZE)
    pixels = dice.integers(0, 4, (MOCK_SIZE, 8, 8))
    for image, label in zip(pixels, labels, strict=True):
        for bar in DIGITS[label]:
            image[BARS[int(bar)]] = dice.integers(10, 17)
    return pixels.astype(np.uint8), labels.astype(np.uint8)


def write(office: str, kind: str, pixels: NDArray[np.uint8], labels: NDArray[np.uint8]) -> None:
    folder = PROJECT / "data" / office / kind
    folder.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(folder / "digits.npz", pixels=pixels, labels=labels)


if __name__ == "__main__":
    main()
