"""Whether a file answers a query, for the one who asks."""

import operator
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from syft_flwr.testing.gdrive.query import All, Comparison, Entry, Membership, Negation, Node, Some
from syft_flwr.testing.gdrive.records import Account, Actor, File

_WORD = re.compile(r"\w+")
_COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    "=": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


@dataclass(frozen=True, slots=True)
class Item:
    """A file as one user finds it.

    Attributes:
        parents: empty if the folder is not visible to that user.
        people: emails in ``owners``, ``writers`` and ``readers``.
    """

    file: File
    actor: Actor
    account: Account
    parents: tuple[str, ...]
    trashed: bool
    people: Mapping[str, Collection[str]]
    shared_with_me: bool
    visibility: str


def matches(node: Node, item: Item) -> bool:
    match node:
        case All(parts):
            return all(matches(part, item) for part in parts)
        case Some(parts):
            return any(matches(part, item) for part in parts)
        case Negation(part):
            return not matches(part, item)
        case _:
            return _leaf_matches(node, item)


def _leaf_matches(node: Comparison | Membership | Entry, item: Item) -> bool:
    match node:
        case Membership(value, "parents"):
            return (item.account.root if value == "root" else value) in item.parents
        case Membership(value, collection):
            return (item.actor.email if value == "me" else value.lower()) in item.people[collection]
        case Entry(properties, key, value):
            file = item.file
            held = file.properties if properties == "properties" else file.app_properties.get(item.actor.client, {})
            return held.get(key) == value
        case Comparison(term, sign, value):
            return _compare(term, sign, value, item)


def _compare(term: str, sign: str, value: str | bool | datetime, item: Item) -> bool:
    file = item.file
    if sign == "contains":
        return _contains(term, str(value), file)
    if term == "name":
        return _COMPARE[sign](file.name.casefold(), str(value).casefold())
    held = {
        "mimeType": file.mime_type,
        "visibility": item.visibility,
        "modifiedTime": file.modified,
        "createdTime": file.created,
        "sharedWithMeTime": file.shared_at.get(item.actor.email),
        # Nobody looks at files with a browser here.
        "viewedByMeTime": None,
        "trashed": item.trashed,
        "starred": file.starred,
        "sharedWithMe": item.shared_with_me,
    }
    return held[term] is not None and _COMPARE[sign](held[term], value)


def _contains(term: str, text: str, file: File) -> bool:
    if term == "mimeType":
        return file.mime_type.startswith(text)
    return starts_words(text, file.name if term == "name" else f"{file.name} {file.description or ''}")


def starts_words(wanted: str, name: str) -> bool:
    """Say whether every word of ``wanted`` begins a word of ``name``, whatever the case.

    Words end at everything that is neither letter nor digit; the underscore is such an end, too.
    """
    words = _words(name)
    return all(any(word.startswith(each) for word in words) for each in _words(wanted))


def _words(text: str) -> list[str]:
    return _WORD.findall(text.casefold().replace("_", " "))
