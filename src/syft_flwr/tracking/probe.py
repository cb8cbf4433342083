"""A look at a server: whether it answers at all, before the package of its tracker is imported."""

import http.client
import ssl
from http import HTTPStatus
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from syft_flwr.tracking.tracker import TrackerError

#: Seconds for the connection, and for the answer.
_PATIENCE = 10.0
#: MLflow answers here without a login.
_PATH = "/health"


def require_answer(uri: str) -> None:
    """Check that the server at this address answers. A folder, and a server behind a proxy, are not asked.

    Any answer is enough, also one that refuses: the login and the certificates are those of the tracker.

    Raises:
        OSError, http.client.HTTPException, ValueError: nothing answers there.
        TrackerError: the server reports a fault of its own.
    """
    parts = urlsplit(uri)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        return
    if parts.scheme in getproxies() and not proxy_bypass(parts.hostname):
        return
    connection = _connection(parts.scheme, parts.hostname, parts.port)
    try:
        connection.request("GET", parts.path.rstrip("/") + _PATH)
        status = connection.getresponse().status
    except ssl.SSLError:
        return
    finally:
        connection.close()
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        raise TrackerError(f"it answers with the HTTP status {status}")


def _connection(scheme: str, host: str, port: int | None) -> http.client.HTTPConnection:
    if scheme == "http":
        return http.client.HTTPConnection(host, port, timeout=_PATIENCE)
    # No secret is sent, so it does not matter who answers.
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return http.client.HTTPSConnection(host, port, timeout=_PATIENCE, context=context)
