"""Files, grants and users as the service writes them for the one who asks."""

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from syft_flwr.testing.gdrive.drive import Drive
from syft_flwr.testing.gdrive.identifiers import permission_id
from syft_flwr.testing.gdrive.permissions import ANYONE
from syft_flwr.testing.gdrive.records import FOLDER, Actor, File, Permission, Role
from syft_flwr.testing.gdrive.sharing import NAMES


def time(value: datetime) -> str:
    return value.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.") + f"{value.microsecond // 1000:03d}Z"


class Resources:
    """Not thread-safe; the service calls it under its lock."""

    def __init__(self, drive: Drive) -> None:
        self._drive = drive

    def user(self, email: str, actor: Actor) -> dict[str, Any]:
        return {
            "kind": "drive#user",
            "displayName": email.partition("@")[0],
            "me": email == actor.email,
            "permissionId": permission_id(email),
            "emailAddress": email,
        }

    def permission(self, file: File, each: Permission) -> dict[str, Any]:
        inherited = each.id not in file.permissions
        named: dict[str, Any] = {"id": each.id, "type": each.type, "kind": "drive#permission", "role": NAMES[each.role]}
        if each.type in {"user", "group"}:
            named |= {"emailAddress": each.who, "displayName": each.who.partition("@")[0], "deleted": False}
            named["pendingOwner"] = False
        elif each.type == "domain":
            named |= {"domain": each.who, "displayName": each.who, "allowFileDiscovery": False}
        else:
            named["allowFileDiscovery"] = False
        detail = {"permissionType": "file", "role": NAMES[each.role], "inherited": inherited}
        return {**named, "permissionDetails": [detail]}

    def permissions(self, file: File, grants: Iterable[Permission]) -> list[dict[str, Any]]:
        return [self.permission(file, each) for each in grants]

    def visible_parents(self, file: File, actor: Actor) -> tuple[str, ...]:
        parent = self._drive.store.get(file.parent) if file.parent else None
        if not parent or self._drive.access.role(actor.email, parent) is None:
            return ()
        return (parent.id,)

    def visibility(self, file: File) -> str:
        held = self._drive.access.effective(file)
        if ANYONE in held:
            return "anyoneWithLink"
        return "domainWithLink" if any(each.type == "domain" for each in held.values()) else "limited"

    def file(self, file: File, actor: Actor) -> dict[str, Any]:
        """Return all that can be said of a file; values that it does not have are left out."""
        drive = self._drive
        role = drive.role(actor, file) or Role.READER
        held = drive.access.effective(file)
        may_share = role == Role.OWNER or (role == Role.WRITER and file.writers_can_share)
        said: dict[str, Any] = {
            "kind": "drive#file",
            "id": file.id,
            "name": file.name,
            "mimeType": file.mime_type,
            "description": file.description,
            "starred": file.starred,
            "trashed": drive.access.is_trashed(file),
            "explicitlyTrashed": file.trashed,
            "parents": list(self.visible_parents(file, actor)) or None,
            "properties": dict(file.properties) or None,
            "appProperties": dict(file.app_properties.get(actor.client, {})) or None,
            "spaces": ["drive"],
            "version": str(file.version),
            "webViewLink": f"https://drive.google.com/file/d/{file.id}/view?usp=drivesdk",
            "iconLink": f"https://drive-thirdparty.googleusercontent.com/16/type/{file.mime_type}",
            "hasThumbnail": False,
            "thumbnailVersion": "0",
            "viewedByMe": file.owner == actor.email,
            "createdTime": time(file.created),
            "modifiedTime": time(file.modified),
            "modifiedByMe": file.modified_by == actor.email,
            "modifiedByMeTime": time(file.modified) if file.modified_by == actor.email else None,
            "sharedWithMeTime": time(file.shared_at[actor.email]) if actor.email in file.shared_at else None,
            "sharingUser": self.user(file.owner, actor) if actor.email in file.shared_at else None,
            "owners": [self.user(file.owner, actor)],
            "lastModifyingUser": self.user(file.modified_by, actor),
            "ownedByMe": file.owner == actor.email,
            "shared": len(held) > 1,
            "capabilities": _capabilities(file, role, may_share=may_share),
            "viewersCanCopyContent": True,
            "copyRequiresWriterPermission": False,
            "writersCanShare": file.writers_can_share,
            "permissions": self.permissions(file, held.values()) if may_share else None,
            "permissionIds": list(held) if may_share else None,
            "isAppAuthorized": (actor.client, actor.email) in file.apps,
            "quotaBytesUsed": str(file.size),
            "inheritedPermissionsDisabled": False,
            **_content(file),
        }
        return {name: value for name, value in said.items() if value is not None}


def _content(file: File) -> dict[str, Any]:
    if file.content is None:
        return {}
    _, dot, extension = file.name.rpartition(".")
    return {
        "originalFilename": file.name,
        "fileExtension": extension if dot else "",
        "fullFileExtension": extension if dot else "",
        "md5Checksum": file.content.md5,
        "sha1Checksum": file.content.sha1,
        "sha256Checksum": file.content.sha256,
        "size": str(file.size),
        "headRevisionId": file.revision,
        "webContentLink": f"https://drive.google.com/uc?id={file.id}&export=download",
    }


def _capabilities(file: File, role: Role, *, may_share: bool) -> dict[str, bool]:
    owner, writer, folder = role == Role.OWNER, role >= Role.WRITER, file.mime_type == FOLDER
    return {
        "canAddChildren": writer and folder,
        "canComment": role >= Role.COMMENTER,
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
        "canShare": may_share,
        "canTrash": owner,
        "canUntrash": owner,
    }
