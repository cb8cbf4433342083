"""Small random data in the place of the data sets that the examples download: ``python -m flowerkit.data FOLDER``.

Each folder has the name of its data set. ``datasets`` reads a folder of the current folder before it looks at the hub.
So Flower's own data library and partitioners do the rest.
"""

import sqlite3
import sys
from pathlib import Path
from typing import Any

import numpy as np
from datasets import ClassLabel, Dataset, Features, Image
from PIL.Image import fromarray

_IRIS = ("petal_length", "petal_width", "sepal_length", "sepal_width")
_ADULT_NUMBERS = ("age", "fnlwgt", "education.num", "capital.gain", "capital.loss", "hours.per.week")
_ADULT_WORDS = ("workclass", "education", "marital.status", "occupation", "relationship", "race", "sex", "native")
_MEASURES = ("age", "bmi", "systolic_bp", "diastolic_bp", "ldl_cholesterol", "hba1c")

_random = np.random.default_rng(13)


def main(folder: Path) -> None:
    """Write all data sets and databases below ``folder``."""
    for split, size in (("train", 96), ("test", 32)):
        _images(folder / "uoft-cs/cifar10", split, "img", (size, 32, 32, 3))
        _images(folder / "zalando-datasets/fashion_mnist", split, "image", (size, 28, 28))
    _table(
        folder / "jxie/higgs", {"inputs": _random.normal(size=(200, 28)).tolist(), "label": _random.integers(0, 2, 200)}
    )
    iris = _random.uniform(0.5, 8, (150, 4)).round(1)
    _table(folder / "hitorilabs/iris", dict(zip(_IRIS, iris.T, strict=True)) | {"species": np.arange(150) % 3})
    histogram = _random.uniform(2, 10, (150, 2)).round(1)
    _table(folder / "scikit-learn/iris", {"SepalLengthCm": histogram[:, 0], "SepalWidthCm": histogram[:, 1]})
    adult: dict[str, Any] = {name: _random.integers(0, 90, 200) for name in _ADULT_NUMBERS}
    adult |= {name: [f"word {number}" for number in _random.integers(0, 4, 200)] for name in _ADULT_WORDS}
    _table(
        folder / "scikit-learn/adult-census-income", adult | {"income": [("<=50K", ">50K")[i % 2] for i in range(200)]}
    )
    _table(folder / "julien-c/titanic-survival", _titanic(80))
    for partition in range(3):
        _database(folder / f"measures-{partition}.db")


def _images(folder: Path, split: str, column: str, shape: tuple[int, ...]) -> None:
    pictures = [fromarray(picture) for picture in _random.integers(0, 256, shape, dtype=np.uint8)]
    features = Features({column: Image(), "label": ClassLabel(num_classes=10)})
    _write(folder, split, Dataset.from_dict({column: pictures, "label": np.arange(len(pictures)) % 10}, features))


def _table(folder: Path, columns: dict[str, Any]) -> None:
    _write(folder, "train", Dataset.from_dict(columns))


def _write(folder: Path, split: str, rows: Dataset) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    rows.to_parquet(folder / f"{split}-00000-of-00001.parquet")


def _titanic(size: int) -> dict[str, Any]:
    titles = ("Mr.", "Mrs.", "Miss.", "Dr.")
    return {
        "Survived": _random.integers(0, 2, size),
        "Pclass": _random.integers(1, 4, size),
        "Name": [f"{titles[i % 4]} Person {'x' * (i % 7)}" for i in range(size)],
        "Sex": [("male", "female")[i % 2] for i in _random.integers(0, 2, size)],
        "Age": _random.uniform(1, 80, size).round(1),
        "Siblings/Spouses Aboard": _random.integers(0, 4, size),
        "Parents/Children Aboard": _random.integers(0, 4, size),
        "Fare": _random.uniform(5, 200, size).round(2),
    }


def _database(path: Path) -> None:
    rows = _random.uniform(20, 90, (100, len(_MEASURES))).round(2).tolist()
    with sqlite3.connect(path) as database:
        database.execute(f"CREATE TABLE person_measurements (person_id INTEGER PRIMARY KEY, {', '.join(_MEASURES)})")
        marks = ", ".join("?" for _ in _MEASURES)
        database.executemany(f"INSERT INTO person_measurements ({', '.join(_MEASURES)}) VALUES ({marks})", rows)
    database.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
