"""Creates and replaces files.

Each new file gets an id that was reserved before, so a create can be repeated. If the id is in use, Drive refuses it with
status 409, and the existing file is compared. With an id chosen by Drive, a repetition would create a second file.
"""

import io
import itertools
import json
import secrets
from collections.abc import Mapping
from typing import Any, BinaryIO

from googleapiclient.http import MediaIoBaseUpload

from syft_flwr.errors import NotFoundError, TransportError
from syft_flwr.transport._disk import translate
from syft_flwr.transport._gdrive.api.budget import Units
from syft_flwr.transport._gdrive.api.channel import Channel
from syft_flwr.transport._gdrive.api.drive_file import FIELDS, FOLDER, Resource, TakenError, check_id, read_resource
from syft_flwr.transport._gdrive.api.http import RESPONSE_HINT
from syft_flwr.transport._gdrive.api.http_request import Answer, HttpRequest
from syft_flwr.transport._gdrive.api.retry import READ_LIMIT, WRITE_LIMIT, RetryableError
from syft_flwr.transport._gdrive.api.upload import CHUNK, MULTIPART_LIMIT, ResumableUpload
from syft_flwr.transport._gdrive.api.upload_sessions import UploadSessions

#: Drive may replace it by a type that it guesses from name and content; this package does not read it.
_TYPE = "application/octet-stream"
#: How often the file of a used id is read. If it is not visible after about ten seconds, it belongs to another account.
_LOOKS = 4


class Writer:
    """Writes to one account's Drive; :class:`DriveClient` documents the methods."""

    def __init__(self, channel: Channel, files: Any, *, chunk: int = CHUNK) -> None:
        self._channel, self._files, self._chunk = channel, files, chunk

    def create_folder(self, file_id: str, name: str, properties: Mapping[str, str], parent: str | None) -> Resource:
        what = f"creation of folder {check_id(file_id)}"
        body = _describe(name, properties, parent, id=file_id, mimeType=FOLDER)
        request = HttpRequest.of(self._files.create(body=body, fields=FIELDS))
        answer = self._channel.call(request, what=what, units=Units.EDIT, limit=WRITE_LIMIT)
        if answer.status != 409:
            return read_resource(answer, what, file_id)
        found = self._look_at_taken(file_id, what)
        if not (found.file().is_folder and found.owned_by_me) or found.trashed:
            raise _taken(what, found)
        return found

    def create(
        self,
        file_id: str,
        name: str,
        parent: str,
        properties: Mapping[str, str],
        content: BinaryIO,
        size: int,
        md5: str,
        sessions: UploadSessions | None,
    ) -> Resource:
        what = f"upload of {check_id(file_id)}"
        body = _describe(name, properties, parent, id=file_id)
        if size <= MULTIPART_LIMIT:
            data = _whole(content, size)
            request = _multipart(self._files.create(body=body, fields=FIELDS, media_body=_media(data)), body, data)
            answer = self._channel.call(request, what=what, units=Units.EDIT, limit=WRITE_LIMIT)
        else:

            def remember(session: str | None) -> None:
                if sessions is not None and session is not None:
                    sessions.save(file_id, session, md5=md5, size=size)
                elif sessions is not None:
                    sessions.drop(file_id)

            start = _start(self._files.create(body=body, fields=FIELDS, media_body=_later(content)), size)
            session = None if sessions is None else sessions.load(file_id, md5=md5, size=size)
            answer = ResumableUpload(
                self._channel,
                start,
                content,
                size,
                what=what,
                chunk=self._chunk,
                session=session,
                remember=remember,
                done=lambda: self._look(file_id),
            ).run()
        found = self._look_at_taken(file_id, what) if answer.status == 409 else self._read(answer, file_id, what)
        if found.trashed or not found.owned_by_me or (found.name, found.size) != (name, size) or _differs(found, md5):
            raise _taken(what, found)
        return found

    def update(
        self, file_id: str, content: BinaryIO, size: int, md5: str, properties: Mapping[str, str] | None
    ) -> Resource:
        what = f"update of {check_id(file_id)}"
        body = None if properties is None else {"properties": dict(properties)}
        asked = {"fileId": file_id, "body": body, "fields": FIELDS}
        if size <= MULTIPART_LIMIT:
            data = _whole(content, size)
            built = self._files.update(**asked, media_body=_media(data))
            request = HttpRequest.of(built) if body is None else _multipart(built, body, data)
            answer = self._channel.call(request, what=what, units=Units.EDIT, limit=WRITE_LIMIT)
        else:
            start = _start(self._files.update(**asked, media_body=_later(content)), size)
            answer = ResumableUpload(self._channel, start, content, size, what=what, chunk=self._chunk).run()
        found = self._read(answer, file_id, what)
        if found.trashed:
            raise NotFoundError(f"Google Drive: {what}: the file is in the trash")
        if found.size != size or _differs(found, md5):
            raise TransportError(
                f"Google Drive: {what}: the stored file differs from the sent content", hint=RESPONSE_HINT
            )
        return found

    def _read(self, answer: Answer, file_id: str, what: str) -> Resource:
        """Return the uploaded file. The last response of an upload may lack the requested fields; then read them again."""
        answer.ok(what)
        try:
            found = read_resource(answer, what)
        except TransportError:
            found = None
        if found is not None and found.id == file_id and found.md5:
            return found
        return read_resource(self._channel.call(self._get(file_id), what=what, units=Units.GET), what, file_id)

    def _look(self, file_id: str) -> Answer | None:
        answer = self._channel.call(self._get(file_id), what=f"look at {file_id}", units=Units.GET)
        return None if answer.status == 404 else answer

    def _look_at_taken(self, file_id: str, what: str) -> Resource:
        """Return the file of an id that is in use. A new file may not be visible at once, so try several times."""
        looks = itertools.count(1)

        def attempt(latest: float) -> Resource:
            answer = self._channel.send(self._get(file_id), units=Units.GET, latest=latest)
            if answer.status != 404:
                return read_resource(answer, what, file_id)
            if next(looks) >= _LOOKS:
                raise _taken(what, None)
            raise RetryableError("its id is used, but the file is not visible yet")

        return self._channel.patience.run(what, READ_LIMIT, attempt)

    def _get(self, file_id: str) -> HttpRequest:
        return HttpRequest.of(self._files.get(fileId=file_id, fields=FIELDS))


