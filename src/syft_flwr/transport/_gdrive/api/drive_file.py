"""The metadata of one file or folder in Drive, and its parser.

The parser refuses a response with an id, a checksum or a number of another form. Peers choose the name and the properties
of their files, so these are never refused: a name without the form of the protocol is only ignored later.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from syft_flwr.emails import fold
from syft_flwr.errors import ConflictError, TransportError
from syft_flwr.names import MAX_NAME_LENGTH
from syft_flwr.transport._gdrive.api.http import RESPONSE_HINT
from syft_flwr.transport._gdrive.api.http_request import Answer

FOLDER = "application/vnd.google-apps.folder"
#: The requested fields of each file; by default, Drive sends only four.
FIELDS = (
    "id,name,size,md5Checksum,mimeType,properties,parents,createdTime,version,trashed,ownedByMe,owners(emailAddress)"
)
#: Bytes of the largest file that Drive stores.
MAX_FILE = 5_000_000_000_000
_ID = re.compile(r"[A-Za-z0-9_-]{8,128}")
#: An id, as the type of a field.
FileId = Annotated[str, Field(pattern=rf"^{_ID.pattern}\z")]
#: The mark of the next page of a list. It becomes a part of an address.
PageToken = Annotated[str, Field(pattern=r"^[!-~]{1,4096}\z")]


@dataclass(frozen=True, slots=True)
class DriveFile:
    """The metadata of one file or folder."""

    id: str
    name: str
    #: Email in lower case; empty if Drive does not report the owner.
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

    id: FileId
    name: str
    # Drive writes 64-bit numbers as strings.
    size: int = Field(0, ge=0, le=MAX_FILE)
    md5: str = Field("", alias="md5Checksum", pattern=r"^([0-9A-Fa-f]{32})?\z")
    type: str = Field("", alias="mimeType", max_length=256)
    properties: dict[str, str] = Field(default_factory=dict)
    parents: tuple[FileId, ...] = Field((), max_length=1_000)
    created: str = Field("", alias="createdTime", pattern=r"^[0-9A-Za-z:.+-]{0,64}\z")
    version: int = Field(0, ge=0, lt=1 << 63)
    trashed: bool = False
    owned_by_me: bool = Field(False, alias="ownedByMe")
    owners: tuple[_Owner, ...] = ()

    def file(self) -> DriveFile:
        return DriveFile(
            id=self.id,
            # A longer name is not valid in any case, and costs no more memory.
            name=self.name[: MAX_NAME_LENGTH + 1],
            owner=fold(self.owners[0].email) if self.owners else "",
            size=self.size,
            md5=self.md5.lower(),
            is_folder=self.type == FOLDER,
            properties=self.properties,
            parents=self.parents,
            created=self.created,
            version=self.version,
        )


def read_resource(answer: Answer, what: str, file_id: str | None = None) -> Resource:
    """Return the file that a response describes.

    Raises:
        TransportError: the response is a refusal, has another form, or describes another file than ``file_id``.
    """
    answer.ok(what)
    try:
        found = Resource.model_validate_json(answer.body)
    except ValidationError as error:
        raise unexpected(what, error) from None
    if file_id not in (None, found.id):
        raise _unexpected(what, "id", "another file")
    return found


def unexpected(what: str, error: ValidationError) -> TransportError:
    """Return the error for a response of another form. It names the wrong field, without its value."""
    problem = error.errors(include_url=False, include_input=False, include_context=False)[0]
    return _unexpected(what, ".".join(map(str, problem["loc"])) or "the whole", problem["type"])


def _unexpected(what: str, place: str, problem: str) -> TransportError:
    text = f"Google Drive: {what}: the response has an unexpected form ({place}: {problem})"
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
