"""Lag of the emulator: listings, changes, permissions and deletions that users see late."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from drive_client import changes_since, create, emulated, names, refused, share

from syft_flwr.emulators.gdrive import Emulator, Lag
from syft_flwr.testing import FakeClock

A, B = "a@x.org", "b@x.org"
Stage = tuple[Emulator, FakeClock, Any, Any]


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    clock = FakeClock()
    with emulated(tmp_path, A, B, clock=clock) as (emulator, a, b):
        yield emulator, clock, a, b


def test_name_search_can_lag_behind_listing(stage: Stage) -> None:
    emulator, clock, a, _ = stage
    emulator.lag = Lag(list_by_name=10, list_by_parent=5)
    folder = create(a, "folder")
    clock.advance(10)
    file_id = create(a, "file", parent=folder, properties={"k": "v"})

    def seen() -> list[bool]:
        in_folder = f"'{folder}' in parents"
        named, held = f"{in_folder} and name = 'file'", "properties has {key='k' and value='v'}"
        return [bool(names(a, q)) for q in (in_folder, named, held)]

    assert seen() == [False, False, False]
    a.files().get(fileId=file_id).execute()
    clock.advance(5)
    assert seen() == [True, False, False]
    clock.advance(5)
    assert seen() == [True, True, True]
    a.files().delete(fileId=file_id).execute()
    assert seen() == [True, True, True]
    assert refused(a.files().get(fileId=file_id).execute)[0] == 404
    clock.advance(5)
    assert seen() == [False, True, True]


def test_search_can_show_an_older_state(stage: Stage) -> None:
    emulator, clock, a, _ = stage
    file_id = create(a, "old")
    emulator.lag = Lag(list_by_name=10)
    for name in ("newer", "newest"):
        clock.advance(4)
        a.files().update(fileId=file_id, body={"name": name}).execute()
    assert names(a, "trashed = false") == ["old"]
    clock.advance(6)
    assert names(a, "trashed = false") == ["newer"]
    clock.advance(4)
    assert names(a, "trashed = false") == ["newest"]


def test_late_changes_are_not_skipped(stage: Stage) -> None:
    emulator, clock, a, _ = stage
    emulator.lag = Lag(changes=10)
    token = a.changes().getStartPageToken().execute()["startPageToken"]
    first = create(a, "first")
    clock.advance(6)
    second = create(a, "second")
    assert a.changes().getStartPageToken().execute()["startPageToken"] == token
    entries, after = changes_since(a, token)
    assert (entries, after) == ([], token)
    clock.advance(4)
    entries, after = changes_since(a, token)
    assert [each["fileId"] for each in entries] == [first]
    clock.advance(6)
    assert [each["fileId"] for each in changes_since(a, after)[0]] == [second]


def test_grant_and_revocation_can_arrive_late(stage: Stage) -> None:
    emulator, clock, a, b = stage
    folder = create(a, "folder")
    clock.advance(100)
    emulator.lag = Lag(permissions=10)
    permission = share(a, folder, B)
    assert refused(b.files().get(fileId=folder).execute)[0] == 404
    clock.advance(10)
    file_id = create(a, "file", content=b"x", parent=folder)
    b.files().get(fileId=file_id).execute()
    a.permissions().delete(fileId=folder, permissionId=permission).execute()
    b.files().get(fileId=file_id).execute()
    a.files().get(fileId=file_id).execute()
    clock.advance(10)
    assert refused(b.files().get(fileId=file_id).execute)[0] == 404


def test_deleted_file_can_still_be_read(stage: Stage) -> None:
    emulator, clock, a, b = stage
    emulator.lag = Lag(deleted=10)
    file_id = create(a, "file", content=b"x")
    share(a, file_id, B)
    a.files().delete(fileId=file_id).execute()
    for drive in (a, b):
        assert drive.files().get_media(fileId=file_id).execute() == b"x"
    assert names(a, "trashed = false") == []
    assert refused(a.files().update(fileId=file_id, body={"name": "x"}).execute)[0] == 404
    clock.advance(10)
    for drive in (a, b):
        assert refused(drive.files().get(fileId=file_id).execute)[0] == 404


def test_get_can_lag_for_one_user(stage: Stage) -> None:
    emulator, clock, a, b = stage
    emulator.set_lag(B, Lag(get=10))
    folder = create(a, "folder")
    share(a, folder, B)
    clock.advance(10)
    file_id = create(a, "file", parent=folder)
    a.files().get(fileId=file_id).execute()
    assert refused(b.files().get(fileId=file_id).execute)[0] == 404
    clock.advance(10)
    b.files().get(fileId=file_id).execute()


def test_random_lag_differs_for_each_change(stage: Stage) -> None:
    emulator, clock, a, _ = stage
    emulator.lag = Lag(list_by_name=(5, 15))
    for number in range(20):
        create(a, f"file {number}")
    clock.advance(5)
    counts = []
    for _ in range(3):
        counts.append(len(names(a, "trashed = false")))
        clock.advance(5)
    assert counts[0] == 0
    assert 0 < counts[1] < 20
    assert counts[2] == 20


def test_ending_a_lag_drops_old_states(stage: Stage) -> None:
    emulator, clock, a, _ = stage
    file_id = create(a, "old")
    emulator.lag = Lag(list_by_name=3600)
    clock.advance(1)
    a.files().update(fileId=file_id, body={"name": "new"}).execute()
    assert names(a, "trashed = false") == ["old"]
    emulator.lag = Lag()
    assert names(a, "trashed = false") == ["new"]
    emulator.lag = Lag(list_by_name=3600)
    assert names(a, "trashed = false") == ["new"]
