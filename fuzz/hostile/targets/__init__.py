"""The fuzz targets, one module for each reader.

Each module has ``seeds()`` with valid and invalid first inputs, and ``check(data)``. If the reader breaks a rule,
``check`` raises AssertionError or the unexpected error of the reader. Some modules have their own ``mutate``.
"""

import importlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from hostile.mutation import Mutate

NAMES = (
    "verifying",
    "body",
    "card",
    "codec",
    "envelope",
    "heartbeat",
    "identity",
    "objects",
    "run_config",
    "segments",
)


@dataclass(frozen=True, slots=True)
class Target:
    """A reader under test."""

    name: str
    seeds: Callable[[], Iterator[bytes]]
    check: Callable[[bytes], None]
    #: Takes the data, the largest size, a seed and libFuzzer's own mutation; None for only the latter.
    mutate: Callable[[bytes, int, int, Mutate], bytes] | None


def load(name: str) -> Target:
    """Return a target; this imports its module and the code under test."""
    module = importlib.import_module(f"{__name__}.{name}")
    return Target(name, module.seeds, module.check, getattr(module, "mutate", None))
