"""Direct access to the emulated files, for tests and without an HTTP client."""

from dataclasses import dataclass, replace
from typing import Any

from syft_flwr.emulators.gdrive.access import grant
from syft_flwr.emulators.gdrive.grants import ROLES
from syft_flwr.emulators.gdrive.identifiers import permission_id
from syft_flwr.emulators.gdrive.records import Content, EmulatedFile
from syft_flwr.emulators.gdrive.service import Service


@dataclass(frozen=True, slots=True)
class FileRecord:
    """The current state of a file.

    Attributes:
        size: length of the content in bytes.
        md5: MD5 of the content, in hex; None for a folder.
        trashed: the file or a folder above it is in the trash.
        parents: id of the folder; empty for a root.
    """

    id: str
    name: str
    owner: str
    mime_type: str
    size: int
    md5: str | None
    trashed: bool
    parents: tuple[str, ...]
    properties: dict[str, str]


class DirectAccess:
    """Actions of owners and hostile writers that bypass access control. Thread-safe.

    Methods with a ``file_id`` raise KeyError if the file does not exist.
    """

    def __init__(self, service: Service) -> None:
        self._service = service

    def files(self, owner: str | None = None) -> list[FileRecord]:
        """Return all files of an owner, or of all owners, the oldest first; with the trash, without the roots."""
        with self._service.lock:
            drive = self._service.drive
            roots = {account.root for account in drive.accounts.values()}
            kept = [
                file
                for file in drive.store.current()
                if file.id not in roots and (owner is None or owner.lower() == file.owner)
            ]
            return [_record(file, trashed=drive.access.is_trashed(file)) for file in kept]

    def content(self, file_id: str) -> bytes:
        """Return the bytes of a file; empty for a folder."""
        with self._service.lock:
            file = self._get(file_id)
            return file.content.data if file.content else b""

    def trash(self, file_id: str, *, trashed: bool = True) -> None:
        """Move a file to the trash, or back out of it, as its owner."""
        self._change(file_id, trashed=trashed)

    def delete(self, file_id: str) -> None:
        """Delete a file permanently, as its owner."""
        with self._service.lock:
            self._service.drive.remove(self._get(file_id))

    def overwrite(self, file_id: str, content: bytes, *, by: str | None = None) -> None:
        """Replace the content of a file.

        Args:
            file_id: the file.
            content: the new bytes.
            by: email of the writer; by default the owner.
        """
        with self._service.lock:
            file = self._get(file_id)
            revision = self._service.identifiers.revision()
            self._change(file_id, content=Content.of(content), revision=revision, modified_by=by or file.owner)

    def unparent(self, file_id: str) -> None:
        """Move a file out of its folder to the owner's root, as a writer of the folder can."""
        with self._service.lock:
            file = self._get(file_id)
            self._change(file_id, parent=self._service.drive.accounts[file.owner].root)

    def duplicate(self, file_id: str) -> str:
        """Create a copy with the same name, owner, content and folder; return its id."""
        with self._service.lock:
            file = self._get(file_id)
            copy = replace(file, id=self._service.identifiers.file(), version=1)
            self._service.drive.put(copy)
            return copy.id

    def share(self, file_id: str, email: str, role: str = "reader") -> None:
        """Grant a user a role on a file or folder, as the owner does in the browser."""
        with self._service.lock:
            self._service.sharing.add(self._get(file_id), grant("user", ROLES[role], email.lower()))

    def revoke(self, file_id: str, email: str) -> None:
        """Revoke the grant of a user on this file or folder; inherited grants stay."""
        with self._service.lock:
            self._service.sharing.withdraw(self._get(file_id), permission_id(email.lower()))

    def _get(self, file_id: str) -> EmulatedFile:
        file = self._service.drive.store.get(file_id)
        if file is None:
            raise KeyError(file_id)
        return file

    def _change(self, file_id: str, **changed: Any) -> None:
        with self._service.lock:
            file = self._get(file_id)
            now = self._service.drive.now()
            self._service.drive.put(replace(file, modified=now, version=file.version + 1, **changed))


def _record(file: EmulatedFile, *, trashed: bool) -> FileRecord:
    return FileRecord(
        file.id,
        file.name,
        file.owner,
        file.mime_type,
        file.size,
        file.content.md5 if file.content else None,
        trashed,
        (file.parent,) if file.parent else (),
        dict(file.properties),
    )
