"""What was asked: counters for each user, and a log of the requests."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

#: Units that a call is charged with, as published for the quota in force since May 2026: get 5, list 100, download 200,
#: edit 50, other 5. What is not said there is assumed: that a permission list and a page of changes are lists, that
#: deleting and sharing are edits, that the chunks of a resumable upload are free, and that a refused call costs the same.
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
    """What one user asked since the last reset.

    Attributes:
        calls: by method; every part of a batch counts.
        http: HTTP requests to the API; a batch is one.
        token_requests: HTTP requests to the token endpoint.
        bytes_up: content sent, without metadata.
        bytes_down: content received.
    """

    calls: Counter[str] = field(default_factory=Counter)
    http: int = 0
    token_requests: int = 0
    units: int = 0
    bytes_up: int = 0
    bytes_down: int = 0

    def copy(self) -> "Meter":
        return Meter(Counter(self.calls), self.http, self.token_requests, self.units, self.bytes_up, self.bytes_down)

    def as_json(self) -> dict[str, Any]:
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
        user: whose token it carried, empty for none.
        method: such as ``files.get``; a batch is ``batch``, and its calls are in ``calls``.
        status: of the reply, 0 if the connection was closed instead.
        parts: number of calls in a batch, else 0.
        bytes_in: size of the body that arrived.
        bytes_out: size of the body that was sent.
        at: when the request had been read, by the emulator's clock.
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
    """Not thread-safe; the service calls it under its lock."""

    def __init__(self) -> None:
        self._meters: dict[str, Meter] = {}
        self.requests: list[RequestRecord] = []

    def of(self, email: str) -> Meter:
        """Return the one that counts; :meth:`Meter.copy` it before it leaves the lock."""
        return self._meters.setdefault(email, Meter())

    def reset(self) -> None:
        self._meters.clear()
        self.requests.clear()

    def as_json(self) -> dict[str, Any]:
        return {email: meter.as_json() for email, meter in sorted(self._meters.items())}
