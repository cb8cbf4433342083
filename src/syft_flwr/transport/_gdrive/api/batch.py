"""Many small calls in one HTTP request.

The stock client's batch is not used: it renews a token over a connection of its own making, past the account's lock and
an emulator's address, and a part that is missing in the answer ends it with a KeyError.
"""

import re
import secrets
from collections.abc import Mapping, Sequence
from email.parser import BytesParser
from typing import Any
from urllib.parse import urlsplit

from syft_flwr.clock import Clock
from syft_flwr.transport._gdrive.api.channel import make_answer
from syft_flwr.transport._gdrive.api.http_request import Answer, HttpRequest

#: Drive refuses more.
MAX_PARTS = 100
_URI = "https://www.googleapis.com/batch/drive/v3"
_CONTENT_ID = re.compile(r"<response-[0-9a-f]+ ?\+ ?([0-9]{1,3})>")
_STATUS = re.compile(rb"HTTP/1\.[01] ([0-9]{3})\b")


def join(parts: Sequence[HttpRequest]) -> HttpRequest:
    """Make one request of requests that have no bodies, or JSON for one."""
    name = secrets.token_hex(16)
    lines: list[str] = []
    for number, part in enumerate(parts):
        address = urlsplit(part.uri)
        target = f"{address.path}?{address.query}" if address.query else address.path
        lines += [
            f"--{name}",
            "Content-Type: application/http",
            "Content-Transfer-Encoding: binary",
            f"Content-ID: <{name} + {number}>",
            "",
            f"{part.method} {target} HTTP/1.1",
            f"Host: {address.netloc}",
            "Accept: application/json",
            *(["Content-Type: application/json", f"Content-Length: {len(part.body)}"] if part.body else []),
            "",
            part.body.decode() if isinstance(part.body, bytes) else "",
        ]
    lines += [f"--{name}--", ""]
    headers = {"content-type": f'multipart/mixed; boundary="{name}"'}
    return HttpRequest("POST", _URI, headers, "\r\n".join(lines).encode())


def split(answer: Answer, clock: Clock) -> Mapping[int, Answer]:
    """Return the answers by the number of their part; those that are missing or cannot be read are left out."""
    head = f"content-type: {answer.headers.get('content-type', '')}\r\n\r\n".encode()
    message: Any = BytesParser().parsebytes(head + answer.body)
    found: dict[int, Answer] = {}
    for part in message.get_payload() if message.is_multipart() else ():
        number = _CONTENT_ID.fullmatch(str(part["content-id"]))
        inner = part.get_payload(decode=True)
        if number and isinstance(inner, bytes) and (one := _read(inner, clock, answer.token)):
            found[int(number[1])] = one
    return found


def _read(inner: bytes, clock: Clock, token: str) -> Answer | None:
    line, _, rest = inner.lstrip().partition(b"\n")
    status = _STATUS.match(line)
    if not status:
        return None
    message = BytesParser().parsebytes(rest)
    headers = {name.lower(): str(value) for name, value in message.items()}
    body = message.get_payload(decode=True)
    return make_answer(int(status[1]), headers, body if isinstance(body, bytes) else b"", clock, token)
