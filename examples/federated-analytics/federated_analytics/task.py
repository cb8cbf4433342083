"""Reads the admissions of a hospital, and groups them as the hospital allows."""

import os
from pathlib import Path

import pandas as pd
from flwr.app import Context

from federated_analytics import made_up

#: A smaller group is withheld. A hospital can raise this number, and no message can lower it.
MIN_GROUP_SIZE = 10
#: The hospital fixes the bins. With bins of its own choice, an aggregator could single out one patient.
AGE_BINS = range(0, 101, 20)
#: The columns that can be asked for, and no others: groups, and the numbers to add up.
GROUPS = ("ward", "age")
NUMBERS = ("nights",)


def load_admissions(context: Context) -> pd.DataFrame:
    """Return the table in the folder ``DATA_DIR``; made-up rows for a simulated node of ``flwr run``."""
    if folder := os.environ.get("DATA_DIR"):
        return pd.read_csv(Path(folder) / "admissions.csv")
    return made_up.admissions(seed=int(context.node_config["partition-id"]))


def min_group_size(context: Context) -> int:
    """Return the minimum of this hospital. It comes from the node, because the aggregator can set the run config."""
    return max(MIN_GROUP_SIZE, int(context.node_config.get("min-group-size", MIN_GROUP_SIZE)))


def group_of(admissions: pd.DataFrame, column: str) -> "pd.Series[str]":
    """Return the name of the group of each row; ValueError for a column that cannot be asked for."""
    if column not in GROUPS:
        raise ValueError(f"groups by {column!r} are not allowed; choose from {', '.join(GROUPS)}")
    if column == "age":
        labels = [f"{low} to {low + AGE_BINS.step - 1}" for low in AGE_BINS[:-1]]
        return pd.cut(admissions["age"], list(AGE_BINS), right=False, labels=labels).astype(str)
    return admissions[column]


def numbers_of(admissions: pd.DataFrame, column: str) -> "pd.Series[int]":
    """Return the numbers of a column; ValueError for a column that cannot be asked for."""
    if column not in NUMBERS:
        raise ValueError(f"the mean of {column!r} is not allowed; choose from {', '.join(NUMBERS)}")
    return admissions[column]
