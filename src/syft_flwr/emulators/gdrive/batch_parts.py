"""Batch requests: parse several calls from one HTTP request, and join their responses into one."""

import http
from collections.abc import Sequence
from urllib.parse import urlsplit

from syft_flwr.emulators.gdrive.drive_errors import DriveError, bad_request
from syft_flwr.emulators.gdrive.exchange import ReceivedRequest, Reply, parse_query
from syft_flwr.emulators.gdrive.multipart import BodyPart, boundary_of, parse_headers, split

MAX_PARTS = 100
_MAX_URL = 8000


def parse(request: ReceivedRequest) -> list[tuple[str, ReceivedRequest]]:
    """Return the calls of a batch with their content ids.

    A part inherits the headers of the whole request; its own headers override them.

    Raises:
        DriveError: 400, the body is malformed, has no parts or has too many parts.
    """
    parts = split(request.body, boundary_of(request.headers.get("content-type", "")))
    if not parts:
        raise bad_request("The batch request is empty.")
    if len(parts) > MAX_PARTS:
        raise DriveError(
            400, "badRequest", f"The batch request contains too many calls: {len(parts)}; at most {MAX_PARTS}."
        )
    inherited = {name: value for name, value in request.headers.items() if not name.startswith("content-")}
    return [
        (part.headers.get("content-id", f"<{number}>"), _call(part, inherited)) for number, part in enumerate(parts)
    ]


def _call(part: BodyPart, inherited: dict[str, str]) -> ReceivedRequest:
    line, _, rest = part.body.partition(b"\n")
    words = line.decode("latin-1").split()
    if len(words) != 3 or len(words[1]) > _MAX_URL:
        raise bad_request("Malformed call in the batch request.")
    head, body = _head_and_body(rest)
    url = urlsplit(words[1])
    return ReceivedRequest(
        words[0].upper(), url.path, parse_query(url.query), {**inherited, **parse_headers(head)}, body
    )


def _head_and_body(text: bytes) -> tuple[bytes, bytes]:
    if text.startswith((b"\n", b"\r\n")):
        return b"", text.split(b"\n", 1)[1]
    for gap in (b"\r\n\r\n", b"\n\n"):
        head, found, body = text.partition(gap)
        if found:
            return head, body
    return text, b""


def render(replies: Sequence[tuple[str, Reply]], boundary: str) -> Reply:
    """Return one response with all responses; each gets the content id of its call, prefixed by ``response-``."""
    pieces = []
    for content_id, reply in replies:
        reason = http.HTTPStatus(reply.status).phrase
        headers = {**reply.headers, "Content-Length": str(len(reply.body))}
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        answered = content_id.replace("<", "<response-", 1) if content_id.startswith("<") else f"response-{content_id}"
        head = f"--{boundary}\r\nContent-Type: application/http\r\nContent-ID: {answered}\r\n\r\n"
        pieces.append(f"{head}HTTP/1.1 {reply.status} {reason}\r\n{lines}\r\n".encode() + reply.body + b"\r\n")
    body = b"".join(pieces) + f"--{boundary}--\r\n".encode()
    return Reply(200, body, {"Content-Type": f"multipart/mixed; boundary={boundary}"})
