"""Access in the Drive emulator: scopes, sharing, moves, and the assumptions about Google's behaviour."""

import json
import re
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from drive_client import changes_since, create, drive_of, emulated, media, names, new_id, refused, share
from googleapiclient.errors import HttpError

from syft_flwr.emulators.gdrive import Assumptions, Emulator, Limits

A, B, C = "a@x.org", "b@x.org", "c@x.org"
_SCOPE = "https://www.googleapis.com/auth/"
FILE, READONLY, METADATA = _SCOPE + "drive.file", _SCOPE + "drive.readonly", _SCOPE + "drive.metadata.readonly"
Trio = tuple[Emulator, Any, Any, Any]


@pytest.fixture
def trio(tmp_path: Path) -> Iterator[Trio]:
    with emulated(tmp_path, A, B, C) as (emulator, a, b, c):
        yield emulator, a, b, c


@pytest.fixture
def opened(trio: Trio, tmp_path: Path) -> Iterator[Any]:
    """Return a function that opens the API for a user, with the given scopes and OAuth client."""
    with ExitStack() as stack:

        def _open(email: str, *scopes: str, client: str = "another.apps.googleusercontent.com") -> Any:
            path = tmp_path / f"{email}-{client}-{len(scopes)}.json"
            trio[0].write_token(email, path, scopes, client=client)
            return stack.enter_context(drive_of(path, trio[0].url))

        yield _open


# Clients and scopes


def test_missing_scope_is_refused(opened: Any) -> None:
    reader = opened(A, READONLY)
    with pytest.raises(HttpError) as refusal:
        create(reader, "file")
    error = json.loads(refusal.value.content)["error"]
    assert (error["code"], error["status"], error["errors"][0]["reason"]) == (
        403,
        "PERMISSION_DENIED",
        "insufficientPermissions",
    )
    assert error["details"][0]["reason"] == "ACCESS_TOKEN_SCOPE_INSUFFICIENT"
    assert error["details"][0]["metadata"]["method"] == "google.apps.drive.v3.DriveFiles.Create"


def test_file_scope_shows_only_own_files(trio: Trio, opened: Any) -> None:
    _, a, _, _ = trio
    other = create(a, "of another client", content=b"x")
    mine, theirs = opened(A, FILE), opened(B, FILE)
    token = mine.changes().getStartPageToken().execute()["startPageToken"]
    own = create(mine, "own", content=b"x", id=new_id(mine))
    a.files().update(fileId=other, body={"description": "changed"}).execute()
    assert names(mine, "trashed = false") == ["own"]
    assert [each["fileId"] for each in changes_since(mine, token)[0]] == [own]
    assert refused(mine.files().get(fileId=other).execute) == (404, "notFound")
    assert refused(mine.files().update(fileId=other, body={"name": "x"}).execute) == (404, "notFound")
    share(mine, own, B)
    # Another user of the same client.
    assert refused(theirs.files().get(fileId=own).execute) == (404, "notFound")
    folder = create(mine, "folder", parent="root")
    assert names(mine, f"'{create(mine, 'inner', parent=folder)}' in parents") == []


def test_file_and_read_scope_edit_only_own_files(trio: Trio, opened: Any) -> None:
    _, a, _, _ = trio
    theirs = create(a, "theirs", content=b"x")
    share(a, theirs, B, "writer")
    both = opened(B, FILE, READONLY)
    assert both.files().get_media(fileId=theirs).execute() == b"x"
    assert refused(both.files().update(fileId=theirs, media_body=media(b"y")).execute) == (
        403,
        "appNotAuthorizedToFile",
    )
    own = create(both, "own", content=b"x")
    both.files().update(fileId=own, media_body=media(b"y")).execute()
    assert sorted(names(both, "trashed = false")) == ["own", "theirs"]


def test_metadata_scope_cannot_read_content(trio: Trio, opened: Any) -> None:
    _, a, _, _ = trio
    file_id = create(a, "file", content=b"x")
    reader = opened(A, METADATA)
    reader.files().get(fileId=file_id).execute()
    assert refused(reader.files().get_media(fileId=file_id).execute) == (403, "insufficientPermissions")


def test_app_properties_are_private_to_a_client(trio: Trio, opened: Any) -> None:
    _, a, _, _ = trio
    other = opened(A, _SCOPE + "drive")
    file_id = create(a, "file", properties={"public": "1"}, appProperties={"own": "1"})
    other.files().update(fileId=file_id, body={"appProperties": {"own": "2"}}).execute()
    for drive, value in ((a, "1"), (other, "2")):
        found = drive.files().get(fileId=file_id, fields="properties,appProperties").execute()
        assert found == {"properties": {"public": "1"}, "appProperties": {"own": value}}
        assert names(drive, f"appProperties has {{key='own' and value='{value}'}}") == ["file"]
        assert names(drive, "appProperties has {key='own' and value='3'}") == []


