"""Lets another account read a file."""

from typing import Any

from pydantic import BaseModel, Field, ValidationError

from syft_flwr.emails import fold
from syft_flwr.errors import TransportError
from syft_flwr.transport._gdrive.api.budget import Units
from syft_flwr.transport._gdrive.api.channel import Channel
from syft_flwr.transport._gdrive.api.drive_file import PageToken, unexpected
from syft_flwr.transport._gdrive.api.http_request import HttpRequest
from syft_flwr.transport._gdrive.api.retry import WRITE_LIMIT, RetryableError

#: Drive allows 600 people on one file.
_MAX_PAGES = 20
_ROLES = frozenset({"reader", "commenter", "writer", "fileOrganizer", "organizer", "owner"})


class _Permission(BaseModel):
    role: str = ""
    email: str = Field("", alias="emailAddress")


class _PermissionPage(BaseModel):
    permissions: tuple[_Permission, ...] = ()
    following: PageToken | None = Field(None, alias="nextPageToken")


def share(channel: Channel, permissions: Any, file_id: str, reader: str) -> None:
    """Let the account ``reader`` read a file. A repetition changes nothing, and Google sends no email about it.

    If a failure leaves open whether the file was shared, the next attempt checks its permissions first, because Drive's
    limit for sharing is low.
    """
    what = f"sharing of {file_id} with {reader}"
    body = {"type": "user", "role": "reader", "emailAddress": reader}
    built = permissions.create(fileId=file_id, body=body, sendNotificationEmail=False, fields="id")
    request = HttpRequest.of(built)
    doubtful = False

    def attempt(latest: float) -> None:
        nonlocal doubtful
        if doubtful and _may_read(channel, permissions, file_id, reader, what, latest):
            return
        try:
            answer = channel.send(request, units=Units.EDIT, latest=latest)
        except RetryableError as error:
            doubtful = doubtful or not error.rate
            raise
        answer.ok(what)

    channel.patience.run(what, WRITE_LIMIT, attempt)


def _may_read(channel: Channel, permissions: Any, file_id: str, reader: str, what: str, latest: float) -> bool:
    token: str | None = None
    for _ in range(_MAX_PAGES):
        built = permissions.list(
            fileId=file_id, pageSize=100, pageToken=token, fields="nextPageToken,permissions(role,emailAddress)"
        )
        answer = channel.send(HttpRequest.of(built), units=Units.LIST, latest=latest).ok(what)
        try:
            page = _PermissionPage.model_validate_json(answer.body)
        except ValidationError as error:
            raise unexpected(what, error) from None
        if any(fold(one.email) == fold(reader) and one.role in _ROLES for one in page.permissions):
            return True
        if page.following is None:
            return False
        token = page.following
    raise TransportError(
        f"Google Drive: {what}: the file is shared with more people than Drive allows",
        hint="Remove people from the sharing settings of the file at https://drive.google.com.",
    )
