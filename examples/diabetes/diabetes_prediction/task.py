"""Reads the patients of a hospital, and trains and tests the model on them.

- The data folder of a hospital has ``train.csv``, ``test.csv`` and, optionally, ``about.json`` with a name for tables. The
  hospital decides which women are held out, so it provides two files.
- The model is a logistic regression on seven measurements. It has eight numbers.
- Measurements are scaled with the fixed figures in ``FEATURES``. These are round clinical figures and not the means of a
  hospital. So all hospitals use one scale without access to each other's data.
- Training is full-batch gradient descent from a given start. The same data give the same model, bit for bit.
"""

import csv
import json
import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, Context
from numpy.typing import NDArray

from diabetes_prediction import mock

MAX_EPOCHS = 100_000  # the most steps that a hospital accepts in one message; about ten seconds of work
MAX_NAME_LENGTH = 40


class Feature(NamedTuple):
    """One measurement: its column, its unit, and the figures that scale it to about -1 to 1."""

    name: str
    unit: str
    centre: float
    spread: float


FEATURES = (
    Feature("pregnancies", "count", 3, 3),
    Feature("glucose", "mg/dl, 2 h after 75 g", 120, 30),
    Feature("blood_pressure", "mm Hg, diastolic", 72, 12),
    Feature("skin_fold", "mm, triceps", 29, 10),
    Feature("bmi", "kg/m^2", 32, 7),
    Feature("pedigree", "score of diabetic relatives", 0.5, 0.35),
    Feature("age", "years", 33, 11),
)
OUTCOME = "diabetes"
COLUMNS = (*(feature.name for feature in FEATURES), OUTCOME)


class DataError(Exception):
    """Raised for data that cannot be used. The text names file, row and column, but no value: the text may be sent to others."""


@dataclass(frozen=True)
class Patients:
    """Scaled measurements, float64 of shape (n, 7), and outcomes, float64 of shape (n,) with 1 for diabetes, else 0."""

    measurements: NDArray[np.float64]
    outcomes: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.outcomes)

    @classmethod
    def from_rows(cls, rows: NDArray[np.float64]) -> "Patients":
        """Return the patients of unscaled rows of shape (n, 8), in the order of ``COLUMNS``."""
        return cls(scale(rows[:, :-1]), rows[:, -1].copy())


@dataclass(frozen=True)
class Hospital:
    """The data of one hospital: patients for training, patients for testing, and a name for tables."""

    name: str
    train: Patients
    test: Patients


@dataclass(frozen=True)
class TrainSettings:
    """The training settings that the data scientist sends in a message."""

    epochs: int
    learning_rate: float
    weight_decay: float

    @classmethod
    def from_record(cls, record: ConfigRecord) -> "TrainSettings":
        """Return the settings of a message; ValueError if one is out of range.

        The limit of epochs is necessary: without it, one message could keep a hospital busy for days.
        """
        epochs, rate, decay = (record.get(key) for key in ("local-epochs", "learning-rate", "weight-decay"))
        if not isinstance(epochs, int) or not 1 <= epochs <= MAX_EPOCHS:
            raise ValueError(f"local-epochs must be a whole number from 1 to {MAX_EPOCHS}")
        if not isinstance(rate, int | float) or not 0 < rate <= 10:
            raise ValueError("learning-rate must be above 0 and at most 10")
        if not isinstance(decay, int | float) or not 0 <= decay <= 1:
            raise ValueError("weight-decay must be from 0 to 1")
        return cls(epochs, float(rate), float(decay))


