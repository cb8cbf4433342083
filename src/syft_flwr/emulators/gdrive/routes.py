"""Find the API method of a request from its first line and headers, before its body is read."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from syft_flwr.emulators.gdrive.exchange import parse_query

#: The name for all methods of Drive that the emulator does not implement.
NOT_EMULATED = "notEmulated"
_API = "/drive/v3"
_ID = r"(?P<file>[^/]+)"
_ROUTES = [
    (method, re.compile(pattern), name)
    for method, pattern, name in (
        ("GET", r"/about", "about.get"),
        ("GET", r"/changes", "changes.list"),
        ("GET", r"/changes/startPageToken", "changes.getStartPageToken"),
        ("GET", r"/drives", "drives.list"),
        ("GET", r"/files/generateCseToken", NOT_EMULATED),
        ("GET", r"/files/generateIds", "files.generateIds"),
        ("DELETE", r"/files/trash", "files.emptyTrash"),
        ("GET", r"/files", "files.list"),
        ("POST", r"/files", "files.create"),
        ("GET", rf"/files/{_ID}", "files.get"),
        ("PATCH", rf"/files/{_ID}", "files.update"),
        ("DELETE", rf"/files/{_ID}", "files.delete"),
        ("GET", rf"/files/{_ID}/permissions", "permissions.list"),
        ("POST", rf"/files/{_ID}/permissions", "permissions.create"),
        ("GET", rf"/files/{_ID}/permissions/(?P<permission>[^/]+)", "permissions.get"),
        ("PATCH", rf"/files/{_ID}/permissions/(?P<permission>[^/]+)", "permissions.update"),
        ("DELETE", rf"/files/{_ID}/permissions/(?P<permission>[^/]+)", "permissions.delete"),
    )
]
# Paths of the methods in Google's published description that the emulator does not implement.
_OF_A_FILE = "accessproposals approvals comments copy download export listLabels modifyLabels revisions watch".replace(
    " ", "|"
)
_OTHERS = re.compile(
    rf"{_API}/(?:apps|channels|drives|operations?|teamdrives|changes/watch"
    rf"|files/[^/]+/(?:{_OF_A_FILE}))(?:[/:].*)?"
)
_UPLOADS = re.compile(rf"(?:/resumable)?/upload{_API}(?P<rest>/files(?:/{_ID})?)")


@dataclass(frozen=True, slots=True)
class Route:
    """The target of a request.

    Attributes:
        method: method of the API, such as ``files.get``. Requests outside the methods are ``batch``, ``token``,
            ``consent``, ``upload.chunk`` and ``upload.status``. A method that is not implemented is ``notEmulated``,
            and an unknown address has an empty method.
        file_id: id of the file in the path.
        permission_id: id of the permission in the path.
        upload: the upload type ``media``, ``multipart`` or ``resumable``; ``session`` for a request to an upload
            session; empty without an upload.
        session: id of the upload session.
    """

    method: str
    file_id: str | None = None
    permission_id: str | None = None
    upload: str = ""
    session: str | None = None


def route(http_method: str, path: str, query: Mapping[str, str], headers: Mapping[str, str]) -> Route:
    """Return the route of a request. A client may send a long ``GET`` as a ``POST`` with an override header."""
    if (http_method, path) == ("GET", "/o/oauth2/auth"):
        return Route("consent")
    if http_method == "POST":
        http_method = headers.get("x-http-method-override", "POST").upper()
        if path == "/token":
            return Route("token")
        if path == "/batch/drive/v3":
            return Route("batch")
    if upload := _UPLOADS.fullmatch(path):
        return _upload(http_method, upload, query, headers)
    if path.startswith(_API + "/"):
        for method, pattern, name in _ROUTES:
            found = pattern.fullmatch(path, len(_API)) if method == http_method else None
            if found:
                groups = found.groupdict()
                chosen = "files.download" if name == "files.get" and query.get("alt") == "media" else name
                return Route(chosen, groups.get("file"), groups.get("permission"))
    return Route(NOT_EMULATED if _OTHERS.fullmatch(path) else "")


def _upload(http_method: str, found: re.Match[str], query: Mapping[str, str], headers: Mapping[str, str]) -> Route:
    file_id = found["file"]
    session = query.get("upload_id")
    if http_method == "PUT" and session:
        is_status = headers.get("content-range", "").replace(" ", "").startswith("bytes*/")
        return Route("upload.status" if is_status else "upload.chunk", file_id, upload="session", session=session)
    kind = query.get("uploadType", "media")
    if http_method == "POST" and not file_id:
        return Route("files.create", upload=kind)
    if http_method == "PATCH" and file_id:
        return Route("files.update", file_id, upload=kind)
    return Route("")


def overridden(query: dict[str, str], headers: Mapping[str, str], body: bytes) -> dict[str, str]:
    """Return the parameters of a request, including those in the body of an overridden ``POST``."""
    if "x-http-method-override" not in headers or "form" not in headers.get("content-type", "form"):
        return query
    return {**query, **parse_query(body.decode("utf-8", "replace"))}