def _describe(name: str, properties: Mapping[str, str], parent: str | None, **more: str) -> dict[str, Any]:
    body: dict[str, Any] = {"name": name, "properties": dict(properties), **more}
    if parent is not None:
        body["parents"] = [check_id(parent)]
    return body


def _whole(content: BinaryIO, size: int) -> bytes:
    try:
        content.seek(0)
        data = content.read(size + 1)
    except OSError as error:
        raise translate(error, "the content to upload") from error
    if len(data) != size:
        raise TransportError(f"the content to upload does not have the expected {size} bytes")
    return data


def _media(data: bytes) -> MediaIoBaseUpload:
    return MediaIoBaseUpload(io.BytesIO(data), _TYPE, resumable=False)


def _multipart(built: Any, body: Mapping[str, Any], data: bytes) -> HttpRequest:
    """Return an upload of metadata and content in one request, with CRLF before each boundary as MIME requires.

    Google's client library ends its lines with LF only. If the content ends with CR, a server then takes that byte as part
    of the boundary, and the file loses its last byte.
    """
    boundary = secrets.token_hex(16)
    lines = (
        f"--{boundary}",
        "Content-Type: application/json; charset=UTF-8",
        "",
        json.dumps(body),
        f"--{boundary}",
        f"Content-Type: {_TYPE}",
        "",
        "",
    )
    whole = b"".join(("\r\n".join(lines).encode(), data, f"\r\n--{boundary}--\r\n".encode()))
    request = HttpRequest.of(built)
    kind = f'multipart/related; boundary="{boundary}"'
    return HttpRequest(request.method, request.uri, {**request.headers, "content-type": kind}, whole)


def _later(content: BinaryIO) -> MediaIoBaseUpload:
    return MediaIoBaseUpload(content, _TYPE, resumable=True)


def _start(built: Any, size: int) -> HttpRequest:
    return HttpRequest.of(built).with_headers(x_upload_content_type=_TYPE, x_upload_content_length=str(size))


def _differs(found: Resource, md5: str) -> bool:
    return bool(found.md5) and found.md5.lower() != md5.lower()


def _taken(what: str, found: Resource | None) -> TakenError:
    return TakenError(f"Google Drive: {what}: its id belongs to another file", None if found is None else found.file())
