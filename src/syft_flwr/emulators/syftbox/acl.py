"""Permissions: read ``syft.pub.yaml`` files and decide who may read and write which file.

Rules, as in SyftBox's ``internal/aclspec`` and ``internal/server/acl``:

* The owner of a datasite may do everything in it (``CanAccess``).
* Only the permission file in the nearest folder above a name decides; rules are not inherited. Permission files below
  one with ``terminal: true`` are ignored (``LookupNearestNode``).
* In a permission file, the most specific matching pattern decides (``calculateGlobSpecificity``). A file without the
  pattern ``**`` gets one that allows no access (``setDefaults``). Patterns are relative to the folder of the file.
* admin includes write, and write includes read.
* ``*`` stands for all users, ``USER`` for the requesting user, and ``*@x.org`` for a domain.
* Writing or deleting a permission file needs admin. All users may read permission files.
* A permission file that is not valid changes nothing: the earlier rules stay in force.

Templates may use ``UserEmail``, ``UserHash``, ``lower``, ``upper`` and ``sha2``, but no dates. An email is inserted as
literal text; SyftBox would read a ``{`` in it as part of a pattern.
"""

import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

from syft_flwr.emulators.syftbox.globs import literal, matches
from syft_flwr.emulators.syftbox.sync_names import is_permissions
from syft_flwr.errors import MalformedError

MAX_FILE_SIZE = 64 << 10
_MAX_RULES = 1_000
_MAX_USERS = 10_000
_MAX_PATTERN = 512
_MAX_DECISIONS = 100_000
_LEAST_SPECIFIC = {"**": -100, "**/*": -99}
_TEMPLATE = re.compile(r"\{\{\s*(?:(lower|upper|sha2)\s+)?\.(UserEmail|UserHash)(?:\s+(\d{1,2}))?\s*\}\}")
_FUNCTIONS: dict[str | None, Callable[[str], str]] = {
    None: str,
    "lower": str.lower,
    "upper": str.upper,
    "sha2": lambda text: hashlib.sha256(text.encode()).hexdigest(),
}


class Level(IntEnum):
    """A level of access; each level includes the lower ones."""

    READ = 1
    WRITE = 2
    ADMIN = 3


@dataclass(frozen=True, slots=True)
class Rule:
    pattern: str
    users: tuple[tuple[Level, frozenset[str]], ...]

    def applies(self, path: str, user: str) -> bool:
        pattern = self._resolved(lambda found: literal(_resolve(found, user)))
        return pattern is not None and matches(pattern, path)

    def applies_unescaped(self, folder: str, path: str, user: str) -> bool:
        """Return whether the rule applies where emails are parts of the pattern, as in SyftBox's ``rule.go``.

        A pattern without ``*``, ``?`` and ``[`` is compared as text (``hasGlobPattern``).
        """
        pattern = self._resolved(lambda found: _resolve(found, user))
        if pattern is None:
            return False
        pattern, path = f"{folder}/{pattern}", f"{folder}/{path}"
        return matches(pattern, path) if any(each in pattern for each in "*?[") else pattern == path

    def _resolved(self, resolve: Callable[[re.Match[str]], str]) -> str | None:
        """Return the pattern with its templates filled in, or None if one is unknown."""
        if "{{" not in self.pattern:
            return self.pattern
        pattern = _TEMPLATE.sub(resolve, self.pattern)
        return None if "{{" in pattern else pattern

    def grants(self, user: str, level: Level) -> bool:
        return any(
            granted >= level and any(who in ("*", "USER", user) or matches(who, user) for who in users)
            for granted, users in self.users
        )


@dataclass(frozen=True, slots=True)
class RuleSet:
    """The rules of one permission file, the most specific first."""

    rules: tuple[Rule, ...]
    terminal: bool = False


def _resolve(found: re.Match[str], user: str) -> str:
    function, field, length = found.groups()
    # getUserHash in matcher.go takes 8 bytes, which are 16 digits; SyftBox's documentation says 8 digits.
    value = user if field == "UserEmail" else hashlib.sha256(user.encode()).hexdigest()[:16]
    resolved = _FUNCTIONS[function](value)
    return resolved[: int(length) or 16] if length and function == "sha2" else resolved


def specificity(pattern: str) -> int:
    """Return SyftBox's score of a pattern; the matching pattern with the highest score decides."""
    if pattern in _LEAST_SPECIFIC:
        return _LEAST_SPECIFIC[pattern]
    score = 2 * len(pattern) + 10 * pattern.count("/") + 50 * ("{{" in pattern and "}}" in pattern)
    score -= 10 * pattern.count("*") + 10 * pattern.startswith("*")
    return score - 2 * sum(map(pattern.count, "?![{"))


