"""HTTP connections of httplib2 with three additions: bounded responses, streamed downloads, and repeatable bodies.

* A response that is not streamed is refused above ``MAX_ANSWER`` bytes.
* Status 308 is the state of an upload, never a redirect.
* With an emulator's address, all requests for Google are sent to the emulator. A request to another host is an error, so
  a test cannot reach the real service.
"""

import contextlib
import io
import re
import socket
from collections.abc import Iterator, Mapping
from contextvars import ContextVar
from http.client import HTTPException, HTTPResponse, IncompleteRead
from typing import Any, BinaryIO, Protocol
from urllib.parse import urlsplit

import httplib2

from syft_flwr.config.values import parse_loopback
from syft_flwr.errors import ConfigError, TransportError
from syft_flwr.transport._disk import translate

#: Seconds without a byte after which a request counts as lost; the default of the setting ``gdrive_timeout``.
TIMEOUT = 60.0
#: A page of 1,000 files with all the properties that Drive allows is about 5 MB.
MAX_ANSWER = 16 << 20
#: Bytes of one send. The time-out applies to each send, and a larger one could take longer on a slow connection.
_BLOCK = 256 << 10
_GOOGLE = ".googleapis.com"
#: An address that all parsers read in the same way: one line of printable ASCII, and a host without a user or a backslash.
_ADDRESS = re.compile(r"https://[A-Za-z0-9.-]+(:443)?([/?][!-~]*)?")
RESPONSE_HINT = "Start again. If this happens again, check whether a proxy changes the responses of Google."


class BodySink(Protocol):
    """Receives the body of a download block by block."""

    def begin(self, status: int, content_range: str, length: int | None) -> None:
        """Start a body: the whole file (status 200) or a part of it (206), of ``length`` bytes if that is known."""

    def write(self, block: bytes) -> None:
        """Accept the next bytes of the body."""


# httplib2 reads each response itself, and no parameter of it reaches that code.
_sink: ContextVar[BodySink | None] = ContextVar("sink", default=None)


@contextlib.contextmanager
def receiving(sink: BodySink | None) -> Iterator[None]:
    """Send the body of a successful response to ``sink``, for the requests made inside the ``with`` block."""
    token = _sink.set(sink)
    try:
        yield
    finally:
        _sink.reset(token)


class Slice:
    """A part of a file as the body of a request. Each iterator of :meth:`once` reads it from the start, in blocks."""

    def __init__(self, file: BinaryIO, start: int, length: int) -> None:
        self._file, self._start, self._length = file, start, length

    def __len__(self) -> int:
        return self._length

    def once(self) -> "_SingleSend":
        return _SingleSend(self)

    def __iter__(self) -> Iterator[bytes]:
        left = self._length
        while left:
            try:
                self._file.seek(self._start + self._length - left)
                block = self._file.read(min(_BLOCK, left))
            except OSError as error:
                # Translated here: outside, an OSError means a failed connection.
                raise translate(error, "the content to upload") from error
            if not block:
                raise TransportError(f"the content to upload ends {left} bytes early")
            left -= len(block)
            yield block


class _SingleSend:
    """A body that can be sent only once.

    httplib2 repeats a request when the connection ends before the response. Before a body is sent again, the caller must
    ask the server how much of it has arrived.
    """

    def __init__(self, blocks: Slice) -> None:
        self._blocks: Slice | None = blocks

    def __iter__(self) -> Iterator[bytes]:
        blocks, self._blocks = self._blocks, None
        if blocks is None:
            raise ConnectionAbortedError
        return iter(blocks)


class _Response(HTTPResponse):
    def read(self, amt: int | None = None) -> bytes:
        if amt is not None:
            return super().read(amt)
        sink = _sink.get()
        if sink is not None and self.status in (200, 206):
            if self.getheader("content-encoding", "identity") != "identity":
                raise HTTPException("the response has a content encoding that was not requested")
            sink.begin(self.status, self.getheader("content-range") or "", self.length)
            for block in self._blocks():
                sink.write(block)
            return b""
        data = bytearray()
        for block in self._blocks():
            data += block
            if len(data) > MAX_ANSWER:
                raise HTTPException("the response is too large")
        return bytes(data)

    def _blocks(self) -> Iterator[bytes]:
        while self.length != 0 and (block := self.read1(_BLOCK)):
            yield block
        if self.length:
            raise IncompleteRead(b"", self.length)
        if not self.isclosed():
            super().read()  # reads no byte; it frees the connection for the next request


