"""The methods of the Drive API, one function each: they take parameters and return a resource."""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from syft_flwr.emulators.gdrive import drive_errors, metadata, resources
from syft_flwr.emulators.gdrive.emulated_drive import EmulatedDrive
from syft_flwr.emulators.gdrive.exchange import ReceivedRequest, Reply
from syft_flwr.emulators.gdrive.faults import Call, FaultTable
from syft_flwr.emulators.gdrive.fields import Mask, inner
from syft_flwr.emulators.gdrive.grants import Grants
from syft_flwr.emulators.gdrive.metadata import UploadBody
from syft_flwr.emulators.gdrive.pages import ChangeFeed, FileList, page_size
from syft_flwr.emulators.gdrive.quota import Quota
from syft_flwr.emulators.gdrive.records import Actor, EmulatedFile, Role
from syft_flwr.emulators.gdrive.routes import Route
from syft_flwr.emulators.gdrive.uploads import Uploads

_MAX_IDS = 1000
# Largest page of permissions and of shared drives.
_LARGEST_SHORT_PAGE = 100
_RANGE = re.compile(r"bytes=(\d*)-(\d*)")


@dataclass(frozen=True, slots=True)
class Asked:
    """A call of an authenticated user."""

    request: ReceivedRequest
    route: Route
    actor: Actor
    call: Call
    mask: Mask
    upload: UploadBody = field(default_factory=UploadBody)

    @property
    def query(self) -> dict[str, str]:
        return self.request.query

    @property
    def file_id(self) -> str:
        return self.route.file_id or ""


