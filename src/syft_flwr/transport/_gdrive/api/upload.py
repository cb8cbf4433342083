"""Uploads of more than a few MB: a session into which the bytes go in chunks.

What the server says it has counts, never what was sent: after a failure it is asked, and the upload goes on from there. A
session that is gone, or that answers what cannot be understood, is replaced a few times. The stock client has such a loop;
it sends an exhausted stream after a fault of the server, and it never asks in another process.
"""

import re
from collections.abc import Callable
from typing import BinaryIO

from syft_flwr.errors import TransportError
from syft_flwr.transport._gdrive.api.budget import Units
from syft_flwr.transport._gdrive.api.channel import Channel
from syft_flwr.transport._gdrive.api.http import Slice
from syft_flwr.transport._gdrive.api.http_request import Answer, HttpRequest
from syft_flwr.transport._gdrive.api.retry import WRITE_LIMIT, RetryableError

#: Up to here, one request with everything in it.
MULTIPART_LIMIT = 5 << 20
#: A multiple of 256 KiB, as Drive demands. What is lost when a connection breaks, at most.
CHUNK = 16 << 20
_MAX_SESSIONS = 4
_RANGE = re.compile(r"bytes=0-([0-9]{1,19})")


class ResumableUpload:
    """One file on its way.

    Args:
        start: the request that opens a session.
        session: one that another process had opened.
        remember: is given each new session before it is used, and None when it is over.
        done: looks whether the file is there already, before anything is sent again; whether a used id is refused at the
            start of a session or only after the last byte is not documented.
    """

    def __init__(
        self,
        channel: Channel,
        start: HttpRequest,
        content: BinaryIO,
        size: int,
        *,
        what: str,
        chunk: int = CHUNK,
        session: str | None = None,
        remember: Callable[[str | None], None] = lambda _: None,
        done: Callable[[], Answer | None] = lambda: None,
    ) -> None:
        self._channel, self._start, self._content, self._size, self._what = channel, start, content, size, what
        self._chunk = chunk
        self._session = session
        self._remember = remember
        self._done = done
        #: How many bytes the server has; None is not known.
        self._stored: int | None = None
        self._best = 0
        self._sessions = 0

    def run(self) -> Answer:
        """Upload; return the answer to the last chunk, or to the start of the session if that is no success."""
        while True:
            answer = self._channel.patience.run(self._what, WRITE_LIMIT, self._step, progress=lambda: self._best)
            if answer is not None:
                return answer

    def _step(self, latest: float) -> Answer | None:
        try:
            if self._session is None:
                return self._open(latest)
            answer = self._put(self._session, latest)
        except RetryableError:
            # A chunk may have arrived though its answer did not.
            self._stored = None
            raise
        if answer.status in (200, 201):
            self._remember(None)
            return answer
        if answer.status == 308:
            self._accept(answer)
            return None
        return self._start_over(answer)

    def _open(self, latest: float) -> Answer | None:
        if (found := self._done()) is not None:
            return found
        answer = self._channel.send(self._start, units=Units.EDIT, latest=latest)
        session = answer.headers.get("location")
        if answer.refusal is not None:
            return answer
        if not isinstance(session, str):
            raise TransportError(f"Google Drive: {self._what}: no session for the upload was given")
        self._sessions += 1
        self._remember(session)
        self._session, self._stored = session, 0
        return None

    def _put(self, session: str, latest: float) -> Answer:
        if self._stored is None or self._stored >= self._size:
            request = HttpRequest(
                "PUT", session, {"content-range": f"bytes */{self._size}", "content-length": "0"}, b""
            )
        else:
            end = min(self._stored + self._chunk, self._size)
            headers = {"content-range": f"bytes {self._stored}-{end - 1}/{self._size}"}
            request = HttpRequest("PUT", session, headers, Slice(self._content, self._stored, end - self._stored))
        return self._channel.send(request, units=0, latest=latest)

    def _accept(self, answer: Answer) -> None:
        before, given = self._stored, answer.headers.get("range")
        found = _RANGE.fullmatch(given) if given else None
        if given and not found:
            raise TransportError(f"Google Drive: {self._what}: the state of the upload cannot be read")
        self._stored = int(found[1]) + 1 if found else 0
        if self._stored > self._size:
            raise TransportError(f"Google Drive: {self._what}: more was stored than was sent")
        self._best = max(self._best, self._stored)
        if before is not None and self._stored <= before:
            raise RetryableError("nothing of a chunk was kept")

    def _start_over(self, answer: Answer) -> Answer:
        """Take a new session, unless the answer is about the file or the account and would be the same again."""
        self._remember(None)
        if answer.status == 409 or (answer.refusal is not None and answer.refusal.named):
            return answer
        self._session = self._stored = None
        if self._sessions >= _MAX_SESSIONS:
            return answer
        raise RetryableError(f"the session of the upload is gone (HTTP {answer.status})")
