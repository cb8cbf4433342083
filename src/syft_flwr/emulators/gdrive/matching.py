"""Match a file, as one user sees it, against a query."""

import operator
import re
from collections.abc import Callable
from datetime import datetime
from typing import Any

from syft_flwr.emulators.gdrive.query import All, Comparison, Membership, Negation, Node, PropertyMatch, Some
from syft_flwr.emulators.gdrive.records import EmulatedFile
from syft_flwr.emulators.gdrive.resources import FileView

_WORD = re.compile(r"\w+")
_COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    "=": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_HELD: dict[str, Callable[[FileView], Any]] = {
    "mimeType": lambda view: view.file.mime_type,
    "visibility": lambda view: view.visibility,
    "modifiedTime": lambda view: view.file.modified,
    "createdTime": lambda view: view.file.created,
    "sharedWithMeTime": lambda view: view.shared_at,
    # The emulator has no browser views.
    "viewedByMeTime": lambda _: None,
    "trashed": lambda view: view.trashed,
    "starred": lambda view: view.file.starred,
    "sharedWithMe": lambda view: view.shared_with_me,
    # The emulator has no shortcuts.
    "shortcutDetails.targetId": lambda _: None,
}


def matches(node: Node, view: FileView) -> bool:
    match node:
        case All(parts):
            return all(matches(part, view) for part in parts)
        case Some(parts):
            return any(matches(part, view) for part in parts)
        case Negation(part):
            return not matches(part, view)
        case _:
            return _leaf_matches(node, view)


def _leaf_matches(node: Comparison | Membership | PropertyMatch, view: FileView) -> bool:
    match node:
        case Membership(value, "parents"):
            return (view.root if value == "root" else value) in view.parents
        case Membership(_, "labels"):
            return False
        case Membership(value, collection):
            return (view.actor.email if value == "me" else value.lower()) in view.people(collection)
        case PropertyMatch(properties, key, value):
            held = view.file.properties if properties == "properties" else view.own_properties
            return held.get(key) == value
        case Comparison(term, sign, value):
            return _compare(term, sign, value, view)


def _compare(term: str, sign: str, value: str | bool | datetime, view: FileView) -> bool:
    file = view.file
    if sign == "contains":
        return _contains(term, str(value), file)
    if term == "name":
        return _COMPARE[sign](file.name.casefold(), str(value).casefold())
    held = _HELD[term](view)
    return held is not None and _COMPARE[sign](held, value)


def _contains(term: str, text: str, file: EmulatedFile) -> bool:
    if term == "mimeType":
        return file.mime_type.startswith(text)
    return starts_words(text, file.name if term == "name" else f"{file.name} {file.description or ''}")


def starts_words(wanted: str, name: str) -> bool:
    """Return whether each word of ``wanted`` is the beginning of a word of ``name``, ignoring case.

    A word consists of letters and digits. All other characters separate words, including the underscore.
    """
    words = _words(name)
    return all(any(word.startswith(each) for word in words) for each in _words(wanted))


def _words(text: str) -> list[str]:
    return _WORD.findall(text.casefold().replace("_", " "))
