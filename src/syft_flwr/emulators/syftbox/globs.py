"""Path patterns of SyftBox permission files: a subset of the Go library doublestar v4.

* ``*`` and ``?`` match within one segment of a path.
* ``[ab]``, ``[^a]`` and ``[!a]`` are classes, and ``{a,b}`` are alternatives.
* A backslash makes the next character literal.
* ``**`` as a whole segment matches zero or more segments; inside a segment it means ``*``.

Matching takes time linear in pattern and path, so a hostile pattern cannot block the server.
"""

import functools
from fnmatch import fnmatchcase

_MAX_ALTERNATIVES = 64
_SPECIAL = frozenset("*?[]{}\\")


def literal(text: str) -> str:
    """Return the pattern that matches only ``text``."""
    return "".join(f"\\{character}" if character in _SPECIAL else character for character in text)


def matches(pattern: str, path: str) -> bool:
    """Return whether the pattern matches the whole ``path``; an invalid pattern matches no path."""
    segments = path.split("/")
    return any(_fits(alternative, segments) for alternative in _compiled(pattern))


@functools.lru_cache(maxsize=1024)
def _compiled(pattern: str) -> tuple[tuple[str, ...], ...]:
    alternatives = _expand(pattern) or ()
    return tuple(tuple(_translate(segment) for segment in one.split("/")) for one in alternatives)


def _expand(pattern: str) -> list[str] | None:
    """Return one pattern for each alternative in braces.

    Return None for an unclosed brace or more than ``_MAX_ALTERNATIVES`` alternatives.
    """
    opening = _find(pattern, 0, "{")
    if opening is None:
        return [pattern]
    choices, start, at, depth = [], opening + 1, opening + 1, 1
    while depth:
        found = _find(pattern, at, "{,}")
        if found is None:
            return None
        depth += {"{": 1, "}": -1, ",": 0}[pattern[found]]
        if depth == 0 or (depth == 1 and pattern[found] == ","):
            choices.append(pattern[start:found])
            start = found + 1
        at = found + 1
    expanded: list[str] = []
    for choice in choices:
        inner = _expand(pattern[:opening] + choice + pattern[at:])
        if inner is None or len(expanded) + len(inner) > _MAX_ALTERNATIVES:
            return None
        expanded += inner
    return expanded


def _find(pattern: str, at: int, wanted: str) -> int | None:
    """Return the position of the next ``wanted`` character that is outside a class and not escaped."""
    while at < len(pattern):
        character = pattern[at]
        if character in wanted:
            return at
        if character == "\\":
            at += 1
        elif character == "[" and "]" in pattern[at + 2 :]:
            at = pattern.index("]", at + 2)
        at += 1
    return None


def _translate(segment: str) -> str:
    """Return one segment rewritten for :mod:`fnmatch`, which has no escapes and negates a class only with ``!``."""
    if segment == "**":
        return segment
    rewritten, characters = [], iter(segment)
    for character in characters:
        if character == "\\":
            character = next(characters, "\\")  # noqa: PLW2901
            rewritten.append(f"[{character}]" if character in "*?[" else character)
        elif character == "^" and rewritten and rewritten[-1] == "[":
            rewritten.append("!")
        else:
            rewritten.append(character)
    # Adjacent stars match like one star; _fits reads a segment "**" as any number of segments.
    joined = "".join(rewritten)
    while "**" in joined:
        joined = joined.replace("**", "*")
    return joined


def _fits(pattern: tuple[str, ...], segments: list[str]) -> bool:
    """Return whether the pattern matches all segments.

    It tracks the set of reachable positions in the pattern, so it needs no backtracking.
    """
    positions = _skip_stars(pattern, {0})
    for segment in segments:
        moved: set[int] = set()
        for position in positions:
            if position == len(pattern):
                continue
            if pattern[position] == "**":
                moved.add(position)
            elif fnmatchcase(segment, pattern[position]):
                moved.add(position + 1)
        positions = _skip_stars(pattern, moved)
    return len(pattern) in positions


def _skip_stars(pattern: tuple[str, ...], positions: set[int]) -> set[int]:
    reached = set(positions)
    for position in positions:
        after = position
        while after < len(pattern) and pattern[after] == "**":
            after += 1
            reached.add(after)
    return reached
