"""Sends requests of one account: at the rate that its budget allows, with its token, over a connection of its own.

:meth:`Channel.send` is one attempt: it ends with an answer, or with a ``RetryableError`` when another attempt may help.
"""

import contextlib
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping
from http.client import HTTPException
from typing import Any

import httplib2

from syft_flwr.clock import Clock
from syft_flwr.errors import TransportError, UnavailableError
from syft_flwr.transport._gdrive.api.auth import GoogleAccount
from syft_flwr.transport._gdrive.api.budget import Budget
from syft_flwr.transport._gdrive.api.http import BodySink, Http, closed, is_google, receiving
from syft_flwr.transport._gdrive.api.http_request import Answer, HttpRequest
from syft_flwr.transport._gdrive.api.refusals import read_refusal
from syft_flwr.transport._gdrive.api.retry import READ_LIMIT, Patience, RetryableError

_CERTIFICATE_HINT = "If a proxy of your organisation opens TLS, name its certificate file in HTTPLIB2_CA_CERTS."

_NO_ANSWER = (OSError, HTTPException, httplib2.HttpLib2Error)
#: How often a token is renewed for one request. A login that is no good fails at the first; a service in trouble refuses a
#: good one now and then.
RENEWALS = 4

#: Seconds; Google ends a connection that lies idle for four minutes, and a request on such a one is lost.
_MAX_IDLE = 120.0

_BUSY_HINT = "Fewer apps should use this account at once."


class Channel:
    """The way to Google for one account. Thread-safe."""

    def __init__(self, account: GoogleAccount, clock: Clock, budget: Budget) -> None:
        self.account = account
        self.clock = clock
        self.patience = Patience(clock)
        self._budget = budget
        self._pool = HttpPool(account.make_http, clock)
        self._closed = False

    def call(
        self,
        request: HttpRequest,
        *,
        what: str,
        units: float,
        limit: float = READ_LIMIT,
    ) -> Answer:
        """Send a request that may be repeated as it is, until there is an answer."""
        return self.patience.run(what, limit, lambda deadline: self.send(request, units=units, latest=deadline))

    def send(self, request: HttpRequest, *, units: float, latest: float, sink: BodySink | None = None) -> Answer:
        """Send a request once.

        Args:
            units: what it costs.
            latest: when it must have started, on the monotonic clock.
            sink: takes the body of a success.

        Raises:
            RetryableError: no answer, or one that says to try again.
            LoginError: Google does not accept the login, also after its token was renewed.
        """
        start = self._budget.reserve(units, latest)
        if start is None:
            raise UnavailableError("Google Drive: this program makes more calls than the account may", hint=_BUSY_HINT)
        self.patience.pause_until(start)
        try:
            with self._pool.borrow() as http:
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

    def renew(self, stale: str) -> None:
        """Get another token in the place of ``stale``, which a part of a batch was refused with."""
        try:
            with self._pool.borrow() as http:
                self.account.renew(http, stale)
        except _NO_ANSWER as error:
            raise self._translate(error) from None

    def close(self) -> None:
        self._closed = True
        self.patience.close()
        self._pool.close()

    def _exchange(self, http: Http, request: HttpRequest, sink: BodySink | None) -> Answer:
        if not is_google(request.uri) and not self.account.is_emulator(request.uri):
            raise TransportError("Google Drive: an address that is not Google's was given for an upload")
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
        # The text of some of these has the address, which may be that of an upload.
        shown = error.strerror if isinstance(error, OSError) and error.strerror else type(error).__name__
        return RetryableError(f"no whole answer ({shown})")


class HttpPool:
    """Lends each call an :class:`Http` of its own, with the connections that earlier calls left open.

    Shared by two threads, an Http gives each the other's answers; one for each thread would connect anew for each of our
    threads, which are short-lived.
    """

    def __init__(self, make: Callable[[], Http], clock: Clock) -> None:
        self._make = make
        self._clock = clock
        self._lock = threading.Lock()
        self._idle: list[tuple[Http, float]] = []
        self._lent: set[Http] = set()
        self._closed = False

    @contextlib.contextmanager
    def borrow(self) -> Iterator[Http]:
        with self._lock:
            if self._closed:
                raise closed()
            fresh = self._clock.monotonic() - _MAX_IDLE
            stale = [one for one, since in self._idle if since < fresh]
            self._idle = [(one, since) for one, since in self._idle if since >= fresh]
            http = self._idle.pop()[0] if self._idle else self._make()
            self._lent.add(http)
        for one in stale:
            one.close()
        usable = False
        try:
            yield http
            usable = True
        finally:
            with self._lock:
                self._lent.discard(http)
                keep = usable and not self._closed
                if keep:
                    self._idle.append((http, self._clock.monotonic()))
            if not keep:
                http.close()

    def close(self) -> None:
        """Close what lies idle, and make the calls that are under way fail."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
            lent = list(self._lent)
        for http, _ in idle:
            http.close()
        for http in lent:
            http.abort()


def make_answer(status: int, headers: Mapping[str, Any], body: bytes, clock: Clock, token: str) -> Answer:
    """Make an answer; 308 is an upload's way of saying that it goes on."""
    good = status < 400 or status == 308
    refusal = None if good else read_refusal(status, headers, body, clock.now())
    return Answer(status, headers, body, refusal, token)
