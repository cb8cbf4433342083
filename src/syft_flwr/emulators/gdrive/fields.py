"""The ``fields`` parameter, which selects parts of a response.

``a,b/c,d(e,f)`` selects parts of a resource, and ``*`` selects all of it. Only names in the schema of the resource are
allowed; a file needs no value for them.
"""

import re
from collections.abc import Mapping
from typing import Any

from syft_flwr.emulators.gdrive.drive_errors import invalid_field, required
from syft_flwr.emulators.gdrive.schema import ANSWERS, DEFAULTS, Shape

_TOKEN = re.compile(r"\s*(?:(?P<name>[A-Za-z0-9_\-$]+|\*)|(?P<sign>[,/()]))")
_DEPTH = 20

#: The selected parts by name, each with its own mask; None selects everything.
Mask = dict[str, "Mask"] | None


def wanted(method: str, query: Mapping[str, str]) -> Mask:
    """Return the mask of a call. It runs before the call, so that a call with an invalid mask changes nothing.

    Raises:
        DriveError: 400 at ``fields``, the mask is missing or not valid.
    """
    if method not in ANSWERS:
        return None
    if method == "about.get" and not query.get("fields"):
        raise required("fields")
    return parse(query.get("fields") or DEFAULTS.get(method, "*"), ANSWERS[method])


def parse(text: str, shape: Shape) -> Mask:
    """Return the mask of a text, for a resource with the given schema.

    Raises:
        DriveError: 400 at ``fields``, the text is not valid.
    """
    parser = _MaskParser(text)
    mask = parser.items(shape, 0)
    if parser.rest():
        raise invalid_field(text)
    return mask


def apply(mask: Mask, value: Any) -> Any:
    """Return the parts of a value that the mask selects; in a list, of each item."""
    if mask is None:
        return value
    if isinstance(value, list):
        return [apply(mask, each) for each in value]
    if not isinstance(value, Mapping):
        return value
    return {name: apply(mask[name], each) for name, each in value.items() if name in mask}


def inner(mask: Mask, *names: str) -> Mask:
    """Return the mask of the part at the path ``names``; empty if the mask does not select it."""
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
        """Return the schema of the parts of ``name``; refuse a plain value, which has no parts."""
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
