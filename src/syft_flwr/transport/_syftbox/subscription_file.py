"""The subscriptions of a SyftBox client: the datasites and paths of others that it syncs.

They exist in SyftBox's development branch of 2026, where the default is ``block``: files of others are neither downloaded
nor kept, and files for them are not sent. The main branch syncs every file that the user may read, and ignores the file.

Rules: the last rule that matches a name decides. A rule with a datasite compares its path with the rest of the name. The
own datasite is always synced. A broken file counts as the default.
"""

import posixpath
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from itertools import product
from pathlib import Path
from typing import Any

from syft_flwr.errors import TransportError
from syft_flwr.transport._disk import read_bounded

FILE = "syft.sub.yaml"
_MAX_SIZE = 1 << 20
_MAX_RULES = 1_000
_MAX_PATTERN = 512
_MAX_ALTERNATIVES = 64
_ALLOW, _PAUSE, _BLOCK = "allow", "pause", "block"
#: The meaning of each spelling of an action. An empty one blocks.
_ACTIONS = {_ALLOW: _ALLOW, _PAUSE: _PAUSE, _BLOCK: _BLOCK, "deny": _BLOCK, "": _BLOCK}
#: The lines of a new file before its rules.
NEW_FILE = ("version: 1", f"defaults: {{action: {_BLOCK}}}", "rules:")
_BRACES = re.compile(r"\{([^{}]*)\}")


class SubscriptionFileError(Exception):
    """Subscriptions that the SyftBox client cannot read either."""


@dataclass(frozen=True, slots=True)
class _Subscription:
    action: str
    datasite: str
    path: str

    def applies(self, name: str) -> bool:
        datasite, _, rest = name.partition("/")
        if not self.path:
            return False
        if self.datasite:
            return matches(self.datasite, datasite) and matches(self.path, rest)
        return matches(self.path, name)


@dataclass(frozen=True, slots=True)
class SubscriptionFile:
    """The default action and the rules."""

    default: str = _BLOCK
    rules: tuple[_Subscription, ...] = ()

    def allow(self, name: str) -> bool:
        """Return whether the file ``name``, in the datasite of another participant, is synced."""
        actions = [rule.action for rule in self.rules if rule.applies(name)]
        return (actions or [self.default])[-1] == _ALLOW

    @classmethod
    def parse(cls, document: Any) -> "SubscriptionFile":
        """Return the subscriptions in a parsed file or in a response of the daemon.

        Raises:
            SubscriptionFileError: the document does not have the form of subscriptions.
        """
        top = _mapping(document)
        listed = top.get("rules") or []
        if not isinstance(listed, list) or len(listed) > _MAX_RULES:
            raise SubscriptionFileError("rules")
        default = _action(_mapping(top.get("defaults")).get("action"))
        return cls(default, tuple(_parse_rules(listed)))

    @classmethod
    def read(cls, path: Path) -> "SubscriptionFile | None":
        """Return the subscriptions in a file; None if there is no file.

        Raises:
            SubscriptionFileError: the file cannot be read, or does not have the form of subscriptions.
        """
        import yaml  # type: ignore[import-untyped]

        try:
            data = read_bounded(path, _MAX_SIZE)
        except TransportError as error:
            # An empty file has no content to read, and counts as the default.
            if path.is_file() and not path.stat().st_size:
                return cls()
            if not path.exists():
                return None
            raise SubscriptionFileError(str(error)) from error
        try:
            return cls.parse(yaml.safe_load(data))
        except (yaml.YAMLError, ValueError, RecursionError) as error:
            # An impossible date or number is a ValueError.
            raise SubscriptionFileError(type(error).__name__) from error


def rule_lines(rules: Iterable[tuple[str, str]]) -> list[str]:
    """Return the lines in the list ``rules`` of a file that allow each datasite and path."""
    return [f"- {{action: {_ALLOW}, datasite: {_quoted(one)}, path: {_quoted(path)}}}" for one, path in rules]


def _parse_rules(listed: list[Any]) -> Iterator[_Subscription]:
    for item in listed:
        rule = _mapping(item)
        datasite, path = rule.get("datasite") or "", rule.get("path") or ""
        if not isinstance(datasite, str) or not isinstance(path, str) or len(datasite) + len(path) > _MAX_PATTERN:
            raise SubscriptionFileError("rule")
        # A rule without an action changes nothing.
        if rule.get("action") is not None:
            yield _Subscription(_action(rule["action"]), datasite, path)


def _mapping(value: Any) -> dict[Any, Any]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise SubscriptionFileError(type(value).__name__)
    return value


def _action(value: Any) -> str:
    # The text of a list or mapping can have any length, because aliases of YAML repeat their parts.
    text = value.strip().lower() if isinstance(value, str) else None if value else ""
    if text not in _ACTIONS:
        raise SubscriptionFileError("action")
    return _ACTIONS[text]


def matches(pattern: str, name: str) -> bool:
    """Return whether a pattern matches a whole name, as the Go library doublestar does.

    ``**`` as a whole segment stands for any number of segments, ``{a,b}`` for alternatives.
    """
    return any(_fits(_clean(one).split("/"), _clean(name).split("/")) for one in _alternatives(pattern))


def _clean(path: str) -> str:
    return posixpath.normpath(path.replace("\\", "/").lstrip("/")) if path else path


def _alternatives(pattern: str) -> list[str]:
    parts = [part.split(",") if at % 2 else [part] for at, part in enumerate(_BRACES.split(pattern))]
    combined = product(*parts)
    return ["".join(chosen) for chosen, _ in zip(combined, range(_MAX_ALTERNATIVES), strict=False)]


def _fits(pattern: list[str], segments: list[str]) -> bool:
    """Return whether the segments of a pattern match all segments of a name; it tracks the reachable positions."""
    reached = _past_stars(pattern, {0})
    for segment in segments:
        moved = {at for at in reached if at < len(pattern) and pattern[at] == "**"}
        moved |= {
            at + 1
            for at in reached
            if at < len(pattern) and pattern[at] != "**" and fnmatchcase(segment, pattern[at].replace("[^", "[!"))
        }
        reached = _past_stars(pattern, moved)
    return len(pattern) in reached


def _past_stars(pattern: list[str], positions: set[int]) -> set[int]:
    reached = set(positions)
    for at in range(len(pattern)):
        if at in reached and pattern[at] == "**":
            reached.add(at + 1)
    return reached


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
