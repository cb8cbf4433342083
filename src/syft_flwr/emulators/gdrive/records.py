"""What the service remembers: immutable, so that an older state can be shown to a reader that lags behind."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import IntEnum
from typing import Self

FOLDER = "application/vnd.google-apps.folder"


class Role(IntEnum):
    """What someone may do with a file; each may what the former may."""

    READER = 1
    COMMENTER = 2
    WRITER = 3
    OWNER = 4


@dataclass(frozen=True, slots=True)
class EmulatedAccount:
    """A user of the service.

    Attributes:
        permission_id: identifies the user as a grantee, the same on every file.
        root: id of the folder My Drive.
    """

    email: str
    permission_id: str
    root: str


@dataclass(frozen=True, slots=True)
class Actor:
    """Who asks, by which OAuth client, and what that client was allowed to."""

    email: str
    client: str
    scopes: frozenset[str]


@dataclass(frozen=True, slots=True)
class Grant:
    """One grant. ``who`` is an email, a domain, or empty for whoever has the link."""

    id: str
    type: str
    role: Role
    who: str


@dataclass(frozen=True, slots=True)
class Content:
    """Bytes of a file with their digests."""

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
        parent: at most one, as for everything made since 2020.
        revision: of the content; a content update makes another.
        app_properties: by OAuth client, because each sees only its own.
        apps: pairs of client and user that ``drive.file`` gives access to.
        shared_at: when whom it was shared with directly, by email.
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
