"""Finds misspelt names of settings in the environment, which would be ignored in silence."""

from collections.abc import Mapping
from difflib import get_close_matches
from functools import cache

from syft_flwr.config.search import FIELDS, SYFTBOX_CONFIG

#: All variables with this prefix are of this package.
_PREFIX = "SYFT_FLWR_"
#: Variables of this package that are no settings: the mark of a worker, and those of its tests.
_OTHERS = ("SYFT_FLWR_WORKER_MARK", "SYFT_FLWR_TEST_")
#: The likeness of a name of another prefix to one of ours, from 0 to 1. SyftBox has variables of its own.
_LIKENESS = 0.9


def misspelt(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that look like a setting and are none, each with the closest name; empty if none is close."""
    known = {field.environment for field in FIELDS.values() if field.environment} | {SYFTBOX_CONFIG}
    found = {}
    for name in environ:
        if name in known or name.startswith(_OTHERS) or not name.startswith(("SYFT", "GDRIVE_TOKEN")):
            continue
        ours = name.startswith(_PREFIX)
        closest = get_close_matches(name, known, n=1, cutoff=0.6 if ours else _LIKENESS)
        if closest or ours:
            found[name] = closest[0] if closest else ""
    return found


def warn_of_misspelt(environ: Mapping[str, str]) -> None:
    """Log a warning for each misspelt variable, once in a process."""
    for name, closest in misspelt(environ).items():
        _warn(name, closest)


@cache
def _warn(name: str, closest: str) -> None:
    # Here, because help must be printed at once.
    from syft_flwr.log import logger

    if closest:
        logger.warning("the environment {} is not a setting and is ignored; did you mean {}?", name, closest)
    else:
        text = "the environment {} is not a setting and is ignored; `syft-flwr config show` lists the settings"
        logger.warning(text, name)
