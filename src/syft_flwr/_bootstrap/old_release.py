"""The notes about a project of syft-flwr 0.5: parts that would install the old release again."""

import re
from collections.abc import Iterator
from typing import Any

from syft_flwr.config.sources import table_at
from syft_flwr.software import __version__

#: Spellings of this package that mean the same to installers, with its extras.
_NAMED = re.compile(r"syft[-_.]+flwr(?![-_.\w])\s*(?:\[[^\]]*\])?\s*(?P<rule>.*)", re.IGNORECASE | re.DOTALL)
#: A rule that can name another release: ``==``, ``===``, ``~=``, ``<``, or the address of a source.
_LIMITS = re.compile(r"==|~=|<|@")


def dependency_notes(document: dict[str, Any]) -> Iterator[str]:
    """Yield a line for each entry of a pyproject.toml that installs another release of this package."""
    wanted = f"'syft-flwr>={__version__}'"
    for entry in _texts(table_at(document, "project").get("dependencies")):
        named = _NAMED.fullmatch(entry.strip())
        rule = named["rule"].partition(";")[0] if named else ""
        if _LIMITS.search(rule) and __version__ not in rule:
            yield (
                f"The dependency {entry!r} makes pip and uv install another release in place of this one: "
                f"write {wanted}, or delete it."
            )
    for name in table_at(document, "tool", "uv", "sources"):
        if _NAMED.fullmatch(name):
            yield (
                f"[tool.uv.sources] names a source for {name}, so uv may install another release in place of this one: "
                "delete this entry, or let it name this release."
            )


def _texts(value: Any) -> list[str]:
    return [entry for entry in value if isinstance(entry, str)] if isinstance(value, list) else []
