"""Who may do what: grants on a file, on the folders above it, and to whoever has the link.

- A grant on a folder holds for everything below; it cannot be taken back further down.
- The owner of a folder is a writer of what others put there.
- A grant reaches the one it is given to after the lag of permissions; an owner never waits.
"""

from collections.abc import Callable, Iterable, Mapping

from syft_flwr.emulators.gdrive.file_store import FileStore, Lags
from syft_flwr.emulators.gdrive.identifiers import permission_id
from syft_flwr.emulators.gdrive.records import EmulatedFile, Grant, Role

#: Id of the grant to whoever has the link.
ANYONE = "anyoneWithLink"


def grant(kind: str, role: Role, who: str) -> Grant:
    """Make a grant; its id depends on the grantee only, so the same one again replaces it."""
    return Grant(ANYONE if kind == "anyone" else permission_id(who), kind, role, who)


class Access:
    """Decides from the store. Not thread-safe.

    Args:
        lag: returns how long after it was made a grant reaches a user.
    """

    def __init__(self, store: FileStore, lag: Callable[[str], Lags]) -> None:
        self._store = store
        self._lag = lag

    def role(self, email: str, file: EmulatedFile, *, by_link: bool = True) -> Role | None:
        """Return the strongest role, ``None`` for no access.

        Args:
            by_link: count what everybody with the link may do; searches do not.
        """
        if file.owner == email:
            return Role.OWNER
        lag = self._lag(email)
        found: Role | None = None
        for place in (file, *self._store.ancestors(file)):
            if place.owner == email:
                return Role.WRITER
            seen = self._store.seen(place.id, lag, lag)
            # Of a file that was deleted and is still shown, what was granted on it counts.
            gone = place is file and self._store.get(file.id) is None
            held = file.permissions if gone else seen.permissions if seen else {}
            role = _granted(email, held, by_link=by_link)
            found = max((each for each in (found, role) if each), default=None)
        return found

    def is_direct(self, email: str, file: EmulatedFile) -> bool:
        """Say whether the file itself was granted, and not only a folder above it."""
        return permission_id(email) in file.permissions

    def effective(self, file: EmulatedFile) -> dict[str, Grant]:
        """Return the strongest grant of each grantee, inherited ones included, without any lag."""
        found = dict(file.permissions)
        for folder in self._store.ancestors(file):
            for each in folder.permissions.values():
                role = min(each.role, Role.WRITER)
                if each.id not in found or found[each.id].role < role:
                    found[each.id] = Grant(each.id, each.type, role, each.who)
        return found

    def inherited(self, file: EmulatedFile) -> set[str]:
        """Return the ids of grants that come from a folder above."""
        return {each for folder in self._store.ancestors(file) for each in folder.permissions}

    def audience(self, file: EmulatedFile, *, direct_only: bool) -> set[str]:
        """Return the emails of those who have access, without any lag.

        Args:
            direct_only: leave out who only inherits it.
        """
        grants: Iterable[Grant] = (file.permissions if direct_only else self.effective(file)).values()
        return {each.who for each in grants if each.type in {"user", "group"}}

    def is_trashed(self, file: EmulatedFile) -> bool:
        return file.trashed or any(folder.trashed for folder in self._store.ancestors(file))


def _granted(email: str, permissions: Mapping[str, Grant], *, by_link: bool) -> Role | None:
    wanted = [permission_id(email)]
    if by_link:
        wanted += [ANYONE, permission_id(email.partition("@")[2])]
    return max((permissions[each].role for each in wanted if each in permissions), default=None)
