"""Counters of calls and bytes for each user, and a log of all requests."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

#: Quota units of a call. Google's published values since May 2026: get 5, list 100, download 200, edit 50, other 5.
#: Assumed: a permission list and a page of changes are lists. Deleting and sharing are edits. Chunks of a resumable
#: upload are free. A refused call costs the same.
UNITS: Mapping[str, int] = {
    "about.get": 5,
    "changes.getStartPageToken": 5,
    "changes.list": 100,
    "drives.list": 100,
    "files.create": 50,
    "files.delete": 50,
    "files.download": 200,
    "files.emptyTrash": 50,
    "files.generateIds": 5,
    "files.get": 5,
    "files.list": 100,
    "files.update": 50,
    "permissions.create": 50,
    "permissions.delete": 50,
    "permissions.get": 5,
    "permissions.list": 100,
    "permissions.update": 50,
}


@dataclass(slots=True)
class Meter:
    """The counters of one user since the last reset.

    Attributes:
        calls: calls by method; each call of a batch counts.
        http: HTTP requests to the API; a batch is one request.
        token_requests: HTTP requests to the token endpoint.
        units: quota units.
        bytes_up: bytes of content that the user sent, without metadata.
        bytes_down: bytes of content that the user received.
    """

    calls: Counter[str] = field(default_factory=Counter)
    http: int = 0
    token_requests: int = 0
    units: int = 0
    bytes_up: int = 0
    bytes_down: int = 0

    def copy(self) -> "Meter":
        """Return a meter with the counts of this moment."""
        return Meter(Counter(self.calls), self.http, self.token_requests, self.units, self.bytes_up, self.bytes_down)

    def as_json(self) -> dict[str, Any]:
        """Return the counters by name, for JSON."""
        return {
            "calls": dict(sorted(self.calls.items())),
            "http": self.http,
            "token_requests": self.token_requests,
            "units": self.units,
            "bytes_up": self.bytes_up,
            "bytes_down": self.bytes_down,
        }


@dataclass(frozen=True, slots=True)
class PartRecord:
    """One call of a batch."""

    method: str
    status: int
    file_id: str | None


@dataclass(frozen=True, slots=True)
class RequestRecord:
    """One HTTP request.

    Attributes:
        user: email of the user; empty for a request without a valid token.
        method: method of the API, such as ``files.get``; a batch is ``batch``.
        http_method: ``GET``, ``POST`` and so on.
        path: path of the address, without the query.
        status: HTTP status of the response; 0 if the connection ended without one.
        file_id: the file of the request, if it has one.
        parts: number of calls in a batch, otherwise 0.
        bytes_in: bytes of the request body that arrived.
        bytes_out: bytes of the response body that were sent.
        at: time of the response, by the emulator's clock.
        calls: the calls of a batch.
    """

    user: str
    method: str
    http_method: str
    path: str
    status: int
    file_id: str | None
    parts: int
    bytes_in: int
    bytes_out: int
    at: datetime
    calls: tuple[PartRecord, ...] = ()


class Meters:
    """The counters of all users. Not thread-safe: the service calls it with its lock held."""

    def __init__(self) -> None:
        self._meters: dict[str, Meter] = {}
        self.requests: list[RequestRecord] = []

    def of(self, email: str) -> Meter:
        """Return the live counters of a user. Use :meth:`Meter.copy` before the lock is released."""
        return self._meters.setdefault(email, Meter())

    def reset(self) -> None:
        self._meters.clear()
        self.requests.clear()

    def as_json(self) -> dict[str, Any]:
        return {email: meter.as_json() for email, meter in sorted(self._meters.items())}
