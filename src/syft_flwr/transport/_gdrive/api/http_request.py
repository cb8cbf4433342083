"""The data of an HTTP request and of its response."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from syft_flwr.errors import TransportError
from syft_flwr.transport._gdrive.api.http import RESPONSE_HINT, Slice
from syft_flwr.transport._gdrive.api.refusals import Refusal

#: Servers refuse longer addresses; the query is then sent in the body.
_MAX_URI = 2048
_FORM = "application/x-www-form-urlencoded"


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """One HTTP request, which can be sent more than once."""

    method: str
    #: Can be the secret address of an upload, so ``repr`` does not show it.
    uri: str = field(repr=False)
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | Slice | None = field(default=None, repr=False)

    @classmethod
    def of(cls, built: Any) -> "HttpRequest":
        """Return the request that Google's client library built."""
        body = built.body.encode() if isinstance(built.body, str) else built.body
        headers = {name.lower(): value for name, value in built.headers.items()}
        # The user agent of Google's library asks for compressed responses, and their size could not be bounded.
        headers["user-agent"] = "syft-flwr"
        if built.method == "GET" and len(built.uri) > _MAX_URI:
            parts = urlsplit(built.uri)
            headers |= {"x-http-method-override": "GET", "content-type": _FORM}
            return cls("POST", urlunsplit(parts._replace(query="")), headers, parts.query.encode())
        return cls(built.method, built.uri, headers, body)

    def with_headers(self, **headers: str) -> "HttpRequest":
        """Return the same request with more headers; ``_`` stands for ``-``."""
        more = {name.replace("_", "-"): value for name, value in headers.items()}
        return HttpRequest(self.method, self.uri, {**self.headers, **more}, self.body)


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP response of any status."""

    status: int
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)
    refusal: Refusal | None
    #: The access token that the request carried.
    token: str = field(default="", repr=False)

    def ok(self, what: str) -> "Answer":
        """Return this response if it is a success; raise the TransportError of its refusal otherwise.

        ``what`` names the call in the error.
        """
        if self.refusal is not None:
            raise self.refusal.error(what)
        return self

    def json(self, what: str) -> dict[str, Any]:
        """Return the JSON object of a successful response.

        Raises:
            TransportError: it is a refusal, or its body is not a JSON object.
        """
        try:
            value = json.loads(self.ok(what).body)
        except (ValueError, RecursionError):
            value = None
        if not isinstance(value, dict):
            raise TransportError(f"Google Drive: {what}: the response is not a JSON object", hint=RESPONSE_HINT)
        return value
