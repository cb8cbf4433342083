"""Finds the files of the user that keep peers from messages: ``syft.pub.yaml`` without the rules that messages need.

Such a file is never changed, so a person must add the rules. As in SyftBox's server, the nearest file above a name
decides, and files below one with ``terminal: true`` do not count. In a file, the most specific pattern that matches decides.
"""

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from syft_flwr.errors import ConfigError, TransportError
from syft_flwr.names import AppNames, card
from syft_flwr.transport._disk import read_bounded
from syft_flwr.transport._syftbox.permissions import MAX_SIZE, PERMISSIONS, Rule, inbox_rules, is_ours, rule_lines
from syft_flwr.transport._syftbox.subscription_file import matches

_LEVELS = ("read", "write", "admin")
_MAX_RULES = 1_000
_MAX_USER = 512
_ANY_ID = "0" * 32
_USER = re.compile(r"\{\{\s*\.UserEmail\s*\}\}")


@dataclass(frozen=True, slots=True)
class Need:
    """Files that messages need in one folder: their names, the right that each peer needs, and the rules that give it."""

    folder: str
    rules: tuple[Rule, ...]
    #: Names with the user and the level of each one.
    uses: tuple[tuple[str, str, str], ...]


@dataclass(frozen=True, slots=True)
class _PermissionFile:
    """A permission file of the user. Without ``rules``, SyftBox cannot use it."""

    path: Path
    folder: PurePosixPath
    rules: tuple[tuple[str, dict[str, list[str]]], ...] | None = None
    terminal: bool = False

    def allows(self, name: str, user: str, level: str) -> bool:
        path = str(PurePosixPath(name).relative_to(self.folder))
        for pattern, users in self.rules or ():
            if _fits(_USER.sub(user, pattern), path):
                granted = [who for each in _LEVELS[_LEVELS.index(level) :] for who in users.get(each, ())]
                return any(who in ("*", "USER", user) or matches(who, user) for who in granted)
        return False


@dataclass(slots=True)
class _Lack:
    """The rules that one file of the user lacks."""

    rules: list[Rule] = field(default_factory=list)
    users: set[str] = field(default_factory=set)


def needs_of(me: str, peers: Collection[str], app: AppNames | None, *, answers: bool) -> list[Need]:
    """Return the needs of a participant: of its key card, and in an app of its objects, status and inbox.

    ``answers`` tells whether it receives requests.
    """
    folder = f"{me}/public"
    needs = [Need(folder, (("syft_flwr.json", ("*",), ()),), tuple((card(me), peer, "read") for peer in peers))]
    if app:
        for shared, names in (
            (app.objects(me), [app.object(me, _ANY_ID, pushed=pushed) for pushed in (False, True)]),
            (app.status(me), [app.heartbeat(me)]),
        ):
            uses = tuple((name, peer, "read") for peer in peers for name in names)
            # More specific than ``**``, which the file of the user may have already.
            patterns = [f"**/*.{name.rpartition('.')[2]}" for name in names]
            needs.append(Need(shared.rstrip("/"), tuple((each, tuple(sorted(peers)), ()) for each in patterns), uses))
    if app and answers:
        uses = tuple((make(me, peer, _ANY_ID), peer, "write") for peer in peers for make in (app.request, app.response))
        needs.append(Need(app.inbox(me).rstrip("/"), tuple(inbox_rules()), uses))
    return needs


