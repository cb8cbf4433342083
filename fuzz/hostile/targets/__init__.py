"""The fuzz targets, one module for each reader.

Each module has ``seeds()`` with valid and invalid first inputs, and ``check(data)``. If the reader breaks a rule,
``check`` raises AssertionError or the unexpected error of the reader. Some modules have their own ``mutate``, and their
own ``STEPS`` and ``STEPS_OF_A_BYTE``: the budget of a check for any input, and for each byte of it.
"""

import importlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from hostile.mutation import Mutate
from hostile.steps import bounded_steps

NAMES = (
    "verifying",
    "announcement",
    "body",
    "card",
    "codec",
    "envelope",
    "heartbeat",
    "identity",
    "objects",
    "record",
    "run_config",
    "segments",
    "syftbox_files",
    "worker",
)

#: The budget of each check: its steps for any input, and for each byte of it. The seeds take a fourth of them at most.
STEPS, STEPS_OF_A_BYTE = 50_000, 50


@dataclass(frozen=True, slots=True)
class Target:
    """A reader under test."""

    name: str
    seeds: Callable[[], Iterator[bytes]]
    check: Callable[[bytes], None]
    #: Takes the data, the largest size, a seed and libFuzzer's own mutation; None for only the latter.
    mutate: Callable[[bytes, int, int, Mutate], bytes] | None
    steps: int = STEPS
    steps_of_a_byte: int = STEPS_OF_A_BYTE

    def check_bounded(self, data: bytes) -> None:
        """Check the reader, and that its steps are at most linear in the input."""
        with bounded_steps(self.steps + self.steps_of_a_byte * len(data)):
            self.check(data)


def load(name: str) -> Target:
    """Return a target; this imports its module and the code under test."""
    module = importlib.import_module(f"{__name__}.{name}")
    return Target(
        name,
        module.seeds,
        module.check,
        getattr(module, "mutate", None),
        getattr(module, "STEPS", STEPS),
        getattr(module, "STEPS_OF_A_BYTE", STEPS_OF_A_BYTE),
    )
