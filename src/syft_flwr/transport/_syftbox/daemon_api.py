"""Reads the daemon's local API, an HTTP service on this machine that its config file names.

Only loopback addresses are called, because the config file also has the token of this service. A call takes at most two
seconds and reads at most 1 MiB. The token is never logged. A daemon without this service gives no result.
"""

import contextlib
import io
import json
import re
import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.client import HTTPException, HTTPResponse
from typing import Any
from urllib.parse import urlsplit

from syft_flwr.config.values import parse_loopback
from syft_flwr.errors import ConfigError

_TIMEOUT = 2.0
_MAX_SIZE = 1 << 20
_DEFAULT_PORT = 80
_TOKEN = re.compile(r"[!-~]{1,1024}")


@dataclass(frozen=True, slots=True)
class Result:
    """The status of an HTTP response, and its content; None if it is not JSON."""

    status: int
    content: Any


@dataclass(frozen=True, slots=True)
class DaemonApi:
    """The local API at ``address``, a loopback address."""

    address: str
    token: str = field(repr=False)

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> "DaemonApi | None":
        """Return the API that a config file names; None if it names none, or one of another machine."""
        try:
            address = parse_loopback(config.get("client_url"), "client_url")
        except ConfigError:
            return None
        token = config.get("client_token")
        return cls(address, token if isinstance(token, str) and _TOKEN.fullmatch(token) else "")

    def get(self, path: str) -> Result | None:
        """Return the response to a GET of ``path``; None if no complete response came in time."""
        deadline = time.monotonic() + _TIMEOUT
        try:
            response = HTTPResponse(_SocketBytes(self._exchange(path, deadline)))  # type: ignore[arg-type]
            response.begin()
            body = response.read(_MAX_SIZE)
        except (OSError, HTTPException, ValueError):
            return None
        if response.length:
            # The rest did not come, or is over the limit.
            return None
        content = None
        with contextlib.suppress(ValueError, RecursionError):
            content = json.loads(body)
        return Result(response.status, content)

    def _exchange(self, path: str, deadline: float) -> bytes:
        """Send one request and return all bytes of the response. HTTP/1.0, so that the service ends the connection."""
        parts = urlsplit(self.address)
        lines = [f"GET {path} HTTP/1.0", f"Host: {parts.netloc}"]
        lines += [f"Authorization: Bearer {self.token}"] if self.token else []
        received = bytearray()
        where = parts.hostname or "", parts.port or _DEFAULT_PORT
        with socket.create_connection(where, timeout=_TIMEOUT) as connection:
            connection.sendall("\r\n".join([*lines, "", ""]).encode())
            while len(received) <= _MAX_SIZE:
                # The limit is for the whole response: a service could send one byte every second.
                left = deadline - time.monotonic()
                if left <= 0:
                    raise TimeoutError
                connection.settimeout(left)
                data = connection.recv(1 << 16)
                if not data:
                    break
                received += data
        return bytes(received)


class _SocketBytes:
    """Bytes in the place of a socket, for :class:`http.client.HTTPResponse`."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def makefile(self, mode: str) -> io.BytesIO:  # noqa: ARG002 - as of a socket
        return io.BytesIO(self._data)