def test_file_has_at_most_100_properties(trio: Trio, opened: Any) -> None:
    _, a, _, _ = trio
    file_id = create(a, "file", properties={f"k{number}": "v" for number in range(30)})
    for number in range(2):
        client = opened(A, _SCOPE + "drive", client=f"{number}.apps.googleusercontent.com")
        body = {"appProperties": {f"k{each}": "v" for each in range(30)}}
        client.files().update(fileId=file_id, body=body).execute()
    ten = {f"k{each}": "v" for each in range(10)}
    a.files().update(fileId=file_id, body={"appProperties": ten}).execute()
    one = opened(A, _SCOPE + "drive").files().update(fileId=file_id, body={"appProperties": {"k": "v"}})
    assert refused(one.execute)[0] == 400


# Sharing


def test_permission_role_can_be_changed(trio: Trio) -> None:
    _, a, b, _ = trio
    file_id = create(a, "file", content=b"x")
    permission = share(a, file_id, B)
    permissions = a.permissions()
    changed = permissions.update(fileId=file_id, permissionId=permission, body={"role": "writer"}).execute()
    assert changed == {"kind": "drive#permission", "id": permission, "type": "user", "role": "writer"}
    assert permissions.get(fileId=file_id, permissionId=permission).execute() == changed
    b.files().update(fileId=file_id, body={"name": "renamed"}).execute()
    owner = a.about().get(fields="user/permissionId").execute()["user"]["permissionId"]
    assert refused(permissions.delete(fileId=file_id, permissionId=owner).execute)[0] == 403
    assert refused(permissions.get(fileId=file_id, permissionId="1").execute) == (404, "notFound")


def test_writer_may_share_unless_owner_forbids(trio: Trio) -> None:
    _, a, b, c = trio
    file_id = create(a, "file", content=b"x")
    own = share(a, file_id, B, "writer")
    share(b, file_id, C)
    c.files().get(fileId=file_id).execute()
    a.files().update(fileId=file_id, body={"writersCanShare": False}).execute()
    assert refused(lambda: share(b, file_id, C, "writer"))[0] == 403
    b.permissions().delete(fileId=file_id, permissionId=own).execute()
    assert refused(b.files().get(fileId=file_id).execute)[0] == 404


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"type": "user", "emailAddress": B},
        {"role": "reader"},
        {"type": "user", "role": "king", "emailAddress": B},
        {"type": "user", "role": "reader"},
        {"type": "domain", "role": "reader"},
        {"type": "user", "role": "reader", "emailAddress": "nobody@x.org"},
    ],
)
def test_malformed_grant_is_refused(trio: Trio, body: dict[str, str]) -> None:
    _, a, _, _ = trio
    file_id = create(a, "file")
    call = a.permissions().create(fileId=file_id, body=body, sendNotificationEmail=False)
    assert refused(call.execute)[0] == 400


@pytest.mark.parametrize("kind", ["user", "group"])
@pytest.mark.parametrize("email", ["nobody@x.org", "B@x.orgg", "b@@x.org"])
def test_grant_without_a_mail_needs_an_account(trio: Trio, kind: str, email: str) -> None:
    emulator, a, _, _ = trio
    emulator.limits = Limits(shares_per_day=1)
    file_id = create(a, "file")
    body = {"type": kind, "role": "reader", "emailAddress": email}
    call = a.permissions().create(fileId=file_id, body=body, sendNotificationEmail=False)
    for _ in range(2):
        with pytest.raises(HttpError, match=re.escape(f"You are trying to invite {email}. ")) as refusal:
            call.execute()
        assert refusal.value.status_code == 400
        assert refused(call.execute) == (400, "invalidSharingRequest")
    assert len(a.permissions().list(fileId=file_id).execute()["permissions"]) == 1
    share(a, file_id, B.upper())


@pytest.mark.parametrize("spaces", ["appDataFolder", "appDataFolder,drive"])
def test_app_data_space_is_empty(tmp_path: Path, spaces: str) -> None:
    with Emulator(users=[A]) as emulator:
        emulator.write_token(A, tmp_path / "a.json", [f"{_SCOPE}drive", f"{_SCOPE}drive.appdata"])
        with drive_of(tmp_path / "a.json", emulator.url) as a:
            token = a.changes().getStartPageToken().execute()["startPageToken"]
            create(a, "file")
            found = ["file"] if "drive" in spaces.split(",") else []
            assert names(a, "trashed = false", spaces=spaces) == found
            assert len(changes_since(a, token, spaces=spaces)[0]) == len(found)


