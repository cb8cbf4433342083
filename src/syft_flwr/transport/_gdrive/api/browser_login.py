"""The login of a person: Google asks in a browser, and the answer comes to a page on this machine.

The token is stored only after Google has said that it is the right person's.
"""

import json
import webbrowser
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import requests
from google_auth_oauthlib import flow as oauth_flow
from oauthlib.oauth2 import OAuth2Error
from requests.adapters import HTTPAdapter

from syft_flwr.errors import ConfigError, LoginError, TransportError
from syft_flwr.transport._disk import read_bounded, write_private
from syft_flwr.transport._gdrive.api.auth import SCOPES, GoogleAccount
from syft_flwr.transport._gdrive.api.drive_client import DriveClient, require_owner
from syft_flwr.transport._gdrive.api.http import TIMEOUT, rewrite

# Not those that the file names: a file from a stranger must not say where the codes go.
_AUTH_URI = "https://accounts.google.com/o/oauth2/auth"
_TOKEN_URI = "https://oauth2.googleapis.com/token"  # noqa: S105 - an address
_MAX_FILE = 64 << 10
#: Seconds that a person has in the browser.
PATIENCE = 600
_AGAIN = "Run `syft-flwr login` again."
_SECRETS_HINT = (
    "Google's console, under APIs & Services, Credentials, makes one: an OAuth client ID of the type desktop app."
)
_DONE = "You are logged in; this page can be closed."

# Older releases have no error of their own, and stumble over the address that did not come.
_TimeoutError: type[Exception] = getattr(oauth_flow, "WSGITimeoutError", AttributeError)


def log_in(
    client_secrets: Path,
    email: str,
    token_path: Path,
    *,
    show: Callable[[str], None],
    browser: bool = True,
    port: int = 0,
    api: str | None = None,
) -> str:
    """Log ``email`` in, and store the token for this user only; return the email as Google has it.

    Args:
        client_secrets: the file of an OAuth client, as Google's console gives it.
        show: is given the address that the person must open.
        browser: open it as well.
        port: of the page on this machine; 0 is any.

    Raises:
        LoginError: the person refused, or is another.
        ConfigError: the file is not that of a client.
    """
    flow = _Flow.from_client_config(_read_client(client_secrets), SCOPES, autogenerate_code_verifier=True)
    flow.prepare(show, browser=browser, api=api)
    try:
        flow.run_local_server(
            host="localhost",
            port=port,
            open_browser=False,
            authorization_prompt_message=None,
            success_message=_DONE,
            timeout_seconds=PATIENCE,
            # Google offers this account first.
            login_hint=email,
        )
        credentials = flow.credentials
    # None is chained: the texts have codes and tokens in them.
    except OAuth2Error as error:
        raise LoginError(f"Google Drive: the login was not completed ({error.error})", hint=_AGAIN) from None
    except (_TimeoutError, Warning):
        # oauthlib raises a Warning if other access was given than was asked for.
        hint = f"{_AGAIN} Answer Google within ten minutes, and allow access to Google Drive."
        raise LoginError("Google Drive: the login was not completed", hint=hint) from None
    except requests.RequestException as error:
        raise LoginError(f"Google Drive: no token was given ({type(error).__name__})", hint=_AGAIN) from None
    except OSError as error:
        raise LoginError(f"Google Drive: no page for the login: {error.strerror}", hint="Try another --port.") from None
    if not credentials.refresh_token:
        raise LoginError("Google Drive: Google gave no lasting token", hint=_AGAIN)
    owner = check_owner(GoogleAccount(credentials, api), email)
    write_private(token_path, credentials.to_json().encode())
    return owner


def check_owner(account: GoogleAccount, email: str) -> str:
    """Ask Google whose login this is.

    Raises:
        LoginError: not that of ``email``, or not good.
    """
    with closing(DriveClient(account)) as drive:
        owner = require_owner(drive, email)
        # What a participant does needs both, and a login may allow less than it says.
        drive.new_ids(1)
        next(drive.search("'me' in owners", max_files=1), None)
    return owner


def _read_client(path: Path) -> dict[str, Any]:
    try:
        client = json.loads(read_bounded(path.resolve(), _MAX_FILE))["installed"]
        needed = {name: client[name] for name in ("client_id", "client_secret")}
    except TransportError as error:
        raise ConfigError(f"client secrets: {error}", hint=_SECRETS_HINT) from None
    except (ValueError, KeyError, TypeError, RecursionError, OSError):
        raise ConfigError(f"client secrets: {path} is not the file of a desktop app", hint=_SECRETS_HINT) from None
    return {"installed": {**needed, "auth_uri": _AUTH_URI, "token_uri": _TOKEN_URI, "redirect_uris": []}}


class _Flow(oauth_flow.InstalledAppFlow):  # type: ignore[misc]
    def prepare(self, show: Callable[[str], None], *, browser: bool, api: str | None) -> None:
        self._show, self._browser, self._api = show, browser, api
        if api is not None:
            self.oauth2session.trust_env = False
            self.oauth2session.mount("https://", _Loopback(api))

    def authorization_url(self, **kwargs: Any) -> tuple[str, str]:
        # The stock flow prints the address where a program that reads our output would not expect it.
        url, state = super().authorization_url(**kwargs)
        if self._api is not None:
            url = self._api + url.removeprefix("https://accounts.google.com")
        self._show(url)
        if self._browser:
            webbrowser.open(url, new=1)
        return url, state

    def fetch_token(self, **kwargs: Any) -> Any:
        return super().fetch_token(timeout=TIMEOUT, **kwargs)


class _Loopback(HTTPAdapter):
    """Sends what is meant for Google to an emulator."""

    def __init__(self, api: str) -> None:
        super().__init__()
        self._api = api

    def send(self, request: requests.PreparedRequest, *args: Any, **kwargs: Any) -> requests.Response:
        request.url = rewrite(str(request.url), self._api)
        return super().send(request, *args, **kwargs)
