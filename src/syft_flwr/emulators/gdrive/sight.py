"""What a user finds, and what they may do with it."""

from syft_flwr.clock import Clock
from syft_flwr.emulators.gdrive import drive_errors
from syft_flwr.emulators.gdrive.access import Access
from syft_flwr.emulators.gdrive.assumptions import Assumptions
from syft_flwr.emulators.gdrive.file_store import FileStore
from syft_flwr.emulators.gdrive.lag import LagTable
from syft_flwr.emulators.gdrive.records import Actor, EmulatedAccount, EmulatedFile, Role
from syft_flwr.emulators.gdrive.tokens import SCOPE

_SEES_ALL = frozenset(SCOPE + name for name in ("drive", "drive.readonly", "drive.metadata", "drive.metadata.readonly"))
_CHANGES_ALL = SCOPE + "drive"


class VisibleFiles:
    """The store through the eyes of those who ask. Not thread-safe; the service calls it under its lock."""

    def __init__(self, clock: Clock, lags: LagTable, assumptions: Assumptions) -> None:
        self.lags = lags
        self.assumptions = assumptions
        self.accounts: dict[str, EmulatedAccount] = {}
        self.store = FileStore(clock, lags.longest)
        self.access = Access(self.store, lambda email: lags.lags(email, "permissions"))

    def find(self, actor: Actor, file_id: str) -> EmulatedFile:
        """Return a file as the one who asks sees it.

        Raises:
            DriveError: 404, absent or not theirs to see.
        """
        lags = self.lags
        lag, gone = lags.lags(actor.email, "get"), lags.lags(actor.email, "get", "deleted")
        file = self.store.seen(self.resolve(actor, file_id), lag, gone)
        if file is None or self.role(actor, file) is None:
            raise drive_errors.not_found(file_id)
        return file

    def role(self, actor: Actor, file: EmulatedFile, *, by_link: bool = True) -> Role | None:
        """Return what the one who asks may do by this client, ``None`` for not even see it."""
        role = self.access.role(actor.email, file, by_link=by_link)
        if role is None or not (actor.scopes & _SEES_ALL or self._is_app_file(actor, file)):
            return None
        if role < Role.OWNER and not self.assumptions.readers_see_trashed and self.access.is_trashed(file):
            return None
        return role

    def resolve(self, actor: Actor, file_id: str) -> str:
        return self.accounts[actor.email].root if file_id == "root" else file_id

    def require(self, actor: Actor, file_id: str, role: Role) -> EmulatedFile:
        """Return a file as it is, for one who may change it.

        Raises:
            DriveError: 404, or 403 if it can be seen and the role is too small, or the client was not given the file.
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
