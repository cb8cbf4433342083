"""Reads the metadata of files, and the data of the account."""

from collections.abc import Iterator, Sequence
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import Any, TypeVar

from pydantic import BaseModel, Field, ValidationError

from syft_flwr.emails import fold
from syft_flwr.errors import LoginError, NotFoundError, TransportError
from syft_flwr.transport._gdrive.api.batch import call_many, first_error, is_out_of_reach
from syft_flwr.transport._gdrive.api.budget import Units
from syft_flwr.transport._gdrive.api.channel import Channel
from syft_flwr.transport._gdrive.api.drive_file import (
    FIELDS,
    DriveFile,
    FileId,
    PageToken,
    Resource,
    check_id,
    read_resource,
    unexpected,
)
from syft_flwr.transport._gdrive.api.http_request import Answer, HttpRequest
from syft_flwr.transport._gdrive.api.refusals import LOGIN_HINT
from syft_flwr.transport._gdrive.api.retry import READ_LIMIT

M = TypeVar("M", bound=BaseModel)

_PAGE = 1000
_IDS_AT_ONCE = 1000
#: How often a search starts again after Drive has lost its position.
_RESTARTS = 3
#: The most pages of one search. Drive may end a page early, also an empty one.
_MOST_PAGES = 200


class _User(BaseModel):
    email: str = Field(alias="emailAddress", min_length=3, max_length=254)


class _Storage(BaseModel):
    limit: int | None = Field(None, ge=0)
    usage: int = Field(0, ge=0)


class _About(BaseModel):
    user: _User | None = None
    storage: _Storage | None = Field(None, alias="storageQuota")


class _FilePage(BaseModel):
    files: tuple[Resource, ...] = ()
    following: PageToken | None = Field(None, alias="nextPageToken")


class _Ids(BaseModel):
    ids: tuple[FileId, ...]


class Reader:
    """Reads from one account's Drive; :class:`DriveClient` documents the methods."""

    def __init__(self, channel: Channel, service: Any) -> None:
        self._channel, self._service, self._files = channel, service, service.files()

    def me(self) -> str:
        user = self._about("user(emailAddress)", "look at the account").user
        if user is None:
            raise LoginError("Google Drive: Google did not return the email of this login", hint=LOGIN_HINT)
        return fold(user.email)

    def free_space(self) -> int | None:
        storage = self._about("storageQuota(limit,usage)", "look at the storage").storage
        if storage is None or storage.limit is None:
            return None
        return max(0, storage.limit - storage.usage)

    def server_time(self) -> datetime | None:
        """Return the time in the headers of a new response."""
        what = "look at the account"
        built = self._service.about().get(fields="kind")
        answer = self._channel.call(HttpRequest.of(built), what=what, units=Units.OTHER).ok(what)
        try:
            told = parsedate_to_datetime(answer.headers["date"])
        except (KeyError, ValueError, TypeError):
            return None
        return told if told.tzinfo else None

    def new_ids(self, count: int) -> list[str]:
        what = "request for new ids"
        ids: list[str] = []
        while len(ids) < count:
            number = min(count - len(ids), _IDS_AT_ONCE)
            built = self._files.generateIds(count=number, space="drive", type="files")
            answer = self._channel.call(HttpRequest.of(built), what=what, units=Units.OTHER).ok(what)
            found = _parse(_Ids, answer, what).ids
            if len(found) != number or len(set(found)) != number:
                text = f"Google Drive: {what}: Drive returned {len(set(found))} different ids in place of {number}"
                raise TransportError(text, hint="Try again later.")
            ids += found
        return ids

    def get(self, file_id: str) -> DriveFile:
        what = f"look at {check_id(file_id)}"
        found = read_resource(self._channel.call(self._request(file_id), what=what, units=Units.GET), what, file_id)
        if found.trashed:
            raise NotFoundError(f"Google Drive: {what}: the file is in the trash")
        return found.file()

    def get_many(self, file_ids: Sequence[str]) -> dict[str, DriveFile | None]:
        what = f"look at {len(file_ids)} files"
        ids = [check_id(file_id) for file_id in file_ids]
        answers = call_many(self._channel, ids, self._request, what=what, units=Units.GET, limit=READ_LIMIT)
        if error := first_error(answers, what):
            raise error
        return {file_id: _file_or_none(answer, what, file_id) for file_id, answer in answers.items()}

    def search(self, query: str, max_files: int) -> Iterator[DriveFile]:
        seen: set[str] = set()
        token: str | None = None
        restarts = 0
        for _ in range(_MOST_PAGES):
            page = self._page(query, token)
            if page is None:
                restarts += 1
                if restarts > _RESTARTS:
                    raise TransportError(
                        f"Google Drive: Drive lost the position of a search {restarts} times", hint="Try again later."
                    )
                token = None
                continue
            for found in page.files:
                if found.id in seen:
                    continue
                if len(seen) >= max_files:
                    return
                seen.add(found.id)
                yield found.file()
            token = page.following
            if token is None:
                return
        raise TransportError(f"Google Drive: a search did not end after {_MOST_PAGES} pages", hint="Try again later.")

    def _page(self, query: str, token: str | None) -> _FilePage | None:
        """Return the next page of a search; None if Drive no longer knows the page token."""
        what = "search"
        fields = f"nextPageToken,files({FIELDS})"
        built = self._files.list(q=query, pageSize=_PAGE, pageToken=token, fields=fields)
        answer = self._channel.call(HttpRequest.of(built), what=what, units=Units.LIST)
        if token is not None and answer.refusal is not None and answer.refusal.location == "pageToken":
            return None
        return _parse(_FilePage, answer.ok(what), what)

    def _about(self, fields: str, what: str) -> _About:
        built = self._service.about().get(fields=fields)
        answer = self._channel.call(HttpRequest.of(built), what=what, units=Units.OTHER).ok(what)
        return _parse(_About, answer, what)

    def _request(self, file_id: str) -> HttpRequest:
        return HttpRequest.of(self._files.get(fileId=file_id, fields=FIELDS))


def _file_or_none(answer: Answer, what: str, file_id: str) -> DriveFile | None:
    if is_out_of_reach(answer):
        return None
    found = read_resource(answer, what, file_id)
    return None if found.trashed else found.file()


def _parse(model: type[M], answer: Answer, what: str) -> M:
    try:
        return model.model_validate_json(answer.body)
    except ValidationError as error:
        raise unexpected(what, error) from None