def test_changes_of_an_unknown_space_are_refused(trio: Trio) -> None:
    _, a, _, _ = trio
    token = a.changes().getStartPageToken().execute()["startPageToken"]
    assert refused(a.changes().list(pageToken=token, spaces="photos").execute) == (400, "invalid")
    assert refused(a.changes().list(pageToken=token, spaces="appDataFolder").execute) == (403, "insufficientScopes")


def test_grant_by_mail_works_for_later_account(trio: Trio, tmp_path: Path) -> None:
    emulator, a, _, _ = trio
    file_id = create(a, "file", content=b"x")
    body = {"type": "user", "role": "reader", "emailAddress": "new@x.org"}
    a.permissions().create(fileId=file_id, body=body).execute()
    emulator.add_user("new@x.org")
    emulator.write_token("new@x.org", tmp_path / "new.json")
    with drive_of(tmp_path / "new.json", emulator.url) as new:
        assert new.files().get_media(fileId=file_id).execute() == b"x"


@pytest.mark.parametrize("grantee", [{"type": "anyone"}, {"type": "domain", "domain": "x.org"}])
def test_link_gives_access_but_not_search(trio: Trio, grantee: dict[str, str]) -> None:
    _, a, b, _ = trio
    folder = create(a, "folder")
    file_id = create(a, "file", content=b"x", parent=folder)
    token = b.changes().getStartPageToken().execute()["startPageToken"]
    a.permissions().create(fileId=folder, body={"role": "reader", **grantee}).execute()
    assert b.files().get_media(fileId=file_id).execute() == b"x"
    assert names(b, "trashed = false") == []
    assert names(b, f"'{folder}' in parents") == ["file"]
    assert changes_since(b, token)[0] == []


def test_search_filters_by_person(trio: Trio) -> None:
    _, a, b, _ = trio
    folder, direct = create(a, "folder"), create(a, "direct")
    create(a, "inner", parent=folder)
    share(a, folder, B)
    share(a, direct, B, "writer")
    create(b, "own")

    def found(q: str) -> list[str]:
        return sorted(names(b, q))

    assert found("sharedWithMe") == ["direct", "folder"]
    assert found("not sharedWithMe = true") == ["inner", "own"]
    assert found("'me' in owners") == ["own"]
    assert found(f"'{A}' in owners") == ["direct", "folder", "inner"]
    assert found("'me' in writers") == ["direct", "own"]
    assert found(f"'{B}' in readers") == ["direct", "folder", "inner", "own"]
    assert found("'root' in parents") == ["own"]
    assert found("visibility = 'limited'") == ["direct", "folder", "inner", "own"]
    assert found("sharedWithMeTime > '2020-01-01T00:00:00'") == ["direct", "folder"]
    assert found("fullText contains 'inn'") == ["inner"]
    assert found("starred = true or viewedByMeTime > '2020-01-01T00:00:00'") == []
    assert found("'labels/x' in labels") == []
    assert found("not 'labels/x' in labels") == ["direct", "folder", "inner", "own"]
    assert found("shortcutDetails.targetId != 'x'") == []


def test_folder_owner_may_edit_files_of_others(trio: Trio) -> None:
    _, a, b, _ = trio
    folder = create(a, "folder")
    share(a, folder, B, "writer")
    file_id = create(b, "theirs", content=b"x", parent=folder)
    listed = b.permissions().list(fileId=file_id, fields="permissions(emailAddress,role,permissionDetails(inherited))")
    assert {each["emailAddress"]: each for each in listed.execute()["permissions"]} == {
        A: {"emailAddress": A, "role": "writer", "permissionDetails": [{"inherited": True}]},
        B: {"emailAddress": B, "role": "owner", "permissionDetails": [{"inherited": False}]},
    }
    assert names(a, f"'{folder}' in parents and 'me' in owners") == []
    a.files().update(fileId=file_id, media_body=media(b"changed")).execute()
    a.files().delete(fileId=folder).execute()
    root = b.files().get(fileId="root", fields="id").execute()["id"]
    assert b.files().get(fileId=file_id, fields="parents").execute() == {"parents": [root]}
    assert refused(a.files().get(fileId=file_id).execute)[0] == 404


# Moving


