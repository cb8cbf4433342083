"""How a ServerApp hands its results out: in the state of its Context, on every system alike."""

import json
from typing import Any

from flwr.app import ArrayRecord, ConfigRecord, Context

ARRAYS = "outcome.arrays"
HISTORY = "outcome.history"


def keep(context: Context, arrays: ArrayRecord, history: dict[str, Any]) -> None:
    """Leave the final ``arrays`` and a JSON-able ``history`` (floats survive it exactly) where the caller finds them."""
    context.state[ARRAYS] = arrays
    context.state[HISTORY] = ConfigRecord({"json": json.dumps(history)})
