"""The change log of the emulator: one entry per file, the latest change last, and its filters."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from drive_client import changes_since, create, emulated, refused, share

A, B = "a@x.org", "b@x.org"
Two = tuple[Any, Any]


@pytest.fixture
def two(tmp_path: Path) -> Iterator[Two]:
    with emulated(tmp_path, A, B) as (_, a, b):
        yield a, b


def _start(drive: Any) -> str:
    return drive.changes().getStartPageToken().execute()["startPageToken"]


def _ids(drive: Any, token: str, **parameters: Any) -> list[str]:
    return [each["fileId"] for each in changes_since(drive, token, **parameters)[0]]


def test_newer_change_replaces_the_older_entry(two: Two) -> None:
    a, _ = two
    token = _start(a)
    first, second = create(a, "first"), create(a, "second")
    middle = changes_since(a, token)[1]
    assert _ids(a, token) == [first, second]
    a.files().update(fileId=first, body={"name": "renamed"}).execute()
    assert _ids(a, token) == [second, first]
    assert _ids(a, token, pageSize=1) == [second, first]
    assert _ids(a, middle) == [first]
    assert changes_since(a, token)[0][1]["file"]["name"] == "renamed"


def test_page_has_next_or_start_token_never_both(two: Two) -> None:
    a, _ = two
    token = _start(a)
    for name in ("first", "second"):
        create(a, name)
    page = a.changes().list(pageToken=token, pageSize=1).execute()
    assert page.keys() == {"kind", "changes", "nextPageToken"}
    page = a.changes().list(pageToken=page["nextPageToken"], pageSize=1).execute()
    assert page.keys() == {"kind", "changes", "newStartPageToken"}
    assert page["changes"][0].keys() == {"kind", "removed", "fileId", "time", "type", "changeType", "file"}
    assert a.changes().list(pageToken=page["newStartPageToken"]).execute()["changes"] == []


def test_page_token_can_be_used_again(two: Two) -> None:
    a, _ = two
    token = _start(a)
    made = [create(a, f"file {number}") for number in range(3)]
    for _ in range(2):
        assert _ids(a, token) == made


def test_changes_can_be_limited_to_own_drive(two: Two) -> None:
    a, b = two
    token = _start(a)
    theirs = create(b, "theirs", content=b"x")
    share(b, theirs, A)
    own = create(a, "own")
    gone = create(a, "gone")
    a.files().delete(fileId=gone).execute()
    assert _ids(a, token) == [theirs, own, gone]
    assert _ids(a, token, restrictToMyDrive=True) == [own, gone]
    assert _ids(a, token, includeRemoved=False) == [theirs, own]


def test_lost_access_is_reported_as_removed(two: Two) -> None:
    a, b = two
    shared, other = create(a, "shared"), create(a, "other")
    file_id = create(a, "file", content=b"x", parent=shared)
    share(a, shared, B)
    token = _start(b)
    a.files().update(fileId=file_id, addParents=other, removeParents=shared).execute()
    assert [(each["fileId"], each["removed"]) for each in changes_since(b, token)[0]] == [(file_id, True)]


@pytest.mark.parametrize("token", ["", "x", "-1", "1" * 30])
def test_unknown_token_is_refused(two: Two, token: str) -> None:
    a, _ = two
    assert refused(a.changes().list(pageToken=token).execute)[0] == 400
