"""The methods ``files.list`` and ``changes.list``: search, sort and divide into pages."""

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from syft_flwr.clock import Clock
from syft_flwr.emulators.gdrive import query
from syft_flwr.emulators.gdrive.assumptions import Assumptions
from syft_flwr.emulators.gdrive.changes import ChangeEntry, ChangeLog
from syft_flwr.emulators.gdrive.drive_errors import invalid, no_order, required, spaces_not_granted
from syft_flwr.emulators.gdrive.emulated_drive import EmulatedDrive
from syft_flwr.emulators.gdrive.faults import Call, FaultTable
from syft_flwr.emulators.gdrive.fields import Mask
from syft_flwr.emulators.gdrive.identifiers import Identifiers
from syft_flwr.emulators.gdrive.matching import matches
from syft_flwr.emulators.gdrive.records import Actor, EmulatedFile
from syft_flwr.emulators.gdrive.resources import FileView, time
from syft_flwr.emulators.gdrive.tokens import SCOPE

_PAGE = 100
_LARGEST_PAGE = 1000
_SPACES = frozenset({"drive", "appDataFolder"})
_TOKEN_LIFETIME = timedelta(hours=3)
_NEVER = datetime.min.replace(tzinfo=UTC)
# Terms that make Drive search its index, even if the query also names a folder.
_INDEXED = frozenset({"name", "fullText"})
_NUMBER = re.compile(r"(\d+)")


@dataclass(frozen=True, slots=True)
class _Rest:
    """The files of the following pages; a page token is valid only for the same user and query."""

    email: str
    question: tuple[str, str]
    ids: tuple[str, ...]
    until: datetime


class FileList:
    """The method ``files.list``. Not thread-safe: the service calls it with its lock held."""

    def __init__(self, drive: EmulatedDrive, identifiers: Identifiers, clock: Clock) -> None:
        self._drive = drive
        self._identifiers = identifiers
        self._clock = clock
        self._rests: dict[str, _Rest] = {}

    def page(
        self, actor: Actor, parameters: dict[str, str], *, or_fails: bool = False, at_most: int | None = None
    ) -> tuple[list[EmulatedFile], str | None]:
        """Return a page of files, and the token of the next page or None.

        Args:
            actor: the user and client.
            parameters: the parameters of the request.
            or_fails: return an empty page for several parents joined by ``or``, as Drive sometimes does.
            at_most: largest number of files on the page, as Drive may return short pages.

        Raises:
            DriveError: 400, the query, the order, the page size or the token is not valid; 403, the scopes do not
                include a space.
        """
        spaces = _spaces(actor, parameters)
        node = query.parse(parameters["q"]) if parameters.get("q", "").strip() else None
        key = _order(parameters.get("orderBy", ""), node)
        size = page_size(parameters, self._drive.assumptions)
        question = (parameters.get("q", ""), parameters.get("orderBy", ""))
        token = parameters.get("pageToken")
        if token is not None:
            found = list(self._found(actor, self._rest(actor, token, question), node))
        elif "drive" not in spaces or (or_fails and node is not None and query.is_several_parents(node)):
            found = []
        else:
            found = key(self._search(actor, node))
        size = min(size, at_most or size)
        shown, rest = found[:size], found[size:]
        return shown, self._keep(actor, question, rest) if rest else None

    def _search(self, actor: Actor, node: query.Node | None) -> list[EmulatedFile]:
        folder = query.only_parent(node)
        store, root = self._drive.store, self._drive.accounts[actor.email].root
        ids = store.ids() if folder is None else store.ids_in(self._drive.resolve(actor, folder))
        return [file for file in self._found(actor, ids, node) if file.id != root]

    def _found(self, actor: Actor, ids: Iterable[str], node: query.Node | None) -> Iterator[EmulatedFile]:
        """Yield the files that match a query and are visible to the actor."""
        drive = self._drive
        leaves = list(query.terms(node)) if node else []
        in_folder = any(isinstance(leaf, query.Membership) and leaf.collection == "parents" for leaf in leaves)
        indexed = any(isinstance(leaf, query.PropertyMatch) or getattr(leaf, "term", "") in _INDEXED for leaf in leaves)
        lag = drive.lags.lags(actor.email, "list_by_parent" if in_folder and not indexed else "list_by_name")
        finds_inherited = in_folder or drive.assumptions.search_shows_shared_children
        folders: dict[str, bool] = {}
        for file_id in ids:
            file = drive.store.seen(file_id, lag, lag)
            if file is None or (node is not None and not matches(node, FileView(drive, file, actor, folders))):
                continue
            if drive.role(actor, file, by_link=in_folder) is None:
                continue
            if finds_inherited or drive.access.is_direct(actor.email, file):
                yield file

    def _keep(self, actor: Actor, question: tuple[str, str], rest: list[EmulatedFile]) -> str:
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


