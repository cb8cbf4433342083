"""Saves the model and the figures of a run in ``OUTPUT_DIR``, and prints the figures as a table.

``diabetes_model.npz`` has the model and the scale of its measurements. ``results.json`` has all figures of the table. Both
are written atomically. ``python -m diabetes_prediction.results FOLDER`` prints the table of an earlier run.
"""

import argparse
import io
import json
import os
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from diabetes_prediction.task import FEATURES, Model

MODEL_FILE = "diabetes_model.npz"
RESULTS_FILE = "results.json"


@dataclass(frozen=True)
class Examination:
    """The test of one model on the held-out patients of all hospitals that replied; loss and accuracy are over all."""

    examples: int
    loss: float
    accuracy: float
    by_hospital: dict[str, float]


@dataclass(frozen=True)
class Round:
    """One round: the hospitals and patients of the training, the failures, and the test of the new model."""

    number: int
    train_clients: int
    train_examples: int
    train_failures: int
    examination: Examination


@dataclass(frozen=True)
class Results:
    """The figures of a run: for each round, and for a model of each hospital alone."""

    rounds: list[Round]
    alone: dict[str, Examination]

    def save(self, folder: Path) -> Path:
        path = folder / RESULTS_FILE
        _write_whole(path, (json.dumps(asdict(self), indent=2) + "\n").encode())
        return path

    @classmethod
    def load(cls, folder: Path) -> "Results":
        content = json.loads((folder / RESULTS_FILE).read_text(encoding="utf-8"))
        rounds = [Round(**{**each, "examination": Examination(**each["examination"])}) for each in content["rounds"]]
        return cls(rounds, {name: Examination(**each) for name, each in content["alone"].items()})

    def table(self) -> str:
        """Return the figures as text, with a line for each round and each hospital alone, and a column for each hospital."""
        together = [(f"together, round {each.number}", each.examination) for each in self.rounds]
        alone = [(f"{name} alone", examination) for name, examination in sorted(self.alone.items())]
        hospitals = sorted({name for _, examination in together + alone for name in examination.by_hospital})
        head = ["accuracy of model", *(f"at {name}" for name in hospitals), "overall", "loss", "patients"]
        lines = [
            [
                label,
                *(_figure(examination.by_hospital.get(name)) for name in hospitals),
                _figure(examination.accuracy if examination.examples else None),
                _figure(examination.loss if examination.examples else None),
                str(examination.examples),
            ]
            for label, examination in together + alone
        ]
        widths = [max(len(line[column]) for line in [head, *lines]) for column in range(len(head))]
        return "\n".join(
            "  ".join([line[0].ljust(widths[0]), *(map(str.rjust, line[1:], widths[1:]))]) for line in [head, *lines]
        )


def output_folder() -> Path:
    """Return the folder in ``OUTPUT_DIR``, or ``output`` in the current folder; create it if it is missing."""
    folder = Path(os.environ.get("OUTPUT_DIR") or "output").absolute()
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def save_model(model: Model, folder: Path) -> Path:
    """Write ``model`` with the names and the scale of its measurements; predictions need no other file."""
    buffer = io.BytesIO()
    np.savez(
        buffer,
        weights=model.weights,
        bias=model.bias,
        names=np.array([feature.name for feature in FEATURES]),
        centres=np.array([feature.centre for feature in FEATURES], dtype=np.float64),
        spreads=np.array([feature.spread for feature in FEATURES], dtype=np.float64),
    )
    path = folder / MODEL_FILE
    _write_whole(path, buffer.getvalue())
    return path


def predict(path: Path, measurements: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the probabilities of diabetes, shape (n,), for unscaled measurements of shape (n, 7) and a saved model."""
    with np.load(path, allow_pickle=False) as saved:
        logits = (measurements - saved["centres"]) / saved["spreads"] @ saved["weights"] + saved["bias"]
    return 1 / (1 + np.exp(-logits))


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _write_whole(path: Path, content: bytes) -> None:
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
    temporary = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def main() -> None:
    parser = argparse.ArgumentParser(description="Print the table of an earlier run.")
    parser.add_argument("folder", type=Path, help=f"the folder with {RESULTS_FILE}")
    folder: Path = parser.parse_args().folder
    print(Results.load(folder).table())
    print(f"model: {(folder / MODEL_FILE).absolute()}")


if __name__ == "__main__":
    main()
