"""One file or folder as Drive describes it."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from syft_flwr.errors import ConflictError, TransportError
from syft_flwr.transport._gdrive.api.http_request import Answer

FOLDER = "application/vnd.google-apps.folder"
#: What is asked for of each file; without it Drive sends four fields.
FIELDS = (
    "id,name,size,md5Checksum,mimeType,properties,parents,createdTime,version,trashed,ownedByMe,owners(emailAddress)"
)
_ID = re.compile(r"[A-Za-z0-9_-]{8,128}")


@dataclass(frozen=True, slots=True)
class DriveFile:
    """One file or folder."""

    id: str
    name: str
    #: Email, case-folded; empty if Drive does not say.
    owner: str
    size: int
    #: Hexadecimal; empty for folders, and for the few files that have none.
    md5: str
    is_folder: bool
    properties: Mapping[str, str]
    parents: tuple[str, ...]
    #: RFC 3339, as Drive writes it; whoever writes a file can set it.
    created: str
    version: int


class TakenError(ConflictError):
    """The id belongs to something else than what was to be created; ``file`` is what was found, if it can be seen."""

    def __init__(self, message: str, file: DriveFile | None) -> None:
        super().__init__(message)
        self.file = file


class ReplacedError(TransportError):
    """The file has another content than when it was looked at; ``file`` is what it is now."""

    transient = True

    def __init__(self, message: str, file: DriveFile) -> None:
        super().__init__(message)
        self.file = file


class _Owner(BaseModel):
    email: str = Field("", alias="emailAddress")


class Resource(BaseModel):
    """What an answer says of a file."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    id: str
    name: str
    # Drive writes 64-bit numbers as strings.
    size: int = Field(0, ge=0)
    md5: str = Field("", alias="md5Checksum")
    type: str = Field("", alias="mimeType")
    properties: dict[str, str] = Field(default_factory=dict)
    parents: tuple[str, ...] = ()
    created: str = Field("", alias="createdTime")
    version: int = 0
    trashed: bool = False
    owned_by_me: bool = Field(False, alias="ownedByMe")
    owners: tuple[_Owner, ...] = ()

    def file(self) -> DriveFile:
        return DriveFile(
            id=self.id,
            name=self.name,
            owner=self.owners[0].email.casefold() if self.owners else "",
            size=self.size,
            md5=self.md5.lower(),
            is_folder=self.type == FOLDER,
            properties=self.properties,
            parents=self.parents,
            created=self.created,
            version=self.version,
        )


def read_resource(answer: Answer, what: str) -> Resource:
    """Read the answer to a call that returns a file."""
    answer.ok(what)
    try:
        return Resource.model_validate_json(answer.body)
    except ValidationError as error:
        raise unexpected(what, error) from None


def unexpected(what: str, error: ValidationError) -> TransportError:
    """Make the error for an answer of another shape, which says where and not what."""
    problem = error.errors(include_url=False, include_input=False, include_context=False)[0]
    place = ".".join(map(str, problem["loc"])) or "the whole"
    return TransportError(f"Google Drive: {what}: an unexpected answer ({place}: {problem['type']})")


def check_id(file_id: str) -> str:
    """Return ``file_id`` if Drive could have made it; it goes into addresses, and may come from another participant."""
    if not isinstance(file_id, str) or not _ID.fullmatch(file_id):
        raise TransportError(f"Google Drive: {str(file_id)[:40]!r} is not the id of a file")
    return file_id