class Calls:
    """Answers the calls of the Drive API. Not thread-safe: the service calls it with its lock held."""

    def __init__(
        self,
        drive: EmulatedDrive,
        sharing: Grants,
        listing: FileList,
        feed: ChangeFeed,
        uploads: Uploads,
        quota: Quota,
        faults: FaultTable,
    ) -> None:
        self._drive = drive
        self._sharing = sharing
        self._listing = listing
        self._feed = feed
        self._uploads = uploads
        self._quota = quota
        self._faults = faults
        self._methods: dict[str, Callable[[Asked], dict[str, Any] | Reply]] = {
            "about.get": self._about,
            "changes.getStartPageToken": self._start_page_token,
            "changes.list": self._changes,
            "drives.list": self._drives,
            "files.create": self._create,
            "files.delete": self._delete,
            "files.download": self._download,
            "files.emptyTrash": self._empty_trash,
            "files.generateIds": self._generate_ids,
            "files.get": self._get,
            "files.list": self._list,
            "files.update": self._update,
            "permissions.create": self._grant,
            "permissions.delete": self._withdraw,
            "permissions.get": self._permission,
            "permissions.list": self._permissions,
            "permissions.update": self._change_grant,
        }

    def answer(self, asked: Asked) -> dict[str, Any] | Reply:
        """Run a call and return its resource or its response.

        Raises:
            DriveError: the call is refused.
        """
        return self._methods[asked.route.method](asked)

    def _about(self, asked: Asked) -> dict[str, Any]:
        email = asked.actor.email
        used = self._drive.used(email)
        quota = {
            "usage": str(used),
            "usageInDrive": str(used),
            "usageInDriveTrash": str(self._drive.used(email, trashed_only=True)),
        }
        limit = self._quota.storage_limit(email)
        return {
            "kind": "drive#about",
            "user": resources.user(email, asked.actor),
            "storageQuota": quota if limit is None else {"limit": str(limit), **quota},
            "maxUploadSize": str(5120 << 30),
            "appInstalled": False,
            "canCreateDrives": True,
            "importFormats": {},
            "exportFormats": {},
            "maxImportSizes": {},
            "folderColorPalette": [],
        }

    def _start_page_token(self, asked: Asked) -> dict[str, Any]:
        return {"kind": "drive#startPageToken", "startPageToken": self._feed.start(asked.actor)}

    def _changes(self, asked: Asked) -> dict[str, Any]:
        return self._feed.page(asked.actor, asked.query, asked.call, inner(asked.mask, "changes", "file"))

    def _drives(self, asked: Asked) -> dict[str, Any]:
        """Return an empty page, because the emulator has no shared drives."""
        page_size(asked.query, self._drive.assumptions, largest=_LARGEST_SHORT_PAGE)
        return {"kind": "drive#driveList", "drives": []}

    def _create(self, asked: Asked) -> dict[str, Any] | Reply:
        upload, actor = asked.upload, asked.actor
        if asked.route.upload == "resumable":
            length = asked.request.headers.get("x-upload-content-length", "")
            self._drive.check_new(actor, upload.said, int(length) if length.isdecimal() else 0)
            return self._uploads.open(asked.request, asked.route, actor, upload.said)
        return self.create(actor, upload, asked.mask)

    def _update(self, asked: Asked) -> dict[str, Any] | Reply:
        if asked.route.upload == "resumable":
            self._drive.require(asked.actor, asked.file_id, Role.WRITER)
            return self._uploads.open(asked.request, asked.route, asked.actor, asked.upload.said)
        return self.update(asked.actor, asked.file_id, asked.upload, asked.query, asked.mask)

    def update(
        self, actor: Actor, file_id: str, upload: UploadBody, query: dict[str, str], mask: Mask
    ) -> dict[str, Any]:
        file = self._drive.update(
            actor,
            file_id,
            upload.said,
            upload.content,
            upload.media_type,
            add_parents=query.get("addParents", ""),
            remove_parents=query.get("removeParents", ""),
        )
        return self._file(file, actor, mask)

    def create(self, actor: Actor, upload: UploadBody, mask: Mask) -> dict[str, Any]:
        """Create a file from complete content and return its resource."""
        file = self._drive.create(actor, upload.said, upload.content, upload.media_type)
        return self._file(file, actor, mask)

    def _file(self, file: EmulatedFile, actor: Actor, mask: Mask) -> dict[str, Any]:
        return resources.FileView(self._drive, file, actor).as_json(mask)

    def _delete(self, asked: Asked) -> Reply:
        self._drive.delete(asked.actor, asked.file_id)
        return Reply(204)

    def _empty_trash(self, asked: Asked) -> Reply:
        self._drive.empty_trash(asked.actor)
        return Reply(204)

    def _get(self, asked: Asked) -> dict[str, Any]:
        return self._file(self._drive.find(asked.actor, asked.file_id), asked.actor, asked.mask)

    def _download(self, asked: Asked) -> Reply:
        file = self._drive.find(asked.actor, asked.file_id)
        if file.content is None:
            message = "Only files with binary content can be downloaded. Use Export with Docs Editors files."
            raise drive_errors.DriveError(403, "fileNotDownloadable", message, at=("alt", "parameter"))
        return _partial(file.content.data, asked.request.headers.get("range", ""), file.mime_type)

    def _generate_ids(self, asked: Asked) -> dict[str, Any]:
        text = asked.query.get("count", "10")
        if not re.fullmatch(r"\d{1,6}", text) or not 1 <= int(text) <= _MAX_IDS:
            raise drive_errors.invalid("count")
        space = asked.query.get("space", "drive")
        if space not in {"drive", "appDataFolder"}:
            raise drive_errors.invalid("space")
        ids = self._drive.generate_ids(asked.actor, int(text))
        return {"kind": "drive#generatedIds", "space": space, "ids": ids}

    def _list(self, asked: Asked) -> dict[str, Any]:
        short = self._faults.take(asked.call, "short_page")
        found, token = self._listing.page(
            asked.actor,
            asked.query,
            or_fails=self._faults.take(asked.call, "empty_or") is not None,
            at_most=short.parameters["at_most"] if short else None,
        )
        files = [self._file(file, asked.actor, inner(asked.mask, "files")) for file in found]
        page = {"kind": "drive#fileList", "incompleteSearch": False, "files": files}
        return {"nextPageToken": token, **page} if token else page

    def _grant(self, asked: Asked) -> dict[str, Any]:
        said = metadata.parse(asked.request.body)
        by_mail = asked.query.get("sendNotificationEmail") != "false"
        file, made = self._sharing.create(asked.actor, asked.file_id, said, by_mail=by_mail)
        if self._faults.take(asked.call, "lose_grant"):
            # As when two clients share one file at the same time: Drive keeps only the last grant.
            self._sharing.withdraw(file, made.id)
        return resources.permission(file, made)

    def _change_grant(self, asked: Asked) -> dict[str, Any]:
        said = metadata.parse(asked.request.body)
        return resources.permission(
            *self._sharing.update(asked.actor, asked.file_id, asked.route.permission_id or "", said)
        )

    def _withdraw(self, asked: Asked) -> Reply:
        self._sharing.delete(asked.actor, asked.file_id, asked.route.permission_id or "")
        return Reply(204)

    def _permissions(self, asked: Asked) -> dict[str, Any]:
        file, grants = self._sharing.list(asked.actor, asked.file_id)
        size = page_size(asked.query, self._drive.assumptions, default=max(len(grants), 1), largest=_LARGEST_SHORT_PAGE)
        token = asked.query.get("pageToken", "0")
        if not re.fullmatch(r"\d{1,6}", token):
            raise drive_errors.invalid("pageToken")
        start, end = int(token), int(token) + size
        page = {
            "kind": "drive#permissionList",
            "permissions": resources.permissions(file, grants[start:end]),
        }
        return page if end >= len(grants) else {"nextPageToken": str(end), **page}

    def _permission(self, asked: Asked) -> dict[str, Any]:
        found = self._sharing.get(asked.actor, asked.file_id, asked.route.permission_id or "")
        return resources.permission(*found)


def _partial(data: bytes, wanted: str, content_type: str) -> Reply:
    """Return the response to a download: 200 for the whole file, 206 for a range, 416 for a range after the end.

    A malformed range is ignored.
    """
    headers = {"Content-Type": content_type, "Accept-Ranges": "bytes"}
    found = _RANGE.fullmatch(wanted.replace(" ", ""))
    if not found or not (found[1] or found[2]):
        return Reply(200, data, headers, media=len(data))
    if found[1]:
        start = int(found[1])
        end = min(int(found[2]) + 1 if found[2] else len(data), len(data))
        if found[2] and int(found[2]) < start:
            return Reply(200, data, headers, media=len(data))
    else:
        start, end = max(0, len(data) - int(found[2])), len(data)
    if start >= len(data):
        return Reply(416, b"", {**headers, "Content-Range": f"bytes */{len(data)}"})
    part = data[start:end]
    return Reply(206, part, {**headers, "Content-Range": f"bytes {start}-{end - 1}/{len(data)}"}, media=len(part))
