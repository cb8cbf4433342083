"""The ``fields`` parameter: which parts of an answer are wanted.

``a,b/c,d(e,f)`` names parts of a resource, ``*`` all of it. A name that the resource does not have is refused, also if
this file happens not to have a value for it.
"""

import re
from collections.abc import Mapping
from typing import Any

from syft_flwr.emulators.gdrive.drive_errors import invalid_field, required
from syft_flwr.emulators.gdrive.schema import ANSWERS, DEFAULTS, Shape

_TOKEN = re.compile(r"\s*(?:(?P<name>[A-Za-z0-9_\-$]+|\*)|(?P<sign>[,/()]))")
_DEPTH = 20

#: Wanted parts by name, with what is wanted of each; ``None`` is all of it.
Mask = dict[str, "Mask"] | None


def wanted(method: str, query: Mapping[str, str]) -> Mask:
    """Return the mask of a call, before anything is done, so that a bad one does nothing.

    Raises:
        DriveError: 400 at ``fields``.
    """
    if method not in ANSWERS:
        return None
    if method == "about.get" and not query.get("fields"):
        raise required("fields")
    return parse(query.get("fields") or DEFAULTS.get(method, "*"), ANSWERS[method])


def parse(text: str, shape: Shape) -> Mask:
    """Read a mask for a resource of a shape.

    Raises:
        DriveError: 400 at ``fields``.
    """
    parser = _MaskParser(text)
    mask = parser.items(shape, 0)
    if parser.rest():
        raise invalid_field(text)
    return mask


def apply(mask: Mask, value: Any) -> Any:
    """Return what the mask wants of a value; lists are gone through."""
    if mask is None:
        return value
    if isinstance(value, list):
        return [apply(mask, each) for each in value]
    if not isinstance(value, Mapping):
        return value
    return {name: apply(mask[name], each) for name, each in value.items() if name in mask}


def inner(mask: Mask, *names: str) -> Mask:
    """Return what is wanted of a part of a part; of one that is not wanted, nothing."""
    for name in names:
        if mask is None:
            return None
        mask = mask.get(name, {})
    return mask


class _MaskParser:
    def __init__(self, text: str) -> None:
        self._text = text
        self._position = 0

    def rest(self) -> str:
        return self._text[self._position :].strip()

    def items(self, shape: Shape, depth: int) -> Mask:
        mask: Mask = {}
        while True:
            name, wanted = self._item(shape, depth)
            if name == "*":
                mask = None
            elif mask is not None:
                mask[name] = _joined(mask[name], wanted) if name in mask else wanted
            if not self._take(","):
                return mask

    def _item(self, shape: Shape, depth: int) -> tuple[str, Mask]:
        if depth > _DEPTH:
            raise invalid_field(self._text)
        name = self._name()
        if name == "*":
            return name, None
        if shape is not None and name not in shape:
            raise invalid_field(name)
        inner = shape[name] if shape is not None else None
        if self._take("/"):
            below, wanted = self._item(self._inner(name, shape, inner), depth + 1)
            return name, None if below == "*" else {below: wanted}
        if self._take("("):
            mask = self.items(self._inner(name, shape, inner), depth + 1)
            if not self._take(")"):
                raise invalid_field(self._text)
            return name, mask
        return name, None

    def _inner(self, name: str, shape: Shape, inner: Shape) -> Shape:
        """Return what ``name`` consists of; something without parts has none that could be named."""
        if shape is not None and inner == {}:
            raise invalid_field(name)
        return inner

    def _name(self) -> str:
        found = _TOKEN.match(self._text, self._position)
        if not found or not found["name"]:
            raise invalid_field(self._text)
        self._position = found.end()
        return found["name"]

    def _take(self, sign: str) -> bool:
        found = _TOKEN.match(self._text, self._position)
        if found and found["sign"] == sign:
            self._position = found.end()
            return True
        return False


def _joined(one: Mask, other: Mask) -> Mask:
    if one is None or other is None:
        return None
    names = [*one, *(name for name in other if name not in one)]
    return {
        name: _joined(one[name], other[name])
        if name in one and name in other
        else (one if name in one else other)[name]
        for name in names
    }
