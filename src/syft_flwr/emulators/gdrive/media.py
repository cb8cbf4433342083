"""What an upload carries: metadata, content, or both."""

from dataclasses import dataclass, field
from typing import Any

from syft_flwr.emulators.gdrive import metadata
from syft_flwr.emulators.gdrive.drive_errors import bad_request
from syft_flwr.emulators.gdrive.exchange import ReceivedRequest
from syft_flwr.emulators.gdrive.multipart import boundary_of, split
from syft_flwr.emulators.gdrive.records import Content


@dataclass(frozen=True, slots=True)
class UploadBody:
    """The parsed body of ``files.create`` or ``files.update``."""

    said: dict[str, Any] = field(default_factory=dict)
    content: Content | None = None
    media_type: str = ""


def read(request: ReceivedRequest, kind: str) -> UploadBody:
    """Read the body of an upload of a kind; of a resumable one this is the metadata only.

    Raises:
        DriveError: 400.
    """
    content_type = request.headers.get("content-type", "")
    if kind == "media":
        return UploadBody({}, Content.of(request.body), content_type)
    if kind == "multipart":
        parts = split(request.body, boundary_of(content_type))
        if len(parts) != 2:
            raise bad_request("Malformed multipart body.")
        return UploadBody(
            metadata.parse(parts[0].body), Content.of(parts[1].body), parts[1].headers.get("content-type", "")
        )
    if kind in {"", "resumable"}:
        return UploadBody(metadata.parse(request.body))
    raise bad_request("Unknown upload type.")
