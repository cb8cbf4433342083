"""``files.list``: search, order and pages."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from syft_flwr.clock import Clock
from syft_flwr.testing.gdrive import query
from syft_flwr.testing.gdrive.drive import Drive
from syft_flwr.testing.gdrive.errors import invalid
from syft_flwr.testing.gdrive.identifiers import Identifiers
from syft_flwr.testing.gdrive.matching import Item, matches
from syft_flwr.testing.gdrive.records import Actor, File, Role
from syft_flwr.testing.gdrive.resources import Resources

_PAGE = 100
_MAX_PAGE = 1000
_TOKEN_LIFETIME = timedelta(hours=3)
_NEVER = datetime.min.replace(tzinfo=UTC)
_NUMBER = re.compile(r"(\d+)")


@dataclass(frozen=True, slots=True)
class _Rest:
    """What the pages after this one hold; only the same user with the same question gets it."""

    email: str
    question: tuple[str, str]
    ids: tuple[str, ...]
    until: datetime


class Listing:
    """Not thread-safe; the service calls it under its lock."""

    def __init__(self, drive: Drive, resources: Resources, identifiers: Identifiers, clock: Clock) -> None:
        self._drive = drive
        self._resources = resources
        self._identifiers = identifiers
        self._clock = clock
        self._rests: dict[str, _Rest] = {}

    def page(
        self, actor: Actor, parameters: dict[str, str], *, or_fails: bool = False, at_most: int | None = None
    ) -> tuple[list[File], str | None]:
        """Return a page of files and the token of the next.

        Args:
            or_fails: find nothing where several parents are joined by ``or``, as the service sometimes does.
            at_most: make the page shorter than was asked for, as the service may.

        Raises:
            DriveError: 400 for the query, the order or the token.
        """
        if parameters.get("spaces", "drive") != "drive":
            raise invalid("spaces")
        node = query.parse(parameters["q"]) if parameters.get("q", "").strip() else None
        key = _order(parameters.get("orderBy", ""))
        size = page_size(parameters)
        question = (parameters.get("q", ""), parameters.get("orderBy", ""))
        token = parameters.get("pageToken")
        if token is not None:
            seen = (self._seen(actor, each, node) for each in self._rest(actor, token, question))
            found = [file for file in seen if file and self._answers(actor, file, node)]
        elif or_fails and node is not None and query.is_several_parents(node):
            found = []
        else:
            found = key(self._search(actor, node))
        size = min(size, at_most or size)
        shown, rest = found[:size], found[size:]
        return shown, self._keep(actor, question, rest) if rest else None

    def _search(self, actor: Actor, node: query.Node | None) -> list[File]:
        seen = (self._seen(actor, file_id, node) for file_id in self._drive.store.ids())
        root = self._drive.accounts[actor.email].root
        return [file for file in seen if file and file.id != root and self._answers(actor, file, node)]

    def _seen(self, actor: Actor, file_id: str, node: query.Node | None) -> File | None:
        lags = self._drive.lags
        kind = "list_by_parent" if _is_by_parent(node) else "list_by_name"
        lag = lags.lags(actor.email, kind)
        return self._drive.store.seen(file_id, lag, lag)

    def _answers(self, actor: Actor, file: File, node: query.Node | None) -> bool:
        drive = self._drive
        leaves = list(query.terms(node)) if node else []
        names_parent = any(isinstance(leaf, query.Membership) and leaf.collection == "parents" for leaf in leaves)
        if drive.role(actor, file, by_link=names_parent) is None:
            return False
        finds_inherited = names_parent or drive.assumptions.search_shows_shared_children
        if not finds_inherited and not drive.access.is_direct(actor.email, file):
            return False
        return node is None or matches(node, self._item(actor, file))

    def _item(self, actor: Actor, file: File) -> Item:
        drive = self._drive
        held = drive.access.effective(file).values()

        def at_least(role: Role) -> set[str]:
            return {each.who for each in held if each.role >= role}

        people = {"owners": {file.owner}, "writers": at_least(Role.WRITER), "readers": at_least(Role.READER)}
        return Item(
            file,
            actor,
            drive.accounts[actor.email],
            self._resources.visible_parents(file, actor),
            drive.access.is_trashed(file),
            people,
            file.owner != actor.email and drive.access.is_direct(actor.email, file),
            self._resources.visibility(file),
        )

    def _keep(self, actor: Actor, question: tuple[str, str], rest: list[File]) -> str:
        now = self._clock.now()
        self._rests = {token: each for token, each in self._rests.items() if each.until > now}
        token = "~!!~" + self._identifiers.token()
        self._rests[token] = _Rest(actor.email, question, tuple(file.id for file in rest), now + _TOKEN_LIFETIME)
        return token

    def _rest(self, actor: Actor, token: str, question: tuple[str, str]) -> tuple[str, ...]:
        rest = self._rests.get(token)
        if not rest or rest.until <= self._clock.now() or (rest.email, rest.question) != (actor.email, question):
            raise invalid("pageToken")
        return rest.ids


def page_size(parameters: dict[str, str], default: int = _PAGE) -> int:
    """Return how much is wanted on a page, brought into the range that the service allows."""
    text = parameters.get("pageSize", "")
    if not text:
        return default
    if not re.fullmatch(r"-?\d{1,9}", text):
        raise invalid("pageSize", f"Invalid value '{text[:40]}'.", "invalidParameter")
    return min(max(int(text), 1), _MAX_PAGE)


def _is_by_parent(node: query.Node | None) -> bool:
    """Say whether a folder is listed, and not an index of names or properties searched."""
    leaves = list(query.terms(node)) if node else []
    indexed = {"name", "fullText"}
    if any(isinstance(leaf, query.Entry) or getattr(leaf, "term", "") in indexed for leaf in leaves):
        return False
    return any(isinstance(leaf, query.Membership) and leaf.collection == "parents" for leaf in leaves)


def _natural(name: str) -> list[Any]:
    return [(0, int(part), "") if part.isdigit() else (1, 0, part) for part in _NUMBER.split(name.casefold()) if part]


_KEYS: dict[str, Callable[[File], Any]] = {
    "createdTime": lambda file: file.created,
    "folder": lambda file: not file.is_folder,
    "modifiedByMeTime": lambda file: file.modified,
    "modifiedTime": lambda file: file.modified,
    "name": lambda file: file.name.casefold(),
    "name_natural": lambda file: _natural(file.name),
    "quotaBytesUsed": lambda file: file.size,
    "recency": lambda file: file.modified,
    "sharedWithMeTime": lambda file: max(
        (each.replace(tzinfo=None) for each in file.shared_at.values()), default=_NEVER
    ),
    "starred": lambda file: not file.starred,
    "viewedByMeTime": lambda file: file.modified,
}


def _order(text: str) -> Callable[[list[File]], list[File]]:
    """Return what sorts by ``orderBy``; without one the latest change comes first, as in practice."""
    wanted = []
    for each in text.split(",") if text.strip() else ["modifiedTime desc"]:
        name, _, direction = each.strip().partition(" ")
        if name not in _KEYS or direction.strip() not in {"", "desc"}:
            raise invalid("orderBy")
        wanted.append((_KEYS[name], bool(direction)))

    def sort(files: list[File]) -> list[File]:
        files = sorted(files, key=lambda file: file.id)
        for key, descending in reversed(wanted):
            files.sort(key=key, reverse=descending)
        return files

    return sort
