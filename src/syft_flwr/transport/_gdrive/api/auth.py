"""Finds the credentials of a Google account, and gets its access tokens.

The sources, in this order:

1. the token file that a setting names,
2. the token file that ``syft-flwr login`` stored,
3. Application Default Credentials,
4. a Colab notebook, which asks the person.

With an emulator, only the token files are used, so that a real token is never sent to it.
"""

import json
import threading
from pathlib import Path
from typing import Any

import google.auth
from google.auth import exceptions, transport
from google.auth.credentials import Credentials
from google.oauth2 import credentials as user_credentials

from syft_flwr.clock import Clock, SystemClock
from syft_flwr.config.values import parse_loopback
from syft_flwr.errors import LoginError, NotFoundError, TransportError
from syft_flwr.transport._disk import read_behind_links
from syft_flwr.transport._gdrive.api.http import TIMEOUT, Http, LoopbackHttp
from syft_flwr.transport._gdrive.api.refusals import LOGIN_HINT, Refusal, read_refusal
from syft_flwr.transport._gdrive.api.retry import RetryableError

DRIVE = "https://www.googleapis.com/auth/drive"
#: Sets of scopes, each of which is sufficient. The second one allows reading all files and writing only own files.
_ENOUGH = ({DRIVE}, {f"{DRIVE}.file", f"{DRIVE}.readonly"})
SCOPES = (DRIVE,)
TOKEN_FILE = "gdrive_token.json"  # noqa: S105 - the name of a file
_MAX_TOKEN_FILE = 64 << 10
#: The login replaces no file that it does not know.
_DAMAGED_HINT = "Move the file away, then run `syft-flwr login`."
_NO_LOGIN_HINT = f"{LOGIN_HINT} Or set GDRIVE_TOKEN_PATH to the path of an existing token file."

_REFRESH_ERRORS = {
    "invalid_grant": "the login has expired or was revoked",
    "invalid_client": "Google does not know the OAuth client of this login any more",
    "unauthorized_client": "the OAuth client of this login may not use it",
    "deleted_client": "the OAuth client of this login was deleted",
    "invalid_scope": "the login does not allow access to Google Drive",
    "access_denied": "the login does not allow access to Google Drive",
}


class GoogleAccount:
    """The credentials of one account, and the service that accepts them. Thread-safe.

    Args:
        credentials: an object of google-auth.
        api: the address of an emulator, or None for Google.
        source: the origin of the credentials, for messages.
    """

    def __init__(
        self, credentials: Credentials, api: str | None = None, *, source: str = "the login", clock: Clock | None = None
    ) -> None:
        self.api = None if api is None else parse_loopback(api, "gdrive_api")
        self.source = source
        self._credentials: Any = credentials
        self._clock = clock or SystemClock()
        # google-auth has no lock: two threads could both request a token, and one could read a partial result.
        self._lock = threading.Lock()

    def make_http(self, timeout: float = TIMEOUT) -> Http:
        return Http(timeout) if self.api is None else LoopbackHttp(self.api, timeout)

    def is_emulator(self, uri: str) -> bool:
        return self.api is not None and uri.startswith(f"{self.api}/")

    def token(self, http: Http) -> str:
        """Return a valid access token; request a new one if the present one has expired.

        Raises:
            LoginError: Google no longer accepts the login.
            RetryableError: the sign-in service is busy or does not respond.
        """
        with self._lock:
            if not self._credentials.valid:
                self._refresh(http)
            return str(self._credentials.token)

    def renew(self, http: Http, stale: str) -> None:
        """Request a new token to replace the refused token ``stale``, if no other thread has done so."""
        with self._lock:
            if self._credentials.token == stale:
                self._refresh(http)

    def headers(self, token: str) -> dict[str, str]:
        """Return the HTTP headers that authorise a request."""
        headers: dict[str, str] = {}
        self._credentials.apply(headers, token=token)
        return headers

    def _refresh(self, http: Http) -> None:
        try:
            self._credentials.refresh(_TokenRequest(http, self._clock))
        # Not chained: an error of google-auth can contain the whole response, which includes a token.
        except exceptions.TransportError:
            raise RetryableError("the sign-in service sent no response") from None
        except exceptions.GoogleAuthError as error:
            if error.retryable:
                raise RetryableError("the sign-in service is busy") from None
            raise self._translate(error) from None

    def _translate(self, error: exceptions.GoogleAuthError) -> LoginError:
        text = str(error.args[0]) if error.args else ""
        code = text.partition(":")[0]
        reason = _REFRESH_ERRORS.get(code, "Google gives no access token for the login")
        hint = LOGIN_HINT
        if code == "invalid_grant":
            hint += (
                " If the OAuth app is in testing, a login expires after seven days; publish the app to prevent that."
            )
        return LoginError(f"Google Drive: {reason} ({self.source})", hint=hint)


