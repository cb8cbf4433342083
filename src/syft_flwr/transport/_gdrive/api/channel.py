"""Sends the requests of one account, with its token and within its budget.

:meth:`Channel.send` makes one attempt. :meth:`Channel.call` repeats attempts until one gets a response.
"""

import contextlib
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from http.client import HTTPException
from typing import Any

import httplib2

from syft_flwr.clock import Clock
from syft_flwr.errors import TransportError, UnavailableError
from syft_flwr.transport._gdrive.api.auth import GoogleAccount
from syft_flwr.transport._gdrive.api.budget import Budget
from syft_flwr.transport._gdrive.api.http import RESPONSE_HINT, BodySink, Http, Slice, closed, is_google, receiving
from syft_flwr.transport._gdrive.api.http_request import Answer, HttpRequest
from syft_flwr.transport._gdrive.api.refusals import read_refusal
from syft_flwr.transport._gdrive.api.retry import READ_LIMIT, Patience, RetryableError

_CERTIFICATE_HINT = (
    "If a proxy of your organisation decrypts TLS, set HTTPLIB2_CA_CERTS to the path of its certificate file."
)

_NO_ANSWER = (OSError, HTTPException, httplib2.HttpLib2Error)
#: How often a token is renewed for one request. With an invalid login, the first renewal fails. A faulty service sometimes
#: refuses a valid token.
RENEWALS = 4

#: Seconds for which an idle connection is kept. Google closes it after four minutes, and a request on it is then lost.
_MAX_IDLE = 120.0

_BUSY_HINT = "Run fewer apps with this account at the same time."
_CONNECTIONS_HINT = (
    "Check the connection to the internet. If large files need the time, set SYFT_FLWR_GDRIVE_CONCURRENCY higher."
)


class Channel:
    """Sends requests to Google for one account. Thread-safe.

    Args:
        account: the account.
        clock: the clock of all waits.
        budget: limits the rate of requests.
        timeout: seconds without a byte after which a request counts as lost.
        concurrency: the most requests at the same time, at least 2.
    """

    def __init__(
        self, account: GoogleAccount, clock: Clock, budget: Budget, *, timeout: float, concurrency: int
    ) -> None:
        self.account = account
        self.clock = clock
        self.patience = Patience(clock, timeout=timeout)
        self._budget = budget
        self._pool = HttpPool(partial(account.make_http, timeout), clock, concurrency)
        self._closed = False

    def call(
        self,
        request: HttpRequest,
        *,
        what: str,
        units: float,
        limit: float = READ_LIMIT,
    ) -> Answer:
        """Send a request, and repeat it after temporary failures; return the response.

        Args:
            request: a request that may be sent more than once.
            what: a name of the call, for messages.
            units: its quota units.
            limit: seconds until the call is given up.
        """
        return self.patience.run(what, limit, lambda deadline: self.send(request, units=units, latest=deadline))

    def send(self, request: HttpRequest, *, units: float, latest: float, sink: BodySink | None = None) -> Answer:
        """Send a request once.

        Args:
            units: its quota units.
            latest: the latest time to start, on the monotonic clock.
            sink: receives the body of a successful response.

        Raises:
            RetryableError: the request got no response, or one that asks for another attempt.
            LoginError: Google does not accept the login, even with a new token.
            UnavailableError: the budget or the number of connections does not allow a start before ``latest``.
        """
        start = self._budget.reserve(units, latest)
        if start is None:
            raise UnavailableError("Google Drive: this program makes more calls than Google allows", hint=_BUSY_HINT)
        self.patience.pause_until(start)
        try:
            is_long = sink is not None or isinstance(request.body, Slice)
            with self._pool.borrow(is_long=is_long, latest=latest) as http:
                answer = self._exchange(http, request, sink)
                for _ in range(RENEWALS):
                    if answer.status != 401:
                        break
                    self.account.renew(http, answer.token)
                    answer = self._exchange(http, request, sink)
        except _NO_ANSWER as error:
            raise self._translate(error) from None
        if answer.status == 401:
            answer.ok("sign-in")
        if answer.refusal is not None and answer.refusal.retryable:
            raise answer.refusal.again()
        return answer

    def renew(self, stale: str, *, latest: float) -> None:
        """Request a new token before ``latest`` to replace ``stale``, which Google refused for a part of a batch."""
        try:
            with self._pool.borrow(latest=latest) as http:
                self.account.renew(http, stale)
        except _NO_ANSWER as error:
            raise self._translate(error) from None

    def close(self) -> None:
        self._closed = True
        self.patience.close()
        self._pool.close()

    def _exchange(self, http: Http, request: HttpRequest, sink: BodySink | None) -> Answer:
        if not is_google(request.uri) and not self.account.is_emulator(request.uri):
            raise TransportError(
                "Google Drive: the response gave an upload address that is not Google's", hint=RESPONSE_HINT
            )
        token = self.account.token(http)
        headers = {**request.headers, **self.account.headers(token)}
        with receiving(sink):
            response, body = http.request(request.uri, request.method, request.body, headers)
        return make_answer(response.status, response, body, self.clock, token)

    def _translate(self, error: Exception) -> RetryableError | TransportError:
        if self._closed:
            return closed()
        if isinstance(error, ssl.SSLCertVerificationError):
            return UnavailableError("Google Drive: the server's certificate is not trusted", hint=_CERTIFICATE_HINT)
        if isinstance(error, httplib2.ServerNotFoundError):
            return RetryableError("the server's name does not resolve")
        # The texts of some of these errors contain the address, which can be the secret address of an upload.
        shown = error.strerror if isinstance(error, OSError) and error.strerror else type(error).__name__
        return RetryableError(f"no complete response ({shown})")