class _Plain(httplib2.HTTPConnectionWithTimeout):  # type: ignore[misc]
    response_class = _Response


class _Secure(httplib2.HTTPSConnectionWithTimeout):  # type: ignore[misc]
    response_class = _Response


class Http(httplib2.Http):  # type: ignore[misc]
    """HTTP connections that one thread at a time may use."""

    def __init__(self, timeout: float = TIMEOUT, **arguments: Any) -> None:
        super().__init__(timeout=timeout, **arguments)
        self.redirect_codes = httplib2.REDIRECT_CODES - {308}
        self._aborted = False

    def request(
        self,
        uri: str,
        method: str = "GET",
        body: Any = None,
        headers: Mapping[str, str] | None = None,
        redirections: int = httplib2.DEFAULT_MAX_REDIRECTS,
        connection_type: Any = None,
    ) -> tuple[httplib2.Response, bytes]:
        if self._aborted:
            raise ConnectionAbortedError
        # No compression: a compressed download cannot be resumed, and a response could grow beyond its limit when unpacked.
        asked = {**(headers or {}), "accept-encoding": "identity"}
        if isinstance(body, str):
            body = body.encode()
        if isinstance(body, bytes) and len(body) > _BLOCK:
            body = Slice(io.BytesIO(body), 0, len(body))
        if isinstance(body, Slice):
            asked["content-length"] = str(len(body))
            body = body.once()
        kind = connection_type or (_Plain if uri.startswith("http:") else _Secure)
        answer: tuple[httplib2.Response, bytes] = super().request(uri, method, body, asked, redirections, kind)
        return answer

    def abort(self) -> None:
        """Make a running request in another thread fail at once."""
        self._aborted = True
        for connection in list(self.connections.values()):
            # httplib2 would connect again when a connection ends before the response.
            connection.connect = _refuse
            sock = connection.sock
            if sock is not None:
                with contextlib.suppress(OSError):
                    # Not the method of the TLS socket: it would delete the TLS state while another thread reads.
                    socket.socket.shutdown(sock, socket.SHUT_RDWR)


def _refuse() -> None:
    raise ConnectionAbortedError


class LoopbackHttp(Http):
    """Sends the requests for Google to an emulator on this machine."""

    def __init__(self, api: str, timeout: float = TIMEOUT) -> None:
        # A proxy for the internet must not receive these requests.
        super().__init__(timeout, proxy_info=None)
        self._api = parse_loopback(api, "gdrive_api")

    def request(self, uri: str, *args: Any, **kwargs: Any) -> tuple[httplib2.Response, bytes]:
        return super().request(rewrite(uri, self._api), *args, **kwargs)


def is_google(uri: str) -> bool:
    """Return whether ``uri`` is an address of Google, to which a token may be sent."""
    if not _ADDRESS.fullmatch(uri):
        return False
    parts = urlsplit(uri)
    return parts.scheme == "https" and (parts.hostname or "").endswith(_GOOGLE) and parts.port in (None, 443)


def rewrite(uri: str, api: str) -> str:
    """Return the address of the emulator ``api`` that replaces ``uri``.

    Raises:
        ConfigError: ``uri`` is not an address of Google or of the emulator.
    """
    if uri == api or uri.startswith(f"{api}/"):
        return uri
    if not is_google(uri):
        raise ConfigError(
            f"gdrive_api: the emulator does not serve requests to {urlsplit(uri).hostname}",
            hint="Unset SYFT_FLWR_GDRIVE_API to use the real service.",
        )
    parts = urlsplit(uri)
    return f"{api}{parts.path}?{parts.query}" if parts.query else f"{api}{parts.path}"


def closed() -> TransportError:
    return TransportError("the connection to Google Drive was closed")
