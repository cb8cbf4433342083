"""Data classes for one HTTP request and its response, independent of the connection."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self
from urllib.parse import parse_qsl

from syft_flwr.emulators.gdrive.drive_errors import DriveError


@dataclass(slots=True)
class ReceivedRequest:
    """A request; header names are in lower case."""

    http_method: str
    path: str
    query: dict[str, str]
    headers: Mapping[str, str]
    body: bytes = b""


@dataclass(slots=True)
class Reply:
    """An HTTP response.

    Attributes:
        status: HTTP status; 0 if the connection ended before a response.
        body: the bytes of the body.
        headers: the headers, except ``Content-Length``.
        media: number of bytes in ``body`` that are content of a file.
        file_id: the file of the request, for the log.
    """

    status: int
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    media: int = 0
    file_id: str | None = None

    @classmethod
    def of(cls, value: Mapping[str, Any], *, status: int = 200, file_id: str | None = None) -> Self:
        body = (json.dumps(value, indent=1, ensure_ascii=False) + "\n").encode()
        return cls(status, body, {"Content-Type": "application/json; charset=UTF-8"}, file_id=file_id)

    @classmethod
    def refusal(cls, error: DriveError, file_id: str | None = None) -> Self:
        return cls(error.status, error.body(), {"Content-Type": error.content_type, **error.headers}, file_id=file_id)


def parse_query(text: str) -> dict[str, str]:
    """Return the values of a query string or form by name; the last value of a repeated name counts."""
    return dict(parse_qsl(text, keep_blank_values=True))
