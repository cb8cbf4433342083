"""Takes the states of the global random numbers when a run begins, and sets them again when it continues after a crash.

* These are the generators of Python, of NumPy, and of PyTorch on the CPU if the app has imported it.
* A run that is not interrupted draws the same numbers as without this module. A seed of the app counts as under Flower.
* The states are as secret as the noise that they give. They are only in the private database of the aggregator.
"""

import json
import random
import sys
from typing import Any

import numpy as np

from syft_flwr.log import logger


def taken_states() -> str:
    """Return the present states of the global random numbers, as text."""
    states: dict[str, Any] = {"Python": random.getstate(), "NumPy": np.random.get_state(legacy=False)}
    if generator := _torch_generator():
        states["PyTorch"] = generator.get_state().tolist()
    return json.dumps(states, default=np.ndarray.tolist)


def set_states(text: str) -> None:
    """Set the global random numbers to states of :func:`taken_states`. One that does not fit is logged and left out."""
    for name, state in json.loads(text).items():
        try:
            _set_state(name, state)
        except (TypeError, ValueError, RuntimeError):
            # The error would show the state.
            logger.warning(
                "the random numbers of {} cannot be set as at the begin of the run, such as after an upgrade of it; "
                "data owners may get answered requests again",
                name,
            )


def _set_state(name: str, state: Any) -> None:
    if name == "Python":
        version, key, gauss = state
        random.setstate((version, tuple(key), gauss))
    elif name == "NumPy":
        np.random.set_state(state)
    elif generator := _torch_generator():
        torch = sys.modules["torch"]
        generator.set_state(torch.tensor(state, dtype=torch.uint8, device="cpu"))


def _torch_generator() -> Any:
    """Return PyTorch's generator of the CPU; None if the app has not imported PyTorch. An import takes seconds."""
    return getattr(sys.modules.get("torch"), "default_generator", None)
