"""Access control: grants on a file, on its parent folders, and for anyone with the link.

- A grant on a folder applies to everything below and cannot be revoked on a file below.
- The owner of a folder is a writer of all files in it, even if other users own them.
- A grant takes effect after the lag of permissions. Owners have access at once.
"""

from collections.abc import Callable, Iterable, Mapping

from syft_flwr.clock import Clock
from syft_flwr.emulators.gdrive import drive_errors
from syft_flwr.emulators.gdrive.assumptions import Assumptions
from syft_flwr.emulators.gdrive.file_store import FileStore, Lags
from syft_flwr.emulators.gdrive.identifiers import permission_id
from syft_flwr.emulators.gdrive.lag import LagTable
from syft_flwr.emulators.gdrive.records import Actor, EmulatedAccount, EmulatedFile, Grant, Role
from syft_flwr.emulators.gdrive.tokens import SCOPE

_SEES_ALL = frozenset(SCOPE + name for name in ("drive", "drive.readonly", "drive.metadata", "drive.metadata.readonly"))
_CHANGES_ALL = SCOPE + "drive"
#: Id of the grant for anyone with the link.
ANYONE = "anyoneWithLink"


def grant(kind: str, role: Role, who: str) -> Grant:
    """Return a new grant. Its id depends only on the grantee, so a second grant replaces the first."""
    return Grant(ANYONE if kind == "anyone" else permission_id(who), kind, role, who)


class Access:
    """Decides which role a user has on a file. Not thread-safe.

    Args:
        store: all files.
        lag: returns the lag of permissions for a user, in seconds.
    """

    def __init__(self, store: FileStore, lag: Callable[[str], Lags]) -> None:
        self._store = store
        self._lag = lag

    def role(self, email: str, file: EmulatedFile, *, by_link: bool = True) -> Role | None:
        """Return the strongest role of a user, or None for no access.

        Args:
            email: the user.
            file: the file or folder.
            by_link: include the grant for anyone with the link; searches exclude it.
        """
        if file.owner == email:
            return Role.OWNER
        lag = self._lag(email)
        found: Role | None = None
        for place in (file, *self._store.ancestors(file)):
            if place.owner == email:
                return Role.WRITER
            seen = self._store.seen(place.id, lag, lag)
            # A deleted file may still be visible because of the lag. Its last grants decide then.
            gone = place is file and self._store.get(file.id) is None
            held = file.permissions if gone else seen.permissions if seen else {}
            role = _granted(email, held, by_link=by_link)
            found = max((each for each in (found, role) if each), default=None)
        return found

    def is_direct(self, email: str, file: EmulatedFile) -> bool:
        """Return whether the user has a grant on the file itself, not only on a folder above it."""
        return permission_id(email) in file.permissions

    def effective(self, file: EmulatedFile) -> dict[str, Grant]:
        """Return the strongest grant of each grantee by its id, including inherited ones and ignoring the lag."""
        found = dict(file.permissions)
        for folder in self._store.ancestors(file):
            for each in folder.permissions.values():
                role = min(each.role, Role.WRITER)
                if each.id not in found or found[each.id].role < role:
                    found[each.id] = Grant(each.id, each.type, role, each.who)
        return found

    def inherited(self, file: EmulatedFile) -> set[str]:
        """Return the ids of the grants on the folders above."""
        return {each for folder in self._store.ancestors(file) for each in folder.permissions}

    def audience(self, file: EmulatedFile, *, direct_only: bool) -> set[str]:
        """Return the emails of all users with access, ignoring the lag.

        Args:
            file: the file or folder.
            direct_only: exclude users who only inherit their access.
        """
        grants: Iterable[Grant] = (file.permissions if direct_only else self.effective(file)).values()
        return {each.who for each in grants if each.type in {"user", "group"}}

    def is_trashed(self, file: EmulatedFile) -> bool:
        return file.trashed or any(folder.trashed for folder in self._store.ancestors(file))


class GuardedStore:
    """The file store with access control for each user. Not thread-safe: the service calls it with its lock held."""

    def __init__(self, clock: Clock, lags: LagTable, assumptions: Assumptions) -> None:
        self.lags = lags
        self.assumptions = assumptions
        self.accounts: dict[str, EmulatedAccount] = {}
        self.store = FileStore(clock, lags.longest)
        self.access = Access(self.store, lambda email: lags.lags(email, "permissions"))

    def find(self, actor: Actor, file_id: str) -> EmulatedFile:
        """Return the state of a file that the actor sees.

        Raises:
            DriveError: 404, the file is missing or the actor may not see it.
        """
        lags = self.lags
        lag, gone = lags.lags(actor.email, "get"), lags.lags(actor.email, "get", "deleted")
        file = self.store.seen(self.resolve(actor, file_id), lag, gone)
        if file is None or self.role(actor, file) is None:
            raise drive_errors.not_found(file_id)
        return file

    def role(self, actor: Actor, file: EmulatedFile, *, by_link: bool = True) -> Role | None:
        """Return the role of the actor with its client and scopes, or None if the file is not visible to it."""
        role = self.access.role(actor.email, file, by_link=by_link)
        if role is None or not (actor.scopes & _SEES_ALL or self._is_app_file(actor, file)):
            return None
        if role < Role.OWNER and not self.assumptions.readers_see_trashed and self.access.is_trashed(file):
            return None
        return role

    def resolve(self, actor: Actor, file_id: str) -> str:
        return self.accounts[actor.email].root if file_id == "root" else file_id

    def require(self, actor: Actor, file_id: str, role: Role) -> EmulatedFile:
        """Return the current state of a file if the actor has at least ``role``.

        Raises:
            DriveError: 404, the file is missing or not visible; 403, the role is too low, or the client has no access
                to the file.
        """
        file = self.store.get(self.resolve(actor, file_id))
        held = self.role(actor, file) if file else None
        if file is None or held is None:
            raise drive_errors.not_found(file_id)
        if held < role:
            raise drive_errors.forbidden()
        if _CHANGES_ALL not in actor.scopes and not self._is_app_file(actor, file):
            raise drive_errors.app_not_authorized(actor.client, file_id)
        return file

    def _is_app_file(self, actor: Actor, file: EmulatedFile) -> bool:
        return (actor.client, actor.email) in file.apps


def _granted(email: str, permissions: Mapping[str, Grant], *, by_link: bool) -> Role | None:
    wanted = [permission_id(email)]
    if by_link:
        wanted += [ANYONE, permission_id(email.partition("@")[2])]
    return max((permissions[each].role for each in wanted if each in permissions), default=None)
