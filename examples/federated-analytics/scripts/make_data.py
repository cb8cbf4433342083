"""Writes the folder ``data/``, with the same bytes every time: ``python scripts/make_data.py``.

The private tables are made up too, because real ones could not be published. They have more rows than the mock tables,
other wards and other ages, so that a run over them gives other results.
"""

import sys
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(PROJECT))

from federated_analytics import made_up  # noqa: E402

#: For each hospital: the rows of its private table, and its wards as in ``made_up``. Burns are rare at A and B.
PRIVATE = {
    "hospital_a": (260, {"surgery": (0.55, 57, 5), "medicine": (0.42, 68, 8), "burns": (0.02, 38, 15)}),
    "hospital_b": (220, {"medicine": (0.5, 71, 9), "maternity": (0.47, 31, 3), "burns": (0.02, 35, 14)}),
    "hospital_c": (310, {"surgery": (0.35, 52, 4), "maternity": (0.4, 29, 3), "burns": (0.25, 41, 16)}),
}


def main() -> None:
    for number, (hospital, (rows, wards)) in enumerate(PRIVATE.items()):
        write(hospital, "mock", made_up.admissions(seed=number))
        write(hospital, "private", made_up.admissions(seed=100 + number, rows=rows, wards=wards))


def write(hospital: str, kind: str, table: "made_up.pd.DataFrame") -> None:
    folder = PROJECT / "data" / hospital / kind
    folder.mkdir(parents=True, exist_ok=True)
    table.to_csv(folder / "admissions.csv", index=False, lineterminator="\n")


if __name__ == "__main__":
    main()
