"""Operations on grants: create, change, revoke and list them, with access control."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from syft_flwr.emulators.gdrive import drive_errors
from syft_flwr.emulators.gdrive.access import grant
from syft_flwr.emulators.gdrive.emulated_drive import EmulatedDrive
from syft_flwr.emulators.gdrive.quota import Quota
from syft_flwr.emulators.gdrive.records import Actor, EmulatedFile, Grant, Role

ROLES = {"reader": Role.READER, "commenter": Role.COMMENTER, "writer": Role.WRITER}
NAMES = {**{role: name for name, role in ROLES.items()}, Role.OWNER: "owner"}
_KINDS = {"user": "emailAddress", "group": "emailAddress", "domain": "domain", "anyone": None}


class Grants:
    """The methods of ``permissions`` in the Drive API. Not thread-safe: the service calls it with its lock held."""

    def __init__(self, drive: EmulatedDrive, quota: Quota) -> None:
        self._drive = drive
        self._quota = quota

    def create(
        self, actor: Actor, file_id: str, said: Mapping[str, Any], *, by_mail: bool
    ) -> tuple[EmulatedFile, Grant]:
        """Create a grant and return it with its file. For an existing grantee, the higher role is kept.

        Args:
            actor: the user and client.
            file_id: the file or folder to share.
            said: the permission from the request, with ``type``, ``role`` and a grantee.
            by_mail: notify the grantee by mail. An address without an account is then allowed, and refused otherwise.
                The emulator has no groups, so it treats the address of a group as one without an account.

        Raises:
            DriveError: 400, the body is not valid; 404, the file is missing; 403, the actor may not share the file, or
                has shared too often today.
        """
        kind, role = said.get("type"), ROLES.get(str(said.get("role")))
        if kind not in _KINDS:
            raise drive_errors.invalid("permission.type", "The permission type field is required.", "required")
        if role is None:
            raise drive_errors.invalid("permission.role", "The permission role field is required.", "required")
        field = _KINDS[kind]
        who = said.get(field) if field else ""
        if not isinstance(who, str) or (field and not who):
            raise drive_errors.bad_request("The emailAddress field is required.")
        file = self._require_sharing(actor, file_id)
        if field == "emailAddress" and not by_mail and who.lower() not in self._drive.accounts:
            raise drive_errors.no_account(who)
        self._quota.share(actor.email)
        made = grant(kind, role, who.lower())
        former = file.permissions.get(made.id)
        if former and former.role >= made.role:
            return file, former
        return self._put(file, made), made

    def update(
        self, actor: Actor, file_id: str, permission_id: str, said: Mapping[str, Any]
    ) -> tuple[EmulatedFile, Grant]:
        """Change the role of a grant and return it with its file.

        Raises:
            DriveError: 400, the role is not valid; 404, the file or grant is missing; 403, the actor may not change it.
        """
        role = ROLES.get(str(said.get("role")))
        if role is None:
            raise drive_errors.invalid("permission.role", "The permission role field is required.", "required")
        file = self._require_sharing(actor, file_id)
        former = self._direct(file, permission_id)
        after = replace(former, role=role)
        return self._put(file, after), after

    def delete(self, actor: Actor, file_id: str, permission_id: str) -> None:
        """Revoke a grant. Users may always revoke their own.

        Raises:
            DriveError: 404, the file or grant is missing; 403, the actor may not revoke it.
        """
        own = self._drive.accounts[actor.email].permission_id
        if permission_id == own:
            file = self._drive.require(actor, file_id, Role.READER)
        else:
            file = self._require_sharing(actor, file_id)
        self.withdraw(file, self._direct(file, permission_id).id)

    def withdraw(self, file: EmulatedFile, permission_id: str) -> None:
        kept = {each: held for each, held in file.permissions.items() if each != permission_id}
        self._drive.put(replace(file, permissions=kept, version=file.version + 1))

    def list(self, actor: Actor, file_id: str) -> tuple[EmulatedFile, list[Grant]]:
        """Return a file with all its grants, including inherited ones.

        Raises:
            DriveError: 404, the file is missing; 403, the actor is not at least a writer.
        """
        file = self._drive.find(actor, file_id)
        if (self._drive.role(actor, file) or Role.READER) < Role.WRITER:
            raise drive_errors.forbidden()
        return file, list(self._drive.access.effective(file).values())

    def get(self, actor: Actor, file_id: str, permission_id: str) -> tuple[EmulatedFile, Grant]:
        file, permissions = self.list(actor, file_id)
        for each in permissions:
            if each.id == permission_id:
                return file, each
        raise drive_errors.permission_not_found(permission_id)

    def add(self, file: EmulatedFile, made: Grant) -> EmulatedFile:
        """Add a grant without access control, and return the new state of the file."""
        return self._put(file, made)

    def _require_sharing(self, actor: Actor, file_id: str) -> EmulatedFile:
        file = self._drive.require(actor, file_id, Role.WRITER)
        if not file.writers_can_share and file.owner != actor.email:
            raise drive_errors.forbidden()
        return file

    def _direct(self, file: EmulatedFile, permission_id: str) -> Grant:
        found = file.permissions.get(permission_id)
        if found is None:
            if permission_id in self._drive.access.inherited(file):
                raise drive_errors.DriveError(
                    403, "cannotModifyInheritedPermission", "Cannot update or delete an inherited permission."
                )
            raise drive_errors.permission_not_found(permission_id)
        if found.role == Role.OWNER:
            raise drive_errors.forbidden()
        return found

    def _put(self, file: EmulatedFile, made: Grant) -> EmulatedFile:
        shared_at = file.shared_at
        if made.type == "user" and made.who not in shared_at:
            shared_at = {**shared_at, made.who: self._drive.now()}
        permissions = {**file.permissions, made.id: made}
        after = replace(file, permissions=permissions, shared_at=shared_at, version=file.version + 1)
        self._drive.put(after)
        return after
