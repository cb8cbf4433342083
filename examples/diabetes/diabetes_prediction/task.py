"""The patients and the model: what every hospital computes on its own machine.

- A hospital's data folder holds ``train.csv``, ``test.csv`` and, if the hospital wants a name in the tables,
  ``about.json``. Which women are held out is the hospital's decision, so it is written down as two files.
- The model is a logistic regression on seven measurements: eight numbers in all.
- Measurements are scaled by the fixed figures in ``FEATURES``. They are round clinical figures, not means of anybody's
  patients, so the hospitals agree on a scale without looking at each other's data.
- Training is full-batch gradient descent from a given start: the same data give the same model, bit for bit.
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

MAX_EPOCHS = 100_000  # what a data scientist may ask of a hospital in one message; about ten seconds of work
MAX_NAME_LENGTH = 40


class Feature(NamedTuple):
    """One measurement: its column, its unit, and the figures that bring it to about -1 to 1."""

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
    """A hospital's data cannot be used. Names the file, row and column, never a value: the text may travel."""


@dataclass(frozen=True)
class Patients:
    """Scaled measurements, float64 of shape (n, 7), and who has diabetes, float64 of shape (n,) with 0 and 1."""

    measurements: NDArray[np.float64]
    outcomes: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.outcomes)

    @classmethod
    def from_rows(cls, rows: NDArray[np.float64]) -> "Patients":
        """Scale unscaled rows of shape (n, 8) in the order of ``COLUMNS``."""
        return cls(scale(rows[:, :-1]), rows[:, -1].copy())


@dataclass(frozen=True)
class Hospital:
    """What one participant brings: patients to learn from, patients to be examined on, and a name to be shown."""

    name: str
    train: Patients
    test: Patients


@dataclass(frozen=True)
class TrainSettings:
    """How a hospital trains, as the data scientist asked for it in the message."""

    epochs: int
    learning_rate: float
    weight_decay: float

    @classmethod
    def from_record(cls, record: ConfigRecord) -> "TrainSettings":
        """Read the settings of a message; a hospital does not compute for ever because a message says so."""
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
        """Log odds of diabetes, shape (n,), for scaled measurements of shape (n, 7)."""
        return measurements @ self.weights + self.bias


class Score(NamedTuple):
    """How a model does on some patients: mean log loss in nats, and the share told right at even odds."""

    loss: float
    accuracy: float


def scale(measurements: NDArray[np.float64]) -> NDArray[np.float64]:
    """Bring measurements of shape (n, 7), in their own units, to the scale that the model works on."""
    centres = np.array([feature.centre for feature in FEATURES])
    spreads = np.array([feature.spread for feature in FEATURES])
    return (measurements - centres) / spreads


def train(model: Model, patients: Patients, settings: TrainSettings) -> Model:
    """Go ``settings.epochs`` steps down the gradient of the penalised log loss, from ``model``."""
    weights, bias = model.weights.copy(), model.bias.copy()
    for _ in range(settings.epochs):
        residuals = _sigmoid(patients.measurements @ weights + bias) - patients.outcomes
        gradient = patients.measurements.T @ residuals / len(patients) + settings.weight_decay * weights
        weights -= settings.learning_rate * gradient
        bias -= settings.learning_rate * residuals.mean()
    return Model(weights, bias)


def score(model: Model, patients: Patients) -> Score:
    """Examine ``model`` on ``patients``."""
    logits = model.logits(patients.measurements)
    loss = np.mean(np.logaddexp(0, logits) - patients.outcomes * logits)
    accuracy = np.mean((logits > 0) == (patients.outcomes > 0.5))
    return Score(float(loss), float(accuracy))


def load_hospital(context: Context) -> Hospital:
    """Find the data of the participant that runs this process.

    The environment variable ``DATA_DIR`` names the folder, or else ``data-dir`` in the node's own config. Neither comes
    from a message. A simulated node of ``flwr run`` has only a ``partition-id``: it gets made-up patients.

    Raises:
        DataError: no folder is named, or its files are not what they should be.
    """
    folder = os.environ.get("DATA_DIR") or context.node_config.get("data-dir")
    if folder:
        return read_hospital(Path(str(folder)))
    if "partition-id" in context.node_config:
        profile = mock.PROFILES[int(context.node_config["partition-id"]) % len(mock.PROFILES)]
        train_rows, test_rows = (np.array(rows, dtype=np.float64) for rows in (profile.train(), profile.test()))
        return Hospital(profile.name, Patients.from_rows(train_rows), Patients.from_rows(test_rows))
    raise DataError("no data: set the environment variable DATA_DIR to the folder that holds train.csv and test.csv")


def read_hospital(folder: Path) -> Hospital:
    """Read ``train.csv``, ``test.csv`` and ``about.json`` (optional) from a hospital's data folder."""
    train_rows, test_rows = read_rows(folder / "train.csv"), read_rows(folder / "test.csv")
    return Hospital(_read_name(folder / "about.json"), Patients.from_rows(train_rows), Patients.from_rows(test_rows))


def read_rows(path: Path) -> NDArray[np.float64]:
    """Read a table of patients, shape (n, 8), unscaled, in the order of ``COLUMNS``."""
    try:
        with path.open(newline="", encoding="utf-8") as file:
            header, *lines = csv.reader(file)
    except (OSError, ValueError, csv.Error):
        raise DataError(f"{path.name}: cannot be read as a table in the folder named by DATA_DIR") from None
    if tuple(header) != COLUMNS:
        raise DataError(f"{path.name}: the columns must be {','.join(COLUMNS)}")
    if not lines:
        raise DataError(f"{path.name}: there is no patient in it")
    return np.array([_parse(line, f"{path.name}: row {number}") for number, line in enumerate(lines, start=2)])


def clean_name(name: object) -> str:
    """Make a name that somebody else chose fit to be printed: one line, printable, bounded. Empty if nothing is left."""
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
