"""Operations on files, with access control, limits and change logs.

A refused operation raises the error response of Drive and changes nothing.
"""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from typing import Any

from syft_flwr.clock import Clock
from syft_flwr.emulators.gdrive import drive_errors, metadata
from syft_flwr.emulators.gdrive.access import GuardedStore, grant
from syft_flwr.emulators.gdrive.assumptions import Assumptions
from syft_flwr.emulators.gdrive.changes import ChangeLog
from syft_flwr.emulators.gdrive.identifiers import Identifiers, permission_id
from syft_flwr.emulators.gdrive.lag import LagTable
from syft_flwr.emulators.gdrive.quota import Quota
from syft_flwr.emulators.gdrive.records import FOLDER, Actor, Content, EmulatedAccount, EmulatedFile, Role

_OCTETS = "application/octet-stream"
# Drive gives content without a specific type the type of its file name.
_SNIFFED = {
    "csv": "text/csv",
    "html": "text/html",
    "json": "application/json",
    "md": "text/markdown",
    "txt": "text/plain",
}
_MAX_DEPTH = 100


class EmulatedDrive(GuardedStore):
    """The files of all accounts. Not thread-safe: the service calls it with its lock held.

    Attributes:
        changes: the change logs.
        reserved: the generated ids, each with the email of its account.
    """

    def __init__(
        self, clock: Clock, identifiers: Identifiers, lags: LagTable, quota: Quota, assumptions: Assumptions
    ) -> None:
        super().__init__(clock, lags, assumptions)
        self._clock = clock
        self._identifiers = identifiers
        self._quota = quota
        self.changes = ChangeLog(clock)
        self.reserved: dict[str, str] = {}

    def add_account(self, email: str) -> None:
        account = EmulatedAccount(email, permission_id(email), self._identifiers.root())
        self.accounts[email] = account
        owner = grant("user", Role.OWNER, email)
        now = self.now()
        self.store.put(
            EmulatedFile(account.root, "My Drive", FOLDER, email, None, None, now, now, email, {owner.id: owner})
        )

    def settle(self) -> None:
        """Make all changes so far visible to all users at once."""
        self.store.settle()
        self.changes.settle()

    def now(self) -> datetime:
        now = self._clock.now()
        return now.replace(microsecond=now.microsecond // 1000 * 1000)

    def used(self, email: str, *, trashed_only: bool = False) -> int:
        """Return the size in bytes of all files of a user, including the trash."""
        owned = (file for file in self.store.current() if file.owner == email)
        return sum(file.size for file in owned if not trashed_only or self.access.is_trashed(file))

    def generate_ids(self, actor: Actor, count: int) -> list[str]:
        ids = [self._identifiers.file() for _ in range(count)]
        self.reserved.update(dict.fromkeys(ids, actor.email))
        return ids

    def check_new(self, actor: Actor, said: Mapping[str, Any], size: int) -> None:
        """Check a new file before its content arrives.

        Raises:
            DriveError: the same errors as in :meth:`create`.
        """
        self._check_id(actor, said.get("id"))
        self._parent_for(actor, said.get("parents"))
        self._quota.check_storage(actor.email, self.used(actor.email), size)

    def create(
        self, actor: Actor, said: Mapping[str, Any], content: Content | None, media_type: str = ""
    ) -> EmulatedFile:
        """Create a file or folder and return it.

        Args:
            actor: the user and client; the user becomes the owner.
            said: the metadata from the request.
            content: the content; None for an empty file or a folder.
            media_type: the type of the content, if the metadata has none.

        Raises:
            DriveError: 400 or 409 for the id, 404 or 403 for the parent, 403 for a limit.
        """
        self.check_new(actor, said, len(content.data) if content else 0)
        if content:
            self._quota.upload(actor.email, len(content.data))
        owner = grant("user", Role.OWNER, actor.email)
        now = self.now()
        file_id = said.get("id") or self._identifiers.file()
        name = said.get("name") or "Untitled"
        mime_type = said.get("mimeType") or media_type or _OCTETS
        if mime_type == media_type == _OCTETS:
            mime_type = _SNIFFED.get(name.rpartition(".")[2].lower(), _OCTETS)
        blank = EmulatedFile(
            file_id,
            name,
            mime_type,
            actor.email,
            self._parent_for(actor, said.get("parents")),
            None if mime_type == FOLDER else content or Content.of(b""),
            now,
            now,
            actor.email,
            {owner.id: owner},
            apps=frozenset({(actor.client, actor.email)}),
            revision=None if mime_type == FOLDER else self._identifiers.revision(),
        )
        file = metadata.applied(blank, said, actor)
        self.put(file)
        return file

    def update(
        self,
        actor: Actor,
        file_id: str,
        said: Mapping[str, Any],
        content: Content | None = None,
        media_type: str = "",
        *,
        add_parents: str = "",
        remove_parents: str = "",
    ) -> EmulatedFile:
        """Change the metadata, the folder or the content of a file, and return its new state.

        Args:
            actor: the user and client.
            file_id: the file.
            said: the new metadata from the request.
            content: the new content; None to keep it.
            media_type: the type of the new content.
            add_parents: ids of new folders, separated by commas.
            remove_parents: ids of folders to leave, separated by commas.

        Raises:
            DriveError: 404, the file is missing; 403, the actor has no permission, or a limit is reached.
        """
        file = self.require(actor, file_id, Role.WRITER)
        if "trashed" in said:
            self.require(actor, file_id, Role.OWNER)
        if "parents" in said:
            message = "The parents field is not directly writable in update requests."
            raise drive_errors.DriveError(
                403, "fieldNotWritable", f"{message} Use the addParents and removeParents parameters instead."
            )
        parent = self._moved(actor, file, add_parents, remove_parents)
        now = self.now()
        after = metadata.applied(replace(file, modified=now), said, actor)
        if said.get("mimeType") or media_type:
            after = replace(after, mime_type=said.get("mimeType") or media_type)
        if content:
            grown = len(content.data) - file.size
            self._quota.check_storage(file.owner, self.used(file.owner), grown)
            self._quota.upload(actor.email, len(content.data))
            after = replace(after, content=content, revision=self._identifiers.revision())
        after = replace(after, parent=parent, modified_by=actor.email, version=file.version + 1)
        self.put(after)
        return after

    def delete(self, actor: Actor, file_id: str) -> None:
        """Delete a file or folder permanently, with all files of the same owner below.

        Files of other users below move to their My Drive.

        Raises:
            DriveError: 404, the file is missing; 403, the actor is not its owner.
        """
        self.remove(self.require(actor, file_id, Role.OWNER))

    def empty_trash(self, actor: Actor) -> None:
        for file in [each for each in self.store.current() if each.owner == actor.email and each.trashed]:
            if self.store.get(file.id):
                self.remove(file)

    def remove(self, file: EmulatedFile) -> None:
        if file.parent is None and file.id == self.accounts[file.owner].root:
            raise drive_errors.forbidden()
        below = self.store.descendants(file.id)
        with self.noting([file, *below]):
            for each in reversed([file, *below]):
                if each.owner == file.owner:
                    self.store.remove(each.id)
                elif each.parent and self._is_removed_with(each.parent, file.owner):
                    self.store.put(replace(each, parent=self.accounts[each.owner].root, version=each.version + 1))

    def _is_removed_with(self, parent: str, owner: str) -> bool:
        folder = self.store.get(parent)
        return folder is None or folder.owner == owner

    def put(self, file: EmulatedFile) -> None:
        """Store a new state of a file, and add it to the change logs of all users with access."""
        before = self.store.get(file.id)
        kept = before and (before.permissions, before.parent, before.trashed) == (
            file.permissions,
            file.parent,
            file.trashed,
        )
        below = self.store.descendants(file.id) if before and file.is_folder and not kept else []
        with self.noting([file if before is None else before, *below]):
            self.store.put(file)

    @contextmanager
    def noting(self, files: Iterable[EmulatedFile]) -> Iterator[None]:
        """Add ``files`` to the change logs of all users who see them before or after the block."""
        audiences = {file.id: self._audience(file) for file in files}
        yield
        for file_id, audience in audiences.items():
            after = self.store.get(file_id)
            told = {**audience, **(self._audience(after) if after else {})}
            for email, in_my_drive in told.items():
                self.changes.note(email, file_id, in_my_drive=in_my_drive or audience.get(email, False))

    def _audience(self, file: EmulatedFile) -> dict[str, bool]:
        roots = [folder.id for folder in self.store.ancestors(file)]
        emails = self.access.audience(file, direct_only=not self.assumptions.changes_show_shared_children)
        return {email: self.accounts[email].root in roots for email in emails if email in self.accounts}

    def _check_id(self, actor: Actor, file_id: str | None) -> None:
        if file_id is None:
            return
        if self.store.get(file_id) or (self.assumptions.ids_are_spent and self.store.was_used(file_id)):
            raise drive_errors.id_in_use()
        reserved_for = self.reserved.get(file_id)
        if reserved_for is None and not self.assumptions.unreserved_ids_are_refused:
            return
        if reserved_for is None or (self.assumptions.ids_are_personal and reserved_for != actor.email):
            raise drive_errors.unusable_id()

    def _parent_for(self, actor: Actor, parents: list[str] | None) -> str:
        if not parents:
            return self.accounts[actor.email].root
        if len(parents) > 1:
            raise drive_errors.invalid("parents", "A file can have only one parent.")
        return self._folder(actor, parents[0]).id

    def _folder(self, actor: Actor, folder_id: str) -> EmulatedFile:
        """Return a folder that the actor may add files to.

        The user's own root is always allowed, also for a client with only the scope ``drive.file``.
        """
        root = self.store.get(self.accounts[actor.email].root)
        if root and self.resolve(actor, folder_id) == root.id:
            return root
        folder = self.require(actor, folder_id, Role.WRITER)
        if not folder.is_folder:
            raise drive_errors.DriveError(403, "parentNotAFolder", "The specified parent is not a folder.")
        return folder

    def _moved(self, actor: Actor, file: EmulatedFile, added: str, removed: str) -> str | None:
        """Return the id of the folder after a move.

        Raises:
            DriveError: 404 or 403, the actor may not move the file there.
        """
        parent = file.parent
        for each in filter(None, removed.split(",")):
            if self.resolve(actor, each) == parent:
                if file.owner != actor.email:
                    self.require(actor, parent, Role.WRITER)
                parent = None
        targets = [each for each in added.split(",") if each and self.resolve(actor, each) != parent]
        if len(targets) > 1 or (targets and parent):
            raise drive_errors.DriveError(403, "cannotAddParent", "Increasing the number of parents is not allowed")
        if targets:
            parent = self._folder(actor, targets[0]).id
            self._check_place(file, parent)
        elif parent is None and file.owner != actor.email:
            # Another user removed the file from its folder, so it goes to the root of its owner.
            parent = self.accounts[file.owner].root
        return parent

    def _check_place(self, file: EmulatedFile, parent: str) -> None:
        folder = self.store.get(parent)
        above = [folder, *self.store.ancestors(folder)] if folder else []
        if any(each.id == file.id for each in above):
            raise drive_errors.DriveError(403, "cyclicMembershipsNotAllowed", "A folder cannot be put into itself.")
        if len(above) > _MAX_DEPTH:
            raise drive_errors.DriveError(
                403, "myDriveHierarchyDepthLimitExceeded", "The folder hierarchy is too deep for this operation."
            )
