"""The JSON resources of files, grants and users, as the requesting user sees them."""

from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from functools import cached_property
from typing import Any

from syft_flwr.emulators.gdrive.access import ANYONE
from syft_flwr.emulators.gdrive.emulated_drive import EmulatedDrive
from syft_flwr.emulators.gdrive.fields import Mask
from syft_flwr.emulators.gdrive.grants import NAMES
from syft_flwr.emulators.gdrive.identifiers import permission_id
from syft_flwr.emulators.gdrive.records import Actor, EmulatedFile, Grant, Role


def time(value: datetime) -> str:
    return value.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.") + f"{value.microsecond // 1000:03d}Z"


def user(email: str, actor: Actor) -> dict[str, Any]:
    return {
        "kind": "drive#user",
        "displayName": email.partition("@")[0],
        "me": email == actor.email,
        "permissionId": permission_id(email),
        "emailAddress": email,
    }


class FileView:
    """A file as one user sees it. Each value is computed only when it is needed.

    Args:
        drive: all files.
        file: the file.
        actor: the requesting user and client.
        folders: cache of the folders that the user can see, shared by the views of a search.
    """

    def __init__(
        self, drive: EmulatedDrive, file: EmulatedFile, actor: Actor, folders: dict[str, bool] | None = None
    ) -> None:
        self._folders = {} if folders is None else folders
        self._drive = drive
        self.file = file
        self.actor = actor

    @cached_property
    def role(self) -> Role:
        return self._drive.role(self.actor, self.file) or Role.READER

    @cached_property
    def grants(self) -> dict[str, Grant]:
        return self._drive.access.effective(self.file)

    @cached_property
    def parents(self) -> tuple[str, ...]:
        """Return the id of the folder, or an empty tuple if the user cannot see it."""
        parent = self.file.parent
        if parent is None:
            return ()
        if parent not in self._folders:
            folder = self._drive.store.get(parent)
            self._folders[parent] = bool(folder and self._drive.access.role(self.actor.email, folder))
        return (parent,) if self._folders[parent] else ()

    @property
    def root(self) -> str:
        return self._drive.accounts[self.actor.email].root

    @property
    def trashed(self) -> bool:
        return self._drive.access.is_trashed(self.file)

    @property
    def owned(self) -> bool:
        return self.file.owner == self.actor.email

    @property
    def may_share(self) -> bool:
        return self.role == Role.OWNER or (self.role == Role.WRITER and self.file.writers_can_share)

    @property
    def shared_with_me(self) -> bool:
        return not self.owned and self._drive.access.is_direct(self.actor.email, self.file)

    @property
    def shared_at(self) -> datetime | None:
        return self.file.shared_at.get(self.actor.email)

    @property
    def own_properties(self) -> Mapping[str, str]:
        """Return the ``appProperties`` of the requesting client."""
        return self.file.app_properties.get(self.actor.client, {})

    @property
    def visibility(self) -> str:
        if ANYONE in self.grants:
            return "anyoneWithLink"
        return "domainWithLink" if any(each.type == "domain" for each in self.grants.values()) else "limited"

    def people(self, collection: str) -> set[str]:
        """Return the emails in ``owners``, ``writers`` or ``readers``."""
        least = {"owners": Role.OWNER, "writers": Role.WRITER, "readers": Role.READER}[collection]
        return {each.who for each in self.grants.values() if each.role >= least}

    def as_json(self, mask: Mask) -> dict[str, Any]:
        """Return the resource with at least the parts of a mask and the id; missing values are left out."""
        names = None if mask is None else {"kind", "id", *mask}
        wanted = _PARTS if names is None else {name: part for name, part in _PARTS.items() if name in names}
        said = ((name, part(self)) for name, part in wanted.items())
        return {name: value for name, value in said if value is not None}


def permission(file: EmulatedFile, each: Grant) -> dict[str, Any]:
    role = NAMES[each.role]
    said: dict[str, Any] = {"id": each.id, "type": each.type, "kind": "drive#permission", "role": role}
    if each.type in {"user", "group"}:
        said |= {"emailAddress": each.who, "displayName": each.who.partition("@")[0], "deleted": False}
        said["pendingOwner"] = False
    elif each.type == "domain":
        said |= {"domain": each.who, "displayName": each.who, "allowFileDiscovery": False}
    else:
        said["allowFileDiscovery"] = False
    detail = {"permissionType": "file", "role": role, "inherited": each.id not in file.permissions}
    return {**said, "permissionDetails": [detail]}


def permissions(file: EmulatedFile, grants: Iterable[Grant]) -> list[dict[str, Any]]:
    return [permission(file, each) for each in grants]


def _extension(view: FileView) -> str | None:
    _, dot, extension = view.file.name.rpartition(".")
    return None if view.file.content is None else extension if dot else ""


def _capabilities(view: FileView) -> dict[str, bool]:
    owner, writer, folder = view.role == Role.OWNER, view.role >= Role.WRITER, view.file.is_folder
    return {
        "canAddChildren": writer and folder,
        "canComment": view.role >= Role.COMMENTER,
        "canCopy": not folder,
        "canDelete": owner,
        "canDownload": True,
        "canEdit": writer,
        "canListChildren": folder,
        "canModifyContent": writer,
        "canMoveItemWithinDrive": writer,
        "canReadRevisions": writer and not folder,
        "canRemoveChildren": writer and folder,
        "canRename": writer,
        "canShare": view.may_share,
        "canTrash": owner,
        "canUntrash": owner,
    }


_PARTS: dict[str, Callable[[FileView], Any]] = {
    "kind": lambda _: "drive#file",
    "id": lambda view: view.file.id,
    "name": lambda view: view.file.name,
    "mimeType": lambda view: view.file.mime_type,
    "description": lambda view: view.file.description,
    "starred": lambda view: view.file.starred,
    "trashed": lambda view: view.trashed,
    "explicitlyTrashed": lambda view: view.file.trashed,
    "parents": lambda view: list(view.parents) or None,
    "properties": lambda view: dict(view.file.properties) or None,
    "appProperties": lambda view: dict(view.own_properties) or None,
    "spaces": lambda _: ["drive"],
    "version": lambda view: str(view.file.version),
    "webContentLink": lambda view: (
        view.file.content and f"https://drive.google.com/uc?id={view.file.id}&export=download"
    ),
    "webViewLink": lambda view: f"https://drive.google.com/file/d/{view.file.id}/view?usp=drivesdk",
    "iconLink": lambda view: f"https://drive-thirdparty.googleusercontent.com/16/type/{view.file.mime_type}",
    "hasThumbnail": lambda _: False,
    "thumbnailVersion": lambda _: "0",
    "viewedByMe": lambda view: view.owned,
    "createdTime": lambda view: time(view.file.created),
    "modifiedTime": lambda view: time(view.file.modified),
    "modifiedByMe": lambda view: view.file.modified_by == view.actor.email,
    "modifiedByMeTime": lambda view: time(view.file.modified) if view.file.modified_by == view.actor.email else None,
    "sharedWithMeTime": lambda view: view.shared_at and time(view.shared_at),
    "sharingUser": lambda view: view.shared_at and user(view.file.owner, view.actor),
    "owners": lambda view: [user(view.file.owner, view.actor)],
    "lastModifyingUser": lambda view: user(view.file.modified_by, view.actor),
    "ownedByMe": lambda view: view.owned,
    "shared": lambda view: len(view.grants) > 1,
    "capabilities": _capabilities,
    "viewersCanCopyContent": lambda _: True,
    "copyRequiresWriterPermission": lambda _: False,
    "writersCanShare": lambda view: view.file.writers_can_share,
    "permissions": lambda view: permissions(view.file, view.grants.values()) if view.may_share else None,
    "permissionIds": lambda view: list(view.grants) if view.may_share else None,
    "isAppAuthorized": lambda view: (view.actor.client, view.actor.email) in view.file.apps,
    "inheritedPermissionsDisabled": lambda _: False,
    "originalFilename": lambda view: view.file.content and view.file.name,
    "fileExtension": _extension,
    "fullFileExtension": _extension,
    "md5Checksum": lambda view: view.file.content and view.file.content.md5,
    "sha1Checksum": lambda view: view.file.content and view.file.content.sha1,
    "sha256Checksum": lambda view: view.file.content and view.file.content.sha256,
    "size": lambda view: view.file.content and str(view.file.size),
    "quotaBytesUsed": lambda view: str(view.file.size),
    "headRevisionId": lambda view: view.file.revision,
}