def test_moved_folder_inherits_new_grants(trio: Trio) -> None:
    _, a, b, _ = trio
    outer, inner = create(a, "outer"), create(a, "inner")
    file_id = create(a, "file", content=b"x", parent=inner)
    share(a, outer, B)
    token = b.changes().getStartPageToken().execute()["startPageToken"]
    assert refused(b.files().get(fileId=file_id).execute)[0] == 404
    a.files().update(fileId=inner, addParents=outer, removeParents="root").execute()
    b.files().get(fileId=file_id).execute()
    assert {each["fileId"] for each in changes_since(b, token)[0]} == {inner, file_id}


def test_impossible_parent_is_refused(trio: Trio) -> None:
    _, a, b, _ = trio
    outer = create(a, "outer")
    inner = create(a, "inner", parent=outer)
    file_id = create(a, "file", content=b"x", parent=inner)
    files = a.files()
    for call, reason in (
        (files.update(fileId=outer, addParents=inner, removeParents="root"), "cyclicMembershipsNotAllowed"),
        (files.update(fileId=file_id, addParents=outer), "cannotAddParent"),
        (files.update(fileId=inner, addParents=file_id, removeParents=outer), "parentNotAFolder"),
        (files.delete(fileId="root"), "insufficientFilePermissions"),
    ):
        assert refused(call.execute) == (403, reason)
    assert refused(lambda: create(a, "x", parent="nowhere")) == (404, "notFound")
    assert refused(files.create(body={"name": "x", "parents": [outer, inner]}).execute)[0] == 400
    assert refused(b.files().update(fileId=file_id, addParents="root", removeParents=inner).execute)[0] == 404


def test_folder_depth_is_limited_to_100(trio: Trio) -> None:
    _, a, _, _ = trio
    parent = "root"
    for _ in range(99):
        parent = create(a, "folder", parent=parent)
    tower = create(a, "folder", parent=parent)
    move = a.files().update(fileId=create(a, "one more"), addParents=tower, removeParents="root")
    assert refused(move.execute) == (403, "myDriveHierarchyDepthLimitExceeded")


def test_folder_writer_may_remove_a_file(trio: Trio) -> None:
    _, a, b, _ = trio
    folder = create(a, "folder")
    file_id = create(a, "file", content=b"x", parent=folder)
    share(a, folder, B, "writer")
    b.files().update(fileId=file_id, removeParents=folder).execute()
    assert names(a, f"'{folder}' in parents") == []
    root = a.files().get(fileId="root", fields="id").execute()["id"]
    assert a.files().get(fileId=file_id, fields="parents").execute() == {"parents": [root]}


# Assumptions


@pytest.mark.parametrize("personal", [True, False])
@pytest.mark.parametrize("refused_", [True, False])
def test_assumptions_decide_which_ids_are_usable(tmp_path: Path, personal: bool, refused_: bool) -> None:
    assumptions = Assumptions(ids_are_personal=personal, ids_are_spent=personal, unreserved_ids_are_refused=refused_)
    with emulated(tmp_path, A, B, assumptions=assumptions) as (_, a, b):
        for file_id, is_refused in ((new_id(b), personal), ("1" + "x" * 32, refused_)):
            if is_refused:
                assert refused(lambda file_id=file_id: create(a, "file", id=file_id))[0] == 400
            else:
                assert create(a, "file", id=file_id) == file_id
        own = create(a, "file", id=new_id(a))
        a.files().delete(fileId=own).execute()
        if personal:
            assert refused(lambda: create(a, "file", id=own))[0] == 409
        else:
            assert create(a, "file", id=own) == own


def test_assumptions_can_hide_files_from_readers(tmp_path: Path) -> None:
    assumptions = Assumptions(
        search_shows_shared_children=False, changes_show_shared_children=False, readers_see_trashed=False
    )
    with emulated(tmp_path, A, B, assumptions=assumptions) as (_, a, b):
        folder = create(a, "folder")
        share(a, folder, B)
        token = b.changes().getStartPageToken().execute()["startPageToken"]
        file_id = create(a, "file", content=b"x", parent=folder)
        assert names(b, "trashed = false") == ["folder"]
        assert names(b, f"'{folder}' in parents") == ["file"]
        assert changes_since(b, token)[0] == []
        a.files().update(fileId=folder, body={"trashed": True}).execute()
        assert refused(b.files().get(fileId=file_id).execute)[0] == 404
        a.files().get(fileId=file_id).execute()


def test_missing_type_is_guessed_from_the_name(trio: Trio) -> None:
    _, a, _, _ = trio
    for name, said, expected in (
        ("README.md", None, "text/markdown"),
        ("message.bin", None, "application/octet-stream"),
        ("table.csv", "application/x-own", "application/x-own"),
    ):
        body = {"mimeType": said} if said else {}
        file_id = create(a, name, content=b"x", **body)
        assert a.files().get(fileId=file_id, fields="mimeType").execute() == {"mimeType": expected}
