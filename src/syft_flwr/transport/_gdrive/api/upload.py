"""Uploads a large file in chunks, in an upload session of Drive.

After a failure, this client asks the server how many bytes it has stored, and continues from there. It replaces a session
that is gone or invalid, a few times. The loop of Google's client library is not used: after a server error it sends an
exhausted stream, and another process cannot continue its uploads.
"""

import re
from collections.abc import Callable
from typing import BinaryIO

from syft_flwr.errors import TransportError
from syft_flwr.transport._gdrive.api.budget import Units
from syft_flwr.transport._gdrive.api.channel import Channel
from syft_flwr.transport._gdrive.api.http import RESPONSE_HINT, Slice
from syft_flwr.transport._gdrive.api.http_request import Answer, HttpRequest
from syft_flwr.transport._gdrive.api.retry import WRITE_LIMIT, RetryableError

#: Bytes up to which a file is uploaded in one request.
MULTIPART_LIMIT = 5 << 20
#: Bytes of one chunk: a multiple of 256 KiB, as Drive requires. A broken connection loses at most one chunk.
CHUNK = 16 << 20
_MAX_SESSIONS = 4
_RANGE = re.compile(r"bytes=0-([0-9]{1,19})")


class ResumableUpload:
    """The upload of one file.

    Args:
        start: the request that opens a session.
        what: a name of the upload, for messages.
        session: the address of a session that an earlier process opened.
        remember: receives the address of each new session before its first use, and None at its end.
        done: returns the response for the file if it exists already. It is called before each new session, because Drive
            does not document when it refuses an id that is in use.
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
        #: Bytes that the server has stored; None if that is unknown.
        self._stored: int | None = None
        self._best = 0
        self._sessions = 0

    def run(self) -> Answer:
        """Upload the file; return the response to the last chunk, or the refusal that ended the upload."""
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
            # The server may have stored the chunk before the response was lost.
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
            raise TransportError(f"Google Drive: {self._what}: Drive gave no upload address", hint=RESPONSE_HINT)
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
            raise TransportError(
                f"Google Drive: {self._what}: Drive reported an invalid upload state", hint=RESPONSE_HINT
            )
        self._stored = int(found[1]) + 1 if found else 0
        if self._stored > self._size:
            raise TransportError(
                f"Google Drive: {self._what}: Drive reported more bytes than were sent", hint=RESPONSE_HINT
            )
        self._best = max(self._best, self._stored)
        if before is not None and self._stored <= before:
            raise RetryableError("Drive stored no byte of a chunk")

    def _start_over(self, answer: Answer) -> Answer:
        """Drop the session, so that the next attempt opens a new one.

        Return the response if a new session would get the same: it concerns the file or the account.
        """
        self._remember(None)
        if answer.status == 409 or (answer.refusal is not None and answer.refusal.named):
            return answer
        self._session = self._stored = None
        if self._sessions >= _MAX_SESSIONS:
            return answer
        raise RetryableError(f"Drive ended the upload session (HTTP {answer.status})")
