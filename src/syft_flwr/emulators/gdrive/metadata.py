"""Parse the body of ``files.create`` and ``files.update``: metadata, content, or both."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from syft_flwr.emulators.gdrive.drive_errors import DriveError, bad_request, invalid
from syft_flwr.emulators.gdrive.exchange import ReceivedRequest
from syft_flwr.emulators.gdrive.multipart import boundary_of, split
from syft_flwr.emulators.gdrive.query import read_time
from syft_flwr.emulators.gdrive.records import Actor, Content, EmulatedFile

_TEXTS = ("id", "name", "mimeType", "description", "originalFilename")
_FLAGS = ("trashed", "starred", "writersCanShare")
_TIMES = ("createdTime", "modifiedTime")
_MAX_PROPERTY = 124
_MAX_PROPERTIES = 30
_MAX_ALL = 100


@dataclass(frozen=True, slots=True)
class UploadBody:
    """The parsed body of ``files.create`` or ``files.update``.

    Attributes:
        said: the metadata.
        content: the content; None if the body has none.
        media_type: the type of the content; empty if the body names none.
    """

    said: dict[str, Any] = field(default_factory=dict)
    content: Content | None = None
    media_type: str = ""


def read_upload(request: ReceivedRequest, kind: str) -> UploadBody:
    """Parse the body of a request with the given upload type; the body of a resumable upload has only metadata.

    Raises:
        DriveError: 400, the body is malformed or the upload type is unknown.
    """
    content_type = request.headers.get("content-type", "")
    if kind == "media":
        return UploadBody({}, Content.of(request.body), content_type)
    if kind == "multipart":
        parts = split(request.body, boundary_of(content_type))
        if len(parts) != 2:
            raise bad_request("Malformed multipart body.")
        return UploadBody(parse(parts[0].body), Content.of(parts[1].body), parts[1].headers.get("content-type", ""))
    if kind in {"", "resumable"}:
        return UploadBody(parse(request.body))
    raise bad_request("Unknown upload type.")


def parse(body: bytes) -> dict[str, Any]:
    """Parse a JSON body and check the types of the known fields. Unknown fields are ignored, as Drive does.

    Raises:
        DriveError: 400, the body is not JSON, or a field has the wrong type.
    """
    if not body.strip():
        return {}
    try:
        read = json.loads(body)
    except (ValueError, RecursionError):
        raise DriveError(400, "parseError", "Parse Error") from None
    if not isinstance(read, dict):
        raise bad_request("The body is not a JSON object.")
    for names, kind in ((_TEXTS, str), (_FLAGS, bool), (_TIMES, str)):
        for name in names:
            if read.get(name) is not None and not isinstance(read[name], kind):
                raise invalid(name)
    for name in _TIMES:
        if read.get(name) is not None:
            read[name] = read_time(read[name], name)
    parents = read.get("parents")
    if parents is not None and not (isinstance(parents, list) and all(isinstance(each, str) for each in parents)):
        raise invalid("parents")
    for name in ("properties", "appProperties"):
        if read.get(name) is not None:
            _check_properties(name, read[name])
    return read


def _check_properties(name: str, properties: Any) -> None:
    if not isinstance(properties, dict):
        raise invalid(name)
    for key, value in properties.items():
        if value is not None and not isinstance(value, str):
            raise invalid(name)
        if len(key.encode()) + len((value or "").encode()) > _MAX_PROPERTY:
            raise invalid(name, f"A property is larger than {_MAX_PROPERTY} bytes.")


def applied(file: EmulatedFile, metadata: Mapping[str, Any], actor: Actor) -> EmulatedFile:
    """Return a file with new metadata; ``parents``, ``id`` and ``mimeType`` are ignored.

    Raises:
        DriveError: 400, the file would have too many properties.
    """
    properties = _merged(file.properties, metadata.get("properties"), "properties")
    own = _merged(file.app_properties.get(actor.client, {}), metadata.get("appProperties"), "appProperties")
    app_properties = {**file.app_properties, actor.client: own}
    if len(properties) + sum(map(len, app_properties.values())) > _MAX_ALL:
        raise invalid("properties", f"A file has at most {_MAX_ALL} properties.")

    def said(name: str, former: Any) -> Any:
        value = metadata.get(name)
        return former if value is None else value

    return replace(
        file,
        name=said("name", file.name),
        description=said("description", file.description),
        starred=said("starred", file.starred),
        trashed=said("trashed", file.trashed),
        writers_can_share=said("writersCanShare", file.writers_can_share),
        created=_to_millisecond(said("createdTime", file.created)),
        modified=_to_millisecond(said("modifiedTime", file.modified)),
        properties=properties,
        app_properties=app_properties,
    )


def _merged(former: Mapping[str, str], given: Mapping[str, str | None] | None, name: str) -> dict[str, str]:
    merged = {key: value for key, value in {**former, **(given or {})}.items() if value is not None}
    if len(merged) > _MAX_PROPERTIES:
        raise invalid(name, f"At most {_MAX_PROPERTIES} {name} can be set.")
    return merged


def _to_millisecond(time: datetime) -> datetime:
    return time.replace(microsecond=time.microsecond // 1000 * 1000)
