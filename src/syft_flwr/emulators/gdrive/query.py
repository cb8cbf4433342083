r"""Parse the query language of the parameter ``q`` in ``files.list``.

A query joins conditions of the form ``term operator value`` by ``and``, ``or``, ``not`` and parentheses. ``and`` and
``or`` have the same precedence and are evaluated from left to right. Strings are in single quotes, with ``\'`` for a
quote and ``\\`` for a backslash::

    parse("'me' in owners and name = 'it\\'s' and not trashed = true")

A query with an unknown part is refused as a whole.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

from syft_flwr.emulators.gdrive.drive_errors import invalid

_TOKEN = re.compile(
    r"\s*(?:(?P<string>'(?:[^'\\]|\\.)*')|(?P<sign><=|>=|!=|[=<>(){}])|(?P<word>[A-Za-z]+(?:\.[A-Za-z]+)?))", re.S
)
_ESCAPED = re.compile(r"\\(.)", re.S)
_EQUAL = frozenset({"=", "!="})
_ORDERED = frozenset({"=", "!=", "<", "<=", ">", ">="})
_OPERATORS = {
    "name": _EQUAL | {"contains"},
    "mimeType": _EQUAL | {"contains"},
    "fullText": frozenset({"contains"}),
    "visibility": _EQUAL,
    "modifiedTime": _ORDERED,
    "createdTime": _ORDERED,
    "viewedByMeTime": _ORDERED,
    "sharedWithMeTime": _ORDERED,
    "trashed": _EQUAL,
    "starred": _EQUAL,
    "sharedWithMe": _EQUAL,
    "shortcutDetails.targetId": _EQUAL,
}
_TIMES = frozenset({"modifiedTime", "createdTime", "viewedByMeTime", "sharedWithMeTime"})
_FLAGS = frozenset({"trashed", "starred", "sharedWithMe"})
_COLLECTIONS = frozenset({"parents", "owners", "writers", "readers", "labels"})
_MAPS = frozenset({"properties", "appProperties"})
_DEPTH = 100
# How often a query may alternate between ``and`` and ``or``; each change makes the tree one level deeper.
_TURNS = 100


@dataclass(frozen=True, slots=True)
class All:
    parts: tuple["Node", ...]


@dataclass(frozen=True, slots=True)
class Some:
    parts: tuple["Node", ...]


@dataclass(frozen=True, slots=True)
class Negation:
    part: "Node"


@dataclass(frozen=True, slots=True)
class Comparison:
    """The condition ``term operator value``; times and flags are converted to their types."""

    term: str
    operator: str
    value: str | bool | datetime


@dataclass(frozen=True, slots=True)
class Membership:
    """The condition ``'value' in collection``."""

    value: str
    collection: str


@dataclass(frozen=True, slots=True)
class PropertyMatch:
    """The condition ``properties has {key='k' and value='v'}``."""

    properties: str
    key: str
    value: str


Node = All | Some | Negation | Comparison | Membership | PropertyMatch


def parse(text: str) -> Node:
    """Return the tree of a query.

    Raises:
        DriveError: 400 at ``q``, the query is not valid.
    """
    return _QueryParser(text).whole()


def quote(text: str) -> str:
    """Return a text as a quoted string of the query language."""
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


def terms(node: Node) -> Iterator[Comparison | Membership | PropertyMatch]:
    """Yield the conditions of a query."""
    match node:
        case All(parts) | Some(parts):
            for part in parts:
                yield from terms(part)
        case Negation(part):
            yield from terms(part)
        case _:
            yield node


def is_several_parents(node: Node) -> bool:
    """Return whether a query joins several parents by ``or``; Drive sometimes returns no files for such a query."""
    match node:
        case Some(parts):
            named = [part for part in parts if isinstance(part, Membership) and part.collection == "parents"]
            return len(named) > 1 or any(map(is_several_parents, parts))
        case All(parts):
            return any(map(is_several_parents, parts))
        case Negation(part):
            return is_several_parents(part)
        case _:
            return False


def only_parent(node: Node | None) -> str | None:
    """Return the id of the folder that the query is limited to, or None."""
    match node:
        case Membership(folder, "parents"):
            return folder
        case All(parts):
            return next(filter(None, map(only_parent, parts)), None)
        case _:
            return None


class _QueryParser:
    def __init__(self, text: str) -> None:
        self._tokens = list(_tokens(text))
        self._next = 0
        self._depth = 0
        self._turns = 0

    def whole(self) -> Node:
        node = self._joined()
        if self._next != len(self._tokens):
            raise invalid("q")
        return node

    def _joined(self) -> Node:
        """Parse conditions joined by ``and`` and ``or``, from left to right."""
        self._depth += 1
        if self._depth > _DEPTH:
            raise invalid("q")
        node = self._one()
        last: type[All | Some] | None = None
        while kind := self._take_join():
            if last not in {None, kind}:
                self._turns += 1
            if self._turns > _TURNS:
                raise invalid("q")
            parts = node.parts if isinstance(node, All | Some) and kind is last else (node,)
            node, last = kind((*parts, self._one())), kind
        self._depth -= 1
        return node

    def _take_join(self) -> type[All | Some] | None:
        if self._take("word", "and"):
            return All
        return Some if self._take("word", "or") else None

    def _one(self) -> Node:
        negations = 0
        while self._take("word", "not"):
            negations += 1
        if self._take("sign", "("):
            node = self._joined()
            self._expect("sign", ")")
        else:
            node = self._term()
        return Negation(node) if negations % 2 else node

    def _term(self) -> Node:
        kind, text = self._any()
        if kind == "string":
            self._expect("word", "in")
            return Membership(text, self._expect_one_of(_COLLECTIONS))
        if text in _MAPS:
            return self._entry(text)
        if kind != "word" or text not in _OPERATORS:
            raise invalid("q")
        if text == "sharedWithMe" and not self._follows(_EQUAL):
            return Comparison(text, "=", value=True)
        operator = self._expect_one_of(_OPERATORS[text])
        return Comparison(text, operator, self._value(text))

    def _value(self, term: str) -> str | bool | datetime:
        kind, text = self._any()
        if term in _FLAGS:
            if kind != "word" or text not in {"true", "false"}:
                raise invalid("q")
            return text == "true"
        if kind != "string":
            raise invalid("q")
        return read_time(text, "q") if term in _TIMES else text

    def _entry(self, properties: str) -> PropertyMatch:
        self._expect("word", "has")
        self._expect("sign", "{")
        found: dict[str, str] = {}
        for name in ("key", "value"):
            if found:
                self._expect("word", "and")
            self._expect("word", name)
            self._expect("sign", "=")
            kind, found[name] = self._any()
            if kind != "string":
                raise invalid("q")
        self._expect("sign", "}")
        return PropertyMatch(properties, found["key"], found["value"])

    def _any(self) -> tuple[str, str]:
        if self._next >= len(self._tokens):
            raise invalid("q")
        self._next += 1
        return self._tokens[self._next - 1]

    def _follows(self, texts: frozenset[str]) -> bool:
        return self._next < len(self._tokens) and self._tokens[self._next][1] in texts

    def _take(self, kind: str, text: str) -> bool:
        if self._next < len(self._tokens) and self._tokens[self._next] == (kind, text):
            self._next += 1
            return True
        return False

    def _expect(self, kind: str, text: str) -> None:
        if not self._take(kind, text):
            raise invalid("q")

    def _expect_one_of(self, texts: frozenset[str]) -> str:
        kind, text = self._any()
        if kind == "string" or text not in texts:
            raise invalid("q")
        return text


def _tokens(text: str) -> Iterator[tuple[str, str]]:
    position, end = 0, len(text.rstrip())
    while position < end:
        found = _TOKEN.match(text, position)
        if not found or not found.lastgroup:
            raise invalid("q")
        kind = found.lastgroup
        token = found[kind]
        yield kind, _ESCAPED.sub(r"\1", token[1:-1]) if kind == "string" else token
        position = found.end()


def read_time(text: str, parameter: str) -> datetime:
    """Return an RFC 3339 time; a time without an offset is UTC.

    Raises:
        DriveError: 400 at ``parameter``, the text is not a time.
    """
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        raise invalid(parameter) from None
    return time.replace(tzinfo=UTC) if time.tzinfo is None else time
