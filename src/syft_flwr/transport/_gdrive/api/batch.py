"""Makes one small call for many files, with as few HTTP requests as Drive allows.

The batch of Google's client is not used, for two reasons. It renews a token over its own connection, which ignores the
account's lock and an emulator's address. And it ends with a KeyError if the response lacks a part.
"""

import re
import secrets
from collections.abc import Callable, Mapping, Sequence
from email.parser import BytesParser
from itertools import islice
from typing import Any
from urllib.parse import urlsplit

from syft_flwr.clock import Clock
from syft_flwr.errors import TransportError
from syft_flwr.transport._gdrive.api.channel import RENEWALS, Channel, make_answer
from syft_flwr.transport._gdrive.api.http_request import Answer, HttpRequest
from syft_flwr.transport._gdrive.api.refusals import Refusal
from syft_flwr.transport._gdrive.api.retry import RetryableError

#: The most calls that Drive accepts in one batch.
_MAX_PARTS = 100
_URI = "https://www.googleapis.com/batch/drive/v3"
_CONTENT_ID = re.compile(r"<response-[0-9a-f]+ ?\+ ?([0-9]{1,3})>")
_STATUS = re.compile(rb"HTTP/1\.[01] ([0-9]{3})\b")
#: Reasons that concern one file only: this account may not access it.
_OF_ONE_FILE = frozenset({"insufficientFilePermissions", "appNotAuthorizedToFile", "cannotDownloadAbusiveFile"})


def call_many(
    channel: Channel,
    ids: Sequence[str],
    make: Callable[[str], HttpRequest],
    *,
    what: str,
    units: float,
    limit: float,
) -> dict[str, Answer]:
    """Return, for each id, the response to the call that ``make`` builds. A response can be a success or a refusal.

    Only the calls that failed temporarily are repeated. A single call is sent without a batch.

    Args:
        what: a name of the call, for messages.
        units: quota units of one call.
        limit: seconds without progress after which the batch is given up.
    """
    answers: dict[str, Answer] = {}
    left = iter(dict.fromkeys(ids))
    while some := list(islice(left, _MAX_PARTS)):
        if len(some) == 1:
            answers[some[0]] = channel.call(make(some[0]), what=what, units=units, limit=limit)
        else:
            answers |= _Batch(channel, some, make, what, units).run(limit)
    return answers


class _Batch:
    def __init__(
        self, channel: Channel, ids: list[str], make: Callable[[str], HttpRequest], what: str, units: float
    ) -> None:
        self._channel, self._make, self._what, self._units = channel, make, what, units
        self._left = ids
        self._done: dict[str, Answer] = {}
        self._renewals = 0

    def run(self, limit: float) -> dict[str, Answer]:
        # Each answered part is progress and restarts the time limit.
        self._channel.patience.run(self._what, limit, self._attempt, progress=lambda: len(self._done))
        return self._done

    def _attempt(self, latest: float) -> None:
        ids = self._left
        request = _join([self._make(file_id) for file_id in ids])
        whole = self._channel.send(request, units=self._units * len(ids), latest=latest)
        whole.ok(self._what)
        found = _split(whole, self._channel.clock)
        failures: list[Refusal] = []
        refused = False
        for number, file_id in enumerate(ids):
            answer = found.get(number)
            if answer is None:
                continue
            if answer.status == 401 and self._renewals < RENEWALS:
                refused = True
            elif answer.refusal is not None and answer.refusal.retryable:
                failures.append(answer.refusal)
            else:
                self._done[file_id] = answer
        self._left = [file_id for file_id in ids if file_id not in self._done]
        if refused:
            self._channel.renew(whole.token, latest=latest)
            self._renewals += 1
            self._attempt(latest)
        elif self._left:
            # The refusal with the longest wait decides.
            raise (
                max(failures, key=_patience_needed).again()
                if failures
                else RetryableError("the response lacks a part of the batch")
            )


def _patience_needed(refusal: Refusal) -> tuple[bool, float]:
    return refusal.rate, refusal.after or 0.0


def is_out_of_reach(answer: Answer) -> bool:
    """Return whether a response means that this account cannot see or use the file.

    A peer can name any id, so this must not fail the calls for the other files.
    """
    refusal = answer.refusal
    return answer.status == 404 or bool(refusal and not _OF_ONE_FILE.isdisjoint(refusal.reasons))


def first_error(
    answers: dict[str, Answer], what: str, *, except_for: Callable[[Answer], bool] = is_out_of_reach
) -> TransportError | None:
    """Return the error of the first refusal that ``except_for`` does not accept; None if all are accepted."""
    refused = (answer.refusal for answer in answers.values() if not except_for(answer))
    return next((refusal.error(what) for refusal in refused if refusal), None)


def _join(parts: Sequence[HttpRequest]) -> HttpRequest:
    """Return one multipart request for many requests. Each of them has no body, or a JSON body."""
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


def _split(answer: Answer, clock: Clock) -> Mapping[int, Answer]:
    """Return the responses by the number of their part, without parts that are missing or cannot be read."""
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