@dataclass(frozen=True)
class Model:
    """A logistic regression: weights, float64 of shape (7,), and bias, float64 of shape (1,)."""

    weights: NDArray[np.float64]
    bias: NDArray[np.float64]

    @classmethod
    def untrained(cls) -> "Model":
        return cls(np.zeros(len(FEATURES)), np.zeros(1))

    @classmethod
    def from_record(cls, record: ArrayRecord) -> "Model":
        return cls(record["weights"].numpy(), record["bias"].numpy())

    def to_record(self) -> ArrayRecord:
        return ArrayRecord({"weights": Array(self.weights), "bias": Array(self.bias)})

    def logits(self, measurements: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the log odds of diabetes, shape (n,), for scaled measurements of shape (n, 7)."""
        return measurements @ self.weights + self.bias


class Score(NamedTuple):
    """The result of a test: mean log loss in nats, and the share of correct predictions with the threshold 0.5."""

    loss: float
    accuracy: float


def scale(measurements: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return measurements of shape (n, 7), given in their own units, on the scale of the model."""
    centres = np.array([feature.centre for feature in FEATURES])
    spreads = np.array([feature.spread for feature in FEATURES])
    return (measurements - centres) / spreads


def train(model: Model, patients: Patients, settings: TrainSettings) -> Model:
    """Return the model after ``settings.epochs`` steps of gradient descent on the penalised log loss from ``model``."""
    weights, bias = model.weights.copy(), model.bias.copy()
    for _ in range(settings.epochs):
        residuals = _sigmoid(patients.measurements @ weights + bias) - patients.outcomes
        gradient = patients.measurements.T @ residuals / len(patients) + settings.weight_decay * weights
        weights -= settings.learning_rate * gradient
        bias -= settings.learning_rate * residuals.mean()
    return Model(weights, bias)


def score(model: Model, patients: Patients) -> Score:
    """Return the score of ``model`` on ``patients``."""
    logits = model.logits(patients.measurements)
    loss = np.mean(np.logaddexp(0, logits) - patients.outcomes * logits)
    accuracy = np.mean((logits > 0) == (patients.outcomes > 0.5))
    return Score(float(loss), float(accuracy))


def load_hospital(context: Context) -> Hospital:
    """Return the data of the hospital that runs this process.

    The environment variable ``DATA_DIR`` names the folder, or else ``data-dir`` in the config of the node. A message cannot
    set them. A simulated node of ``flwr run`` has only a ``partition-id`` and gets made-up patients.

    Raises:
        DataError: the folder is not set, or a file in it cannot be used.
    """
    folder = os.environ.get("DATA_DIR") or context.node_config.get("data-dir")
    if folder:
        return read_hospital(Path(str(folder)))
    if "partition-id" in context.node_config:
        profile = mock.PROFILES[int(context.node_config["partition-id"]) % len(mock.PROFILES)]
        train_rows, test_rows = (np.array(rows, dtype=np.float64) for rows in (profile.train(), profile.test()))
        return Hospital(profile.name, Patients.from_rows(train_rows), Patients.from_rows(test_rows))
    raise DataError("no data: set the environment variable DATA_DIR to the folder with train.csv and test.csv")


def read_hospital(folder: Path) -> Hospital:
    """Return the data in the folder of a hospital: ``train.csv``, ``test.csv`` and, optionally, ``about.json``."""
    train_rows, test_rows = read_rows(folder / "train.csv"), read_rows(folder / "test.csv")
    return Hospital(_read_name(folder / "about.json"), Patients.from_rows(train_rows), Patients.from_rows(test_rows))


def read_rows(path: Path) -> NDArray[np.float64]:
    """Return a table of patients, shape (n, 8), unscaled, in the order of ``COLUMNS``; DataError if it is not valid."""
    try:
        with path.open(newline="", encoding="utf-8") as file:
            header, *lines = csv.reader(file)
    except (OSError, ValueError, csv.Error):
        raise DataError(f"{path.name}: cannot be read as a table; check the folder named by DATA_DIR") from None
    if tuple(header) != COLUMNS:
        raise DataError(f"{path.name}: the columns must be {','.join(COLUMNS)}")
    if not lines:
        raise DataError(f"{path.name}: the table has no patients")
    return np.array([_parse(line, f"{path.name}: row {number}") for number, line in enumerate(lines, start=2)])


def clean_name(name: object) -> str:
    """Return the printable characters of a received name, at most ``MAX_NAME_LENGTH``; may be empty."""
    text = name if isinstance(name, str) else ""
    return "".join(letter for letter in text if letter.isprintable()).strip()[:MAX_NAME_LENGTH]


def _parse(line: list[str], where: str) -> list[float]:
    if len(line) != len(COLUMNS):
        raise DataError(f"{where}: expected {len(COLUMNS)} fields, found {len(line)}")
    row = [_number(field, f"{where}, column {column}") for field, column in zip(line, COLUMNS, strict=True)]
    if row[-1] not in {0, 1}:
        raise DataError(f"{where}, column {OUTCOME}: must be 0 or 1")
    return row


def _number(field: str, where: str) -> float:
    try:
        number = float(field)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise DataError(f"{where}: not a number")
    return number


def _read_name(path: Path) -> str:
    try:
        about = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return ""
    except (OSError, ValueError):
        raise DataError(f"{path.name}: cannot be read as JSON") from None
    return clean_name(about.get("name") if isinstance(about, dict) else None)


def _sigmoid(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    # Through tanh, because exp(-x) overflows for very negative logits.
    return 0.5 * (1 + np.tanh(0.5 * logits))