class _TokenRequest(transport.Request):
    """Sends google-auth's requests for tokens.

    Raises a RetryableError at once if the service is busy; google-auth itself would sleep and try again.
    """

    def __init__(self, http: Http, clock: Clock) -> None:
        self._http = http
        self._clock = clock

    def __call__(
        self,
        url: str,
        method: str = "GET",
        body: bytes | None = None,
        headers: Any = None,
        timeout: float | None = None,  # noqa: ARG002 - the connection has its own
        **kwargs: Any,
    ) -> "_TokenResponse":
        response, data = self._http.request(url, method, body, headers, **kwargs)
        if response.status >= 400:
            refusal: Refusal = read_refusal(response.status, response, data, self._clock.now())
            if refusal.retryable:
                raise RetryableError(f"the sign-in service is busy (HTTP {response.status})", after=refusal.after)
        return _TokenResponse(response.status, response, data)


class _TokenResponse(transport.Response):
    def __init__(self, status: int, headers: Any, data: bytes) -> None:
        self._status, self._headers, self._data = status, dict(headers), data

    @property
    def status(self) -> int:
        return self._status

    @property
    def headers(self) -> dict[str, str]:
        return self._headers

    @property
    def data(self) -> bytes:
        return self._data


def open_account(
    token_path: Path | None, api: str | None = None, *, stored: Path | None = None, clock: Clock | None = None
) -> GoogleAccount:
    """Return the account of the first source that has credentials.

    Args:
        token_path: the token file that a setting names; it must exist.
        api: the address of an emulator.
        stored: the path of the token file of ``syft-flwr login``.

    Raises:
        LoginError: no source has credentials, or the credentials cannot be used.
    """
    if token_path is not None:
        return read_account(token_path, api, clock=clock)
    if stored is not None and stored.exists():
        return read_account(stored, api, clock=clock)
    found = None if api is not None else (_default_credentials() or _colab_credentials())
    if found is None:
        raise LoginError("Google Drive: no account is logged in on this machine", hint=_NO_LOGIN_HINT)
    return GoogleAccount(found, api, source="Application Default Credentials", clock=clock)


def read_account(path: Path, api: str | None = None, *, clock: Clock | None = None) -> GoogleAccount:
    """Return the account of a token file, which is in google-auth's format for authorised users.

    Raises:
        LoginError: the file does not exist, is damaged, or does not allow access to Drive.
    """
    source = f"token file {path}"
    try:
        info = json.loads(read_behind_links(path, _MAX_TOKEN_FILE))
    except NotFoundError:
        raise LoginError(f"Google Drive: the {source} does not exist", hint=LOGIN_HINT) from None
    except TransportError as error:
        raise LoginError(
            f"Google Drive: the {source} cannot be read: {error}", hint=error.hint or _DAMAGED_HINT
        ) from None
    except (ValueError, RecursionError, OSError):
        info = None
    # The text and the parser's error are not shown or chained: both contain secrets.
    try:
        read: Any = user_credentials.Credentials.from_authorized_user_info
        credentials = read(info)
        scopes = set(credentials.scopes or ())
    except (ValueError, TypeError, AttributeError):
        raise LoginError(
            f"Google Drive: the {source} is not in Google's format for authorised users", hint=_DAMAGED_HINT
        ) from None
    if scopes and not any(enough <= scopes for enough in _ENOUGH):
        raise LoginError(f"Google Drive: the {source} does not allow access to Google Drive", hint=LOGIN_HINT)
    return GoogleAccount(credentials, api, source=source, clock=clock)


def _default_credentials() -> Credentials | None:
    try:
        found, _ = google.auth.default(scopes=SCOPES)
    except exceptions.GoogleAuthError:
        return None
    return found


def _colab_credentials() -> Credentials | None:
    try:
        from google.colab import auth, errors
    except ImportError:
        return None
    try:
        auth.authenticate_user()
    except errors.Error as error:
        raise LoginError(
            f"Google Drive: Colab gave no login ({type(error).__name__})",
            hint="Run the cell again, and allow the notebook to use the Google account.",
        ) from None
    return _default_credentials()
