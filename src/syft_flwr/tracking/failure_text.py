"""The text of a failed call to a tracker: short, on one line, and without the login that its address may contain."""

import os
import re
from collections.abc import Iterator, Mapping
from urllib.parse import unquote, urlsplit

from syft_flwr.runs.secrets_mask import MASK
from syft_flwr.text import printable, shortened

_MOST = 200
#: The login in an address.
_LOGIN = re.compile(r"(?<=://)[^/@\s]*@")
#: The query of an address can have a token.
_QUERY = re.compile(r"(https?://[^\s?'\"]+)\?[^\s'\"]*")
#: Variables with a login, and with an address that can have one.
_SECRETS = ("MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN", "DATABRICKS_TOKEN", "DATABRICKS_CLIENT_SECRET")
_ADDRESSES = ("MLFLOW_TRACKING_URI",)


def shown_address(uri: str) -> str:
    """Return an address without its login and its query."""
    return printable(_QUERY.sub(r"\1", _LOGIN.sub("", uri)), _MOST)


def shown_failure(error: BaseException, environ: Mapping[str, str] = os.environ) -> str:
    """Return why a call failed. For a connection, that is the error of the system in place of the libraries above it."""
    for each in _chain(error):
        if isinstance(each, TimeoutError) or type(each).__name__ in {"ConnectTimeout", "ReadTimeout"}:
            return "it did not answer in time"
        if isinstance(each, OSError) and each.strerror:
            return printable(masked(each.strerror, environ), _MOST)
    return shortened(printable(masked(str(error), environ)) or type(error).__name__, _MOST)


def masked(text: str, environ: Mapping[str, str] = os.environ) -> str:
    """Return a text without the login of an address, and without the passwords and tokens of the environment."""
    text = _QUERY.sub(rf"\1?{MASK}", _LOGIN.sub(f"{MASK}@", text))
    for secret in sorted(_secrets(environ), key=len, reverse=True):
        text = text.replace(secret, MASK)
    return text


def _secrets(environ: Mapping[str, str]) -> Iterator[str]:
    for name in _SECRETS:
        if environ.get(name):
            yield environ[name]
    for name in _ADDRESSES:
        try:
            password = urlsplit(environ.get(name, "")).password
        except ValueError:
            continue
        if password:
            yield password
            yield unquote(password)


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Yield the causes of an error, the innermost first."""
    found: list[BaseException] = []
    waiting: list[object] = [error]
    while waiting and len(found) < 50:
        each = waiting.pop(0)
        if isinstance(each, BaseException) and all(each is not known for known in found):
            found.append(each)
            # Libraries also keep a cause as the first argument, and urllib3 as the reason.
            waiting += [each.__cause__, each.__context__, getattr(each, "reason", None), *each.args[:1]]
    return reversed(found)
