"""The result of a ServerApp, stored in the state of its Context on every system."""

import json
from typing import Any

from flwr.app import ArrayRecord, ConfigRecord, Context

ARRAYS = "outcome.arrays"
HISTORY = "outcome.history"


def keep(context: Context, arrays: ArrayRecord, history: dict[str, Any]) -> None:
    """Store the final ``arrays`` and a JSON-able ``history`` in the Context; floats are kept exactly."""
    context.state[ARRAYS] = arrays
    context.state[HISTORY] = ConfigRecord({"json": json.dumps(history)})
