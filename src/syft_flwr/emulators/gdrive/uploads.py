"""Resumable uploads: a session receives content in pieces, and creates the file when the content is complete.

- Each piece except the last must have at least 256 KiB. The session keeps whole multiples of 256 KiB, also if the
  connection breaks. The response states the number of bytes kept.
- Every client with the address of a session may send to it, without a token.
- A finished session repeats its last response.
"""

import hashlib
import re
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from syft_flwr.clock import Clock
from syft_flwr.emulators.gdrive.drive_errors import DriveError, bad_request
from syft_flwr.emulators.gdrive.exchange import ReceivedRequest, Reply
from syft_flwr.emulators.gdrive.identifiers import Identifiers
from syft_flwr.emulators.gdrive.records import Actor, Content
from syft_flwr.emulators.gdrive.routes import Route

GRAIN = 256 * 1024
_LIFETIME = timedelta(days=7)
_ORIGIN = "https://www.googleapis.com"
_CONTENT_RANGE = re.compile(r"bytes(?:(\d+)-(\d+)|\*)/(\d+|\*)")


@dataclass(slots=True)
class Session:
    """One upload session.

    Attributes:
        actor: the user and client that opened the session.
        route: the route of the opening request.
        query: the parameters of the opening request.
        said: the metadata of the file.
        media_type: the type of the content.
        total: the announced size in bytes; None if the client announced none.
        opened: time of the opening request.
        lock: held while content is added, so that concurrent pieces are added one after the other.
        pieces: the content so far; emptied at the end.
        size: number of bytes so far.
        end: the response to the last piece; None before the end.
    """

    actor: Actor
    route: Route
    query: dict[str, str]
    said: Mapping[str, Any]
    media_type: str
    total: int | None
    opened: datetime
    lock: threading.Lock = field(default_factory=threading.Lock)
    pieces: list[bytes] = field(default_factory=list)
    size: int = 0
    end: Reply | None = None
    _digests: tuple[Any, ...] = field(
        default_factory=lambda: (
            hashlib.md5(usedforsecurity=False),
            hashlib.sha1(usedforsecurity=False),
            hashlib.sha256(),
        )
    )

    def add(self, piece: bytes) -> None:
        if not piece:
            return
        self.pieces.append(piece)
        self.size += len(piece)
        for digest in self._digests:
            digest.update(piece)

    def content(self) -> Content:
        data = self.pieces[0] if len(self.pieces) == 1 else b"".join(self.pieces)
        return Content(data, *(digest.hexdigest() for digest in self._digests))


class Uploads:
    """All upload sessions. Not thread-safe: the service calls it with its lock held."""

    def __init__(self, clock: Clock, identifiers: Identifiers) -> None:
        self._clock = clock
        self._identifiers = identifiers
        self._sessions: dict[str, Session] = {}

    def open(self, request: ReceivedRequest, route: Route, actor: Actor, said: Mapping[str, Any]) -> Reply:
        """Open a session; the response has its address, on the host of the real service."""
        length = request.headers.get("x-upload-content-length", "")
        total = int(length) if length.isdecimal() else None
        upload_id = self._identifiers.token()
        media_type = request.headers.get("x-upload-content-type", "")
        self._sessions[upload_id] = Session(
            actor, route, dict(request.query), said, media_type, total, self._clock.now()
        )
        location = f"{_ORIGIN}{request.path}?uploadType=resumable&upload_id={upload_id}"
        return Reply(200, b"", {"Location": location, "X-GUploader-UploadID": upload_id})

    def get(self, upload_id: str) -> Session:
        """Return a session.

        Raises:
            DriveError: 404, the session is unknown or older than a week.
        """
        session = self._sessions.get(upload_id)
        if session is None or session.opened + _LIFETIME <= self._clock.now():
            self._sessions.pop(upload_id, None)
            raise DriveError(404, "notFound", "Not Found", page="Not Found")
        return session

    def expire(self) -> None:
        """Expire all sessions."""
        self._sessions.clear()


def status(session: Session) -> Reply:
    """Return the response of an unfinished session, with the number of bytes kept so far."""
    return Reply(308, b"", {"Range": f"bytes=0-{session.size - 1}"} if session.size else {})


def receive(session: Session, request: ReceivedRequest) -> bool:
    """Add a piece to a session; return whether it was the last. The caller holds the lock of the session.

    Raises:
        DriveError: 400, the piece does not match its ``Content-Range``, or does not continue the earlier pieces.
    """
    body = request.body
    start, end, total = _content_range(request, len(body), session)
    if session.total is not None and total is not None and total != session.total:
        raise bad_request(f"The size does not match the {session.total} bytes that the session announced.")
    if end - start != len(body):
        raise bad_request(
            f"Invalid request. There were {len(body)} byte(s) in the request body. There should have been "
            f"{end - start} byte(s) (starting at offset {start} and ending at offset {end - 1}) according to the "
            "Content-Range header."
        )
    if start > session.size or (total is not None and end > total):
        raise bad_request("Invalid request. The content does not continue the received bytes.")
    is_last = total is not None and end == total
    if not is_last and len(body) < GRAIN:
        raise bad_request(f"Invalid request. A piece that is not the last must have at least {GRAIN} bytes.")
    arrived = body[session.size - start :]
    session.add(arrived if is_last else _whole_grains(arrived))
    return is_last


def is_complete(session: Session, request: ReceivedRequest) -> bool:
    """Return whether a status query comes after all content has arrived, so that only the response was lost."""
    found = _CONTENT_RANGE.fullmatch(request.headers.get("content-range", "").replace(" ", ""))
    announced = int(found[3]) if found and found[3] != "*" else session.total
    return announced == session.size and (session.size > 0 or session.total is None)


def keep_whole_grains(session: Session, request: ReceivedRequest) -> None:
    """Add the received part of a piece after its connection broke."""
    found = _CONTENT_RANGE.fullmatch(request.headers.get("content-range", "").replace(" ", ""))
    start = int(found[1]) if found and found[1] else 0
    if start <= session.size:
        session.add(_whole_grains(request.body[session.size - start :]))


def _whole_grains(arrived: bytes) -> bytes:
    return arrived[: len(arrived) // GRAIN * GRAIN]


def _content_range(request: ReceivedRequest, length: int, session: Session) -> tuple[int, int, int | None]:
    """Return start and end of a piece, and the total size or None, all in bytes.

    Raises:
        DriveError: 400, the header is malformed.
    """
    text = request.headers.get("content-range", "")
    if not text:
        return 0, length, length if session.total is None else session.total
    found = _CONTENT_RANGE.fullmatch(text.replace(" ", ""))
    if not found or not found[1]:
        raise bad_request("Failed to parse Content-Range header.")
    return int(found[1]), int(found[2]) + 1, None if found[3] == "*" else int(found[3])
