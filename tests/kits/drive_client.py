"""Google's own Drive client for an emulator: only the host of its requests is changed."""

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import google_auth_httplib2
import httplib2
import pytest
from google.oauth2.credentials import Credentials
from googleapiclient.discovery import build
from googleapiclient.errors import HttpError
from googleapiclient.http import MediaInMemoryUpload

from syft_flwr.emulators.gdrive import Emulator

_HOSTS = ("https://www.googleapis.com", "https://oauth2.googleapis.com")
FOLDER = "application/vnd.google-apps.folder"


class RewritingHttp(httplib2.Http):
    """Sends the requests for Google to ``url``; with an empty ``url``, to Google."""

    def __init__(self, url: str, timeout: float = 30.0) -> None:
        super().__init__(timeout=timeout)
        self._url = url
        # As in googleapiclient: the status 308 reports the progress of an upload and is not a redirect.
        self.redirect_codes = self.redirect_codes - {308}

    def request(self, uri: str, *args: Any, **kwargs: Any) -> Any:
        for host in _HOSTS if self._url else ():
            if uri.startswith(f"{host}/"):
                uri = self._url + uri.removeprefix(host)
        return super().request(uri, *args, **kwargs)


@contextmanager
def drive_of(token: Path, url: str = "", timeout: float = 30.0) -> Iterator[Any]:
    """Yield the Drive API for the user of a token file."""
    credentials = Credentials.from_authorized_user_file(str(token))
    authorized = google_auth_httplib2.AuthorizedHttp(credentials, http=RewritingHttp(url, timeout))
    service = build("drive", "v3", http=authorized, static_discovery=True, cache_discovery=False)
    try:
        yield service
    finally:
        service.close()
        authorized.http.close()


@contextmanager
def emulated(folder: Path, *emails: str, timeout: float = 30.0, **options: Any) -> Iterator[list[Any]]:
    """Start an emulator; yield a list of the emulator and the Drive API for each user."""
    with ExitStack() as stack:
        emulator = stack.enter_context(Emulator(users=emails, **options))
        drives = []
        for email in emails:
            emulator.write_token(email, folder / f"{email}.json")
            drives.append(stack.enter_context(drive_of(folder / f"{email}.json", emulator.url, timeout)))
        yield [emulator, *drives]


def media(content: bytes, media_type: str = "application/octet-stream") -> MediaInMemoryUpload:
    return MediaInMemoryUpload(content, media_type, resumable=False)


def new_id(drive: Any) -> str:
    return drive.files().generateIds(count=1).execute()["ids"][0]


def create(drive: Any, name: str, *, parent: str | None = None, content: bytes | None = None, **body: Any) -> str:
    """Create a file, or a folder if ``content`` is None, and return its id."""
    said: dict[str, Any] = {"name": name, **body}
    if parent:
        said["parents"] = [parent]
    if content is None:
        said.setdefault("mimeType", FOLDER)
        return drive.files().create(body=said).execute()["id"]
    return drive.files().create(body=said, media_body=media(content)).execute()["id"]


def share(drive: Any, file_id: str, email: str, role: str = "reader") -> str:
    body = {"type": "user", "role": role, "emailAddress": email}
    return drive.permissions().create(fileId=file_id, body=body, sendNotificationEmail=False).execute()["id"]


def names(drive: Any, q: str, **parameters: Any) -> list[str]:
    """Return the names of all files that a search finds, over all pages and in order."""
    found, token = [], None
    while True:
        page = drive.files().list(q=q, pageToken=token, fields="nextPageToken,files(name)", **parameters).execute()
        found += [file["name"] for file in page["files"]]
        token = page.get("nextPageToken")
        if not token:
            return found


def changes_since(drive: Any, token: str, **parameters: Any) -> tuple[list[dict[str, Any]], str]:
    """Return all changes from a page token on, and the next token."""
    found: list[dict[str, Any]] = []
    while True:
        page = drive.changes().list(pageToken=token, fields="*", **parameters).execute()
        found += page["changes"]
        if "newStartPageToken" in page:
            return found, page["newStartPageToken"]
        token = page["nextPageToken"]


def refused(call: Callable[[], Any]) -> tuple[int, str]:
    """Return the status and the reason of a refused call; fail if the call succeeds."""
    with pytest.raises(HttpError) as refusal:
        call()
    error = json.loads(refusal.value.content)["error"]
    return refusal.value.status_code, error["errors"][0]["reason"]