def parse_rules(data: bytes, what: str) -> RuleSet:
    """Return the rules of a permission file.

    Args:
        data: the content of the file, in YAML.
        what: the name of the file, for errors.

    Raises:
        MalformedError: the file is too large, is not YAML, or does not have the form of a permission file.
    """
    import yaml  # type: ignore[import-untyped]

    if len(data) > MAX_FILE_SIZE:
        raise MalformedError(f"{what}: the file has {len(data)} bytes; at most {MAX_FILE_SIZE} are allowed")
    try:
        document = yaml.safe_load(data)
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise MalformedError(f"{what}: the file is not valid YAML ({type(error).__name__})") from error
    top = _mapping(document, what)
    terminal = top.get("terminal", False)
    if not isinstance(terminal, bool):
        raise MalformedError(f"{what}: terminal must be true or false")
    listed = top.get("rules") or []
    if not isinstance(listed, list) or len(listed) > _MAX_RULES:
        raise MalformedError(f"{what}: rules must be a list of at most {_MAX_RULES} rules")
    rules = [_parse_rule(item, what) for item in listed]
    if not any(rule.pattern == "**" for rule in rules):
        rules.append(Rule("**", ()))
    return RuleSet(tuple(sorted(rules, key=lambda rule: -specificity(rule.pattern))), terminal)


def _parse_rule(item: object, what: str) -> Rule:
    fields = _mapping(item, what)
    pattern, access = fields.get("pattern"), fields.get("access")
    if not isinstance(pattern, str) or not 0 < len(pattern) <= _MAX_PATTERN:
        raise MalformedError(f"{what}: every rule needs a pattern of 1 to {_MAX_PATTERN} characters")
    if access is None:
        raise MalformedError(f"{what}: the rule for {pattern!r} needs the field access")
    lists = _mapping(access, what)
    users = []
    for level in Level:
        who = lists.get(level.name.lower()) or []
        if not isinstance(who, list) or len(who) > _MAX_USERS or not all(isinstance(one, str) for one in who):
            raise MalformedError(f"{what}: {level.name.lower()} of {pattern!r} must be a list of users")
        users.append((level, frozenset(who)))
    return Rule(pattern, tuple(users))


def _mapping(value: object, what: str) -> dict[Any, Any]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise MalformedError(f"{what}: expected a YAML mapping, found {type(value).__name__}")
    return value


class Permissions:
    """The rule sets in force, by folder. Not thread-safe: the server calls it with its lock held.

    Args:
        faithful: follow SyftBox where it is careless. An owner is a prefix of the name (``isOwner``), emails are parts
            of patterns, and the rules decide who may read a permission file.
    """

    def __init__(self, *, faithful: bool = False) -> None:
        self._faithful = faithful
        self._rule_sets: dict[str, RuleSet] = {}
        self._decisions: dict[tuple[str, str, Level], bool] = {}

    def put(self, folder: str, rule_set: RuleSet) -> None:
        self._rule_sets[folder] = rule_set
        self._decisions.clear()

    def remove(self, folder: str) -> None:
        self._rule_sets.pop(folder, None)
        self._decisions.clear()

    def allow(self, user: str, name: str, level: Level) -> bool:
        if self._owns(user, name):
            return True
        if is_permissions(name):
            if level == Level.READ and not self._faithful:
                return True
            level = level if level == Level.READ else Level.ADMIN
        asked = (user, name, level)
        decision = self._decisions.get(asked)
        if decision is None:
            if len(self._decisions) >= _MAX_DECISIONS:
                self._decisions.clear()
            decision = self._decisions[asked] = self._decide(user, name, level)
        return decision

    def _decide(self, user: str, name: str, level: Level) -> bool:
        folder, path = self._nearest(name)
        if folder is None:
            return False
        rule = next((rule for rule in self._rule_sets[folder].rules if self._applies(rule, folder, path, user)), None)
        return rule is not None and rule.grants(user, level)

    def _owns(self, user: str, name: str) -> bool:
        return name.startswith(user) if self._faithful else name.partition("/")[0] == user

    def _applies(self, rule: Rule, folder: str, path: str, user: str) -> bool:
        return rule.applies_unescaped(folder, path, user) if self._faithful else rule.applies(path, user)

    def _nearest(self, name: str) -> tuple[str | None, str]:
        """Return the folder of the permission file that decides, and ``name`` relative to that folder."""
        nearest: str | None = None
        end = name.find("/")
        while end > 0 and not (nearest is not None and self._rule_sets[nearest].terminal):
            if name[:end] in self._rule_sets:
                nearest = name[:end]
            end = name.find("/", end + 1)
        return nearest, name[len(nearest) + 1 :] if nearest is not None else name
