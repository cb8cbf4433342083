"""The metadata of one file or folder in Drive, and its parser."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from syft_flwr.errors import ConflictError, TransportError
from syft_flwr.transport._gdrive.api.http import RESPONSE_HINT
from syft_flwr.transport._gdrive.api.http_request import Answer

FOLDER = "application/vnd.google-apps.folder"
#: The requested fields of each file; by default, Drive sends only four.
FIELDS = (
    "id,name,size,md5Checksum,mimeType,properties,parents,createdTime,version,trashed,ownedByMe,owners(emailAddress)"
)
_ID = re.compile(r"[A-Za-z0-9_-]{8,128}")


@dataclass(frozen=True, slots=True)
class DriveFile:
    """The metadata of one file or folder."""

    id: str
    name: str
    #: Email, case-folded; empty if Drive does not report the owner.
    owner: str
    size: int
    #: Hexadecimal; empty for folders, and for the few files without a checksum.
    md5: str
    is_folder: bool
    properties: Mapping[str, str]
    parents: tuple[str, ...]
    #: RFC 3339, as Drive writes it. The writer of a file can set any value.
    created: str
    version: int


class TakenError(ConflictError):
    """The id of a new file belongs to another file already. ``file`` is that file, or None if it is not visible."""

    def __init__(self, message: str, file: DriveFile | None) -> None:
        super().__init__(message)
        self.file = file


class ReplacedError(TransportError):
    """The content of the file changed after its metadata was read. ``file`` is the new metadata."""

    transient = True

    def __init__(self, message: str, file: DriveFile) -> None:
        super().__init__(message)
        self.file = file


class _Owner(BaseModel):
    email: str = Field("", alias="emailAddress")


class Resource(BaseModel):
    """The JSON object of a file in a response."""

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
    """Return the file that a response describes; raise the error of a refusal."""
    answer.ok(what)
    try:
        return Resource.model_validate_json(answer.body)
    except ValidationError as error:
        raise unexpected(what, error) from None


def unexpected(what: str, error: ValidationError) -> TransportError:
    """Return the error for a response of another form. It names the wrong field, without its value."""
    problem = error.errors(include_url=False, include_input=False, include_context=False)[0]
    place = ".".join(map(str, problem["loc"])) or "the whole"
    text = f"Google Drive: {what}: the response has an unexpected form ({place}: {problem['type']})"
    return TransportError(text, hint=RESPONSE_HINT)


def is_id(text: str) -> bool:
    """Return whether a text has the form of a Drive id."""
    return _ID.fullmatch(text) is not None


def check_id(file_id: str) -> str:
    """Return ``file_id`` if it has the form of a Drive id.

    The check is needed because the id becomes part of an address, and can come from a peer.

    Raises:
        TransportError: it has another form.
    """
    if not isinstance(file_id, str) or not is_id(file_id):
        raise TransportError(f"Google Drive: {str(file_id)[:40]!r} is not the id of a file")
    return file_id