def missing_permissions(datasites: Path, needs: Collection[Need]) -> Iterator[ConfigError]:
    """Yield an error for each file of the user that keeps a peer from a need, with the rules to add."""
    lacks: dict[Path, _Lack] = {}
    for need in needs:
        found = _deciding(datasites, PurePosixPath(need.folder))
        refused = {user for name, user, level in need.uses if found and not found.allows(name, user, level)}
        if found is None or not refused:
            continue
        if found.rules is None:
            yield ConfigError(
                f"{found.path} is not written by syft-flwr and has no valid rules, so peers may not read or write there",
                hint="Move it away, then start again: syft-flwr then writes its own file.",
            )
            continue
        inner = PurePosixPath(need.folder).relative_to(found.folder)
        lack = lacks.setdefault(found.path, _Lack())
        lack.rules += [(str(inner / pattern), read, write) for pattern, read, write in need.rules]
        lack.users |= refused
    for path, lack in lacks.items():
        lines = "\n  ".join(rule_lines(lack.rules))
        yield ConfigError(
            f"{path} is your own file, and gives {', '.join(sorted(lack.users))} no access to files that messages need",
            hint="Add these lines to its list rules (without one, first the line rules: above them), then start again:\n"
            f"  {lines}",
        )


def _deciding(datasites: Path, folder: PurePosixPath) -> _PermissionFile | None:
    """Return the file of the user that decides about a folder; None if a file of this program decides, or will."""
    found: _PermissionFile | None = None
    for above in (*reversed(folder.parents[:-1]), folder):
        path = datasites / above / PERMISSIONS
        look = _look(path, above)
        if isinstance(look, _PermissionFile):
            found = look
            if look.terminal:
                return look
        elif look or above == folder:
            # This program has written this file, or writes it at the start.
            found = None
    return found


def _look(path: Path, folder: PurePosixPath) -> _PermissionFile | bool:
    """Return the file of the user at ``path``; otherwise whether this program wrote the file there."""
    import yaml  # type: ignore[import-untyped]

    # The loader in Python needs a minute for the largest file.
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    if not path.is_symlink() and (not path.exists() or (path.is_file() and not path.stat().st_size)):
        return False
    try:
        content = read_bounded(path, MAX_SIZE)
        return is_ours(content) or _parsed(path, folder, yaml.load(content, loader))  # noqa: S506 - a safe one
    except (TransportError, yaml.YAMLError, ValueError, TypeError, LookupError, AttributeError, RecursionError):
        # A value that its tag does not fit, such as ``!!bool x``, makes the library raise many kinds of errors.
        return _PermissionFile(path, folder)


def _parsed(path: Path, folder: PurePosixPath, document: Any) -> _PermissionFile:
    """Return the rules of a parsed file, the most specific first.

    Raises:
        ValueError, TypeError: the document does not have the form of permissions.
    """
    top = document or {}
    if not isinstance(top, dict) or not isinstance(listed := top.get("rules") or [], list):
        raise TypeError("no mapping with a list of rules")
    rules = []
    for rule in listed[:_MAX_RULES]:
        pattern, access = (rule.get("pattern"), rule.get("access")) if isinstance(rule, dict) else (None, None)
        if not isinstance(pattern, str) or not pattern or not isinstance(access, dict):
            raise TypeError("a rule without pattern or access")
        rules.append((pattern, {level: _users(access.get(level)) for level in _LEVELS}))
    ordered = sorted(rules, key=lambda rule: -_specificity(rule[0]))
    return _PermissionFile(path, folder, tuple(ordered), terminal=top.get("terminal") is True)


def _users(listed: Any) -> list[str]:
    if listed is not None and not isinstance(listed, list):
        raise TypeError("users that are no list")
    return [who for who in listed or () if isinstance(who, str) and len(who) <= _MAX_USER]


def _fits(pattern: str, path: str) -> bool:
    # The server compares a pattern without these characters as text.
    return matches(pattern, path) if any(each in pattern for each in "*?[") else pattern == path


def _specificity(pattern: str) -> int:
    """Return the rank of a pattern in a file: the server uses the matching rule with the highest one."""
    if pattern in ("**", "**/*"):
        return -100 + (pattern == "**/*")
    wild = 10 * pattern.count("*") + 10 * pattern.startswith("*") + 2 * sum(map(pattern.count, "?![{"))
    return 2 * len(pattern) + 10 * pattern.count("/") + 50 * bool(_USER.search(pattern)) - wild
