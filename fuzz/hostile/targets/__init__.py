"""One module a reader. Each has ``seeds()``, good and bad inputs to begin with, and ``check(data)``, which raises
AssertionError, or whatever else escapes the reader, if a rule is broken. Some have ``mutate`` of their own.
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
    "segments",
)


@dataclass(frozen=True, slots=True)
class Target:
    """A reader under test."""

    name: str
    seeds: Callable[[], Iterator[bytes]]
    check: Callable[[bytes], None]
    #: Data, most bytes, seed, libFuzzer's own mutation; None for that one alone.
    mutate: Callable[[bytes, int, int, Mutate], bytes] | None


def load(name: str) -> Target:
    """Import a target, and with it the code that it calls."""
    module = importlib.import_module(f"{__name__}.{name}")
    return Target(name, module.seeds, module.check, getattr(module, "mutate", None))
