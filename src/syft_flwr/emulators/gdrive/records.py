"""Immutable records of accounts, files and grants, so that a reader with a lag can still see an older state."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import IntEnum
from typing import Self

FOLDER = "application/vnd.google-apps.folder"


class Role(IntEnum):
    """A role of a user on a file; each role includes the lower ones."""

    READER = 1
    COMMENTER = 2
    WRITER = 3
    OWNER = 4


@dataclass(frozen=True, slots=True)
class EmulatedAccount:
    """A user of the service.

    Attributes:
        email: address of the user.
        permission_id: id of the user as a grantee, the same on every file.
        root: id of the folder My Drive.
    """

    email: str
    permission_id: str
    root: str


@dataclass(frozen=True, slots=True)
class Actor:
    """The sender of a call: a user, the OAuth client, and the scopes that the user granted to the client."""

    email: str
    client: str
    scopes: frozenset[str]


@dataclass(frozen=True, slots=True)
class Grant:
    """A grant of a role on a file or folder.

    Attributes:
        id: permission id of the grantee.
        type: ``user``, ``group``, ``domain`` or ``anyone``.
        role: the granted role.
        who: email or domain of the grantee; empty for anyone with the link.
    """

    id: str
    type: str
    role: Role
    who: str


@dataclass(frozen=True, slots=True)
class Content:
    """The bytes of a file, and their digests in hex."""

    data: bytes
    md5: str
    sha1: str
    sha256: str

    @classmethod
    def of(cls, data: bytes) -> Self:
        md5 = hashlib.md5(data, usedforsecurity=False).hexdigest()
        sha1 = hashlib.sha1(data, usedforsecurity=False).hexdigest()
        return cls(data, md5, sha1, hashlib.sha256(data).hexdigest())


@dataclass(frozen=True, slots=True)
class EmulatedFile:
    """One state of a file or folder.

    Attributes:
        parent: id of the folder. Files created since 2020 have at most one.
        content: the content; None for a folder.
        apps: pairs of client and user with access through the scope ``drive.file``.
        version: number of the state; it grows with every change.
        revision: id of the content; a content update creates a new one.
        app_properties: properties by OAuth client, because each client sees only its own.
        shared_at: time when the file was shared directly, by email of the user.
    """

    id: str
    name: str
    mime_type: str
    owner: str
    parent: str | None
    content: Content | None
    created: datetime
    modified: datetime
    modified_by: str
    permissions: Mapping[str, Grant]
    apps: frozenset[tuple[str, str]] = frozenset()
    version: int = 1
    revision: str | None = None
    description: str | None = None
    starred: bool = False
    trashed: bool = False
    writers_can_share: bool = True
    properties: Mapping[str, str] = field(default_factory=dict)
    app_properties: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    shared_at: Mapping[str, datetime] = field(default_factory=dict)

    @property
    def is_folder(self) -> bool:
        return self.mime_type == FOLDER

    @property
    def size(self) -> int:
        return len(self.content.data) if self.content else 0