class ChangeFeed:
    """The method ``changes.list``. Not thread-safe: the service calls it with its lock held."""

    def __init__(self, drive: EmulatedDrive, faults: FaultTable) -> None:
        self._drive = drive
        self._faults = faults

    @property
    def _log(self) -> ChangeLog:
        return self._drive.changes

    def start(self, actor: Actor) -> str:
        return self._log.start(actor.email, self._drive.lags.lags(actor.email, "changes"))

    def page(self, actor: Actor, query: dict[str, str], call: Call, mask: Mask) -> dict[str, Any]:
        """Return a page of changes as a resource.

        Args:
            actor: the user and client.
            query: the parameters of the request.
            call: the call, for faults.
            mask: the selected parts of each file.

        Raises:
            DriveError: 400, the token, the page size or the space is not valid; 403, the scopes do not include a space.
        """
        if "pageToken" not in query:
            raise required("pageToken")
        spaces = _spaces(actor, query)
        size = page_size(query, self._drive.assumptions)
        lag = self._drive.lags.lags(actor.email, "changes")
        entries = self._log.since(actor.email, query["pageToken"], lag)
        # A client with only the scope ``drive.file`` does not see changes of files that it has no access to.
        entries = [entry for entry in entries if "drive" in spaces and not self._is_kept_from(entry, actor)]
        if query.get("restrictToMyDrive") == "true":
            entries = [entry for entry in entries if entry.in_my_drive]
        shown, rest = entries[:size], entries[size:]
        changes = [self._change(entry, actor, mask) for entry in self._disturbed(shown, call)]
        if query.get("includeRemoved") == "false":
            changes = [change for change in changes if not change["removed"]]
        token = {"nextPageToken": str(rest[0].number)} if rest else {"newStartPageToken": self.start(actor)}
        return {"kind": "drive#changeList", **token, "changes": changes}

    def _disturbed(self, entries: list[ChangeEntry], call: Call) -> list[ChangeEntry]:
        """Return the entries after the faults: one lost, one twice, or in another order."""
        if entries and self._faults.take(call, "drop_change"):
            self._log.forget(call.user, entries[0].file_id)
            entries = entries[1:]
        if entries and self._faults.take(call, "duplicate_change"):
            entries = [*entries, entries[0]]
        if len(entries) > 1 and self._faults.take(call, "reorder_changes"):
            entries = entries[::-1]
        return entries

    def _is_kept_from(self, entry: ChangeEntry, actor: Actor) -> bool:
        file = self._drive.store.get(entry.file_id)
        if file is None or self._drive.access.role(actor.email, file, by_link=False) is None:
            return False
        return self._drive.role(actor, file, by_link=False) is None

    def _change(self, entry: ChangeEntry, actor: Actor, mask: Mask) -> dict[str, Any]:
        file = self._drive.store.get(entry.file_id)
        removed = file is None or self._drive.role(actor, file, by_link=False) is None
        change = {
            "kind": "drive#change",
            "type": "file",
            "changeType": "file",
            "time": time(entry.time),
            "removed": removed,
            "fileId": entry.file_id,
        }
        return (
            change if file is None or removed else {**change, "file": FileView(self._drive, file, actor).as_json(mask)}
        )


def page_size(
    parameters: dict[str, str], assumptions: Assumptions, *, default: int = _PAGE, largest: int = _LARGEST_PAGE
) -> int:
    """Return the page size of a request.

    Raises:
        DriveError: 400, ``pageSize`` is not a number or out of range.
    """
    text = parameters.get("pageSize", "")
    if not text:
        return default
    if not re.fullmatch(r"-?\d{1,9}", text):
        raise invalid("pageSize", f"Invalid value '{text[:40]}'.", "invalidParameter")
    wanted = int(text)
    if wanted < 1 or (wanted > largest and assumptions.large_pages_are_refused):
        message = f"Invalid value '{wanted}'. Values must be within the range: [1, {largest}]"
        raise invalid("pageSize", message, "invalidParameter")
    return min(wanted, largest)


def _spaces(actor: Actor, parameters: dict[str, str]) -> set[str]:
    """Return the requested spaces. The space ``appDataFolder`` is always empty in the emulator.

    Raises:
        DriveError: 400, a space is unknown; 403, the scopes do not include a space.
    """
    spaces = {each.strip() for each in (parameters.get("spaces") or "drive").split(",")}
    if not spaces <= _SPACES:
        raise invalid("spaces")
    if "appDataFolder" in spaces and SCOPE + "drive.appdata" not in actor.scopes:
        raise spaces_not_granted()
    return spaces


def _natural(name: str) -> list[Any]:
    return [(0, int(part), "") if part.isdigit() else (1, 0, part) for part in _NUMBER.split(name.casefold()) if part]


_KEYS: dict[str, Callable[[EmulatedFile], Any]] = {
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


def _order(text: str, node: query.Node | None) -> Callable[[list[EmulatedFile]], list[EmulatedFile]]:
    """Return the function that sorts by ``orderBy``. Without ``orderBy`` the latest change comes first, as Drive does.

    Raises:
        DriveError: 400, the order is not valid or not allowed for this query.
    """
    if text.strip() and node and any(getattr(leaf, "term", "") == "fullText" for leaf in query.terms(node)):
        raise no_order()
    wanted = []
    for each in text.split(",") if text.strip() else ["modifiedTime desc"]:
        name, _, direction = each.strip().partition(" ")
        if name not in _KEYS or direction.strip() not in {"", "desc"}:
            raise invalid("orderBy")
        wanted.append((_KEYS[name], bool(direction)))

    def sort(files: list[EmulatedFile]) -> list[EmulatedFile]:
        files = sorted(files, key=lambda file: file.id)
        for key, descending in reversed(wanted):
            files.sort(key=key, reverse=descending)
        return files

    return sort
