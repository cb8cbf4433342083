"""Logs a person in: Google asks for consent in a browser, and sends the result to a page on this machine.

The token is stored only after Google has confirmed that it belongs to the expected account.
"""

import json
import os
import webbrowser
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import requests
from google_auth_oauthlib import flow as oauth_flow
from oauthlib.oauth2 import OAuth2Error
from requests.adapters import HTTPAdapter

from syft_flwr.errors import ConfigError, LoginError, NotFoundError, TransportError
from syft_flwr.transport._disk import read_behind_links, write_private
from syft_flwr.transport._gdrive.api.auth import SCOPES, GoogleAccount
from syft_flwr.transport._gdrive.api.drive_client import DriveClient, require_owner
from syft_flwr.transport._gdrive.api.http import TIMEOUT, rewrite

# The addresses in the client file are ignored: a file from a stranger must not decide where the login codes are sent.
_AUTH_URI = "https://accounts.google.com/o/oauth2/auth"
_TOKEN_URI = "https://oauth2.googleapis.com/token"  # noqa: S105 - an address
_MAX_FILE = 64 << 10
#: Seconds that a person has to complete the login in the browser.
PATIENCE = 600
_AGAIN = "Run `syft-flwr login` again."
_SECRETS_HINT = (
    "In Google's console, under APIs & Services, Credentials, create an OAuth client ID of the type desktop app, "
    "and download its JSON file."
)
_DONE = "You are logged in; this page can be closed."

# Older releases of google-auth-oauthlib lack this error: after the time-out they raise an AttributeError.
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
    timeout: float = TIMEOUT,
) -> str:
    """Log ``email`` in, and store the token in a file that only this user can read.

    Args:
        client_secrets: the file of an OAuth client, as downloaded from Google's console.
        show: receives the address that the person must open.
        browser: also open the address in a browser.
        port: the port of the page on this machine; 0 takes any free port.
        api: the address of an emulator.
        timeout: seconds without a byte after which a request counts as lost.

    Returns:
        The email of the account, as Google reports it.

    Raises:
        LoginError: the login was not completed, or belongs to another account.
        ConfigError: the file is not the client file of a desktop app.
    """
    flow = _Flow.from_client_config(_read_client(client_secrets), SCOPES, autogenerate_code_verifier=True)
    flow.prepare(show, browser=browser, api=api, timeout=timeout)
    try:
        flow.run_local_server(
            host="localhost",
            port=port,
            open_browser=False,
            authorization_prompt_message=None,
            success_message=_DONE,
            timeout_seconds=PATIENCE,
            # With this, Google offers the expected account first.
            login_hint=email,
        )
        credentials = flow.credentials
    # These errors are not chained: their texts contain codes and tokens.
    except OAuth2Error as error:
        raise LoginError(f"Google Drive: the login was not completed ({error.error})", hint=_AGAIN) from None
    except (_TimeoutError, Warning):
        # oauthlib raises a Warning if the person allowed other access than requested.
        hint = f"{_AGAIN} Complete the login in the browser within ten minutes, and allow access to Google Drive."
        raise LoginError("Google Drive: the login was not completed", hint=hint) from None
    except requests.RequestException as error:
        raise LoginError(f"Google Drive: Google sent no token ({type(error).__name__})", hint=_AGAIN) from None
    except OSError as error:
        raise LoginError(
            f"Google Drive: this machine cannot open the page for the login: {error.strerror}",
            hint=f"{_AGAIN} Choose another --port.",
        ) from None
    if not credentials.refresh_token:
        raise LoginError("Google Drive: Google sent no refresh token", hint=_AGAIN)
    owner = check_owner(GoogleAccount(credentials, api), email, timeout=timeout)
    write_private(token_path, credentials.to_json().encode())
    return owner


def require_replaceable(path: Path) -> None:
    """Raise ConfigError if the file that a person chose for the token exists and is no stored login, such as client secrets."""
    try:
        found = json.loads(read_behind_links(path, _MAX_FILE))
        # The file of another program of Google has a type.
        is_login = "type" not in found and all(isinstance(found[name], str) for name in ("client_id", "refresh_token"))
    except NotFoundError:
        # A link without a target has the name, too.
        is_login = not os.path.lexists(path) or (path.is_file() and not path.stat().st_size)
    except (TransportError, ValueError, KeyError, TypeError, RecursionError, OSError):
        is_login = False
    if not is_login:
        raise ConfigError(
            f"{path} exists and is no login of this command, so it is not replaced",
            hint="Set GDRIVE_TOKEN_PATH to another path, or move this file away.",
        )


def check_owner(account: GoogleAccount, email: str, *, timeout: float = TIMEOUT) -> str:
    """Check that a login belongs to ``email`` and has the needed access; return the email as Google reports it.

    Raises:
        LoginError: the login belongs to another account, or is not valid.
    """
    with closing(DriveClient(account, timeout=timeout)) as drive:
        owner = require_owner(drive, email)
        # A participant needs write and read access, and a login may allow less than its scopes promise.
        drive.new_ids(1)
        next(drive.search("'me' in owners", max_files=1), None)
    return owner


def _read_client(path: Path) -> dict[str, Any]:
    try:
        client = json.loads(read_behind_links(path, _MAX_FILE))["installed"]
        needed = {name: client[name] for name in ("client_id", "client_secret")}
    except TransportError as error:
        raise ConfigError(f"client secrets: {error}", hint=_SECRETS_HINT) from None
    except (ValueError, KeyError, TypeError, RecursionError, OSError):
        raise ConfigError(f"client secrets: {path} is not the file of a desktop app", hint=_SECRETS_HINT) from None
    return {"installed": {**needed, "auth_uri": _AUTH_URI, "token_uri": _TOKEN_URI, "redirect_uris": []}}


class _Flow(oauth_flow.InstalledAppFlow):  # type: ignore[misc]
    def prepare(self, show: Callable[[str], None], *, browser: bool, api: str | None, timeout: float) -> None:
        self._show, self._browser, self._api, self._timeout = show, browser, api, timeout
        if api is not None:
            self.oauth2session.trust_env = False
            self.oauth2session.mount("https://", _Loopback(api))

    def authorization_url(self, **kwargs: Any) -> tuple[str, str]:
        # The base class prints the address to standard output, which other programs may read.
        url, state = super().authorization_url(**kwargs)
        if self._api is not None:
            url = self._api + url.removeprefix("https://accounts.google.com")
        self._show(url)
        if self._browser:
            webbrowser.open(url, new=1)
        return url, state

    def fetch_token(self, **kwargs: Any) -> Any:
        return super().fetch_token(timeout=self._timeout, **kwargs)


class _Loopback(HTTPAdapter):
    """Sends Google's requests to an emulator instead."""

    def __init__(self, api: str) -> None:
        super().__init__()
        self._api = api

    def send(self, request: requests.PreparedRequest, *args: Any, **kwargs: Any) -> requests.Response:
        request.url = rewrite(str(request.url), self._api)
        return super().send(request, *args, **kwargs)