class HttpPool:
    """Lends an :class:`Http` to one call at a time, and keeps its open connections for later calls.

    Two threads must not share an Http: each could receive the other's response. One Http per thread would need a new
    connection for each of the many short-lived threads.

    One call of the allowed number is for short requests: uploads and downloads on a slow link must not delay heartbeats.
    """

    def __init__(self, make: Callable[[], Http], clock: Clock, most: int) -> None:
        self._make = make
        self._clock = clock
        self._most = most
        self._changed = threading.Condition()
        self._idle: list[tuple[Http, float]] = []
        #: The connections in use, each with whether its call is long.
        self._lent: dict[Http, bool] = {}
        self._closed = False

    @contextlib.contextmanager
    def borrow(self, *, is_long: bool = False, latest: float | None = None) -> Iterator[Http]:
        """Lend a connection; wait for one if the most calls are running. The content of a file makes a call long.

        Raises:
            UnavailableError: none is free at ``latest``, on the monotonic clock.
            TransportError: the pool was closed.
        """
        with self._changed:
            while not self._closed and not self._has_room(is_long=is_long):
                if latest is not None and self._clock.monotonic() >= latest:
                    text = f"Google Drive: all {self._most} connections of this program stay busy with other calls"
                    raise UnavailableError(text, hint=_CONNECTIONS_HINT)
                self._clock.wait_until(self._changed, latest)
            if self._closed:
                raise closed()
            fresh = self._clock.monotonic() - _MAX_IDLE
            stale = [one for one, since in self._idle if since < fresh]
            self._idle = [(one, since) for one, since in self._idle if since >= fresh]
            http = self._idle.pop()[0] if self._idle else self._make()
            self._lent[http] = is_long
        for one in stale:
            one.close()
        usable = False
        try:
            yield http
            usable = True
        finally:
            with self._changed:
                del self._lent[http]
                # All, because a long call may have to wait longer than a short one.
                self._changed.notify_all()
                keep = usable and not self._closed
                if keep:
                    self._idle.append((http, self._clock.monotonic()))
            if not keep:
                http.close()

    def _has_room(self, *, is_long: bool) -> bool:
        long_ones = sum(self._lent.values())
        return len(self._lent) < self._most and (not is_long or long_ones < self._most - 1)

    def close(self) -> None:
        """Close the idle connections, and make the running and waiting calls fail."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
            idle, self._idle = self._idle, []
            lent = list(self._lent)
        for http, _ in idle:
            http.close()
        for http in lent:
            http.abort()


def make_answer(status: int, headers: Mapping[str, Any], body: bytes, clock: Clock, token: str) -> Answer:
    """Return an Answer for a response. Status 308 counts as a success: it means that an upload continues."""
    good = status < 400 or status == 308
    refusal = None if good else read_refusal(status, headers, body, clock.now())
    return Answer(status, headers, body, refusal, token)
