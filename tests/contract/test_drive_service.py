"""The behaviour of Google Drive on which this package relies.

The tests use Google's own client with the emulator, and with the real service if accounts are configured:
``SYFT_FLWR_TEST_GDRIVE_TOKENS`` names the token files of two accounts, with ``os.pathsep`` between them. A test makes
all files in one folder or as the second account, and deletes them at its end.
"""

import hashlib
import io
import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from drive_client import FOLDER, changes_since, create, drive_of, media, names, new_id, refused, share
from googleapiclient.errors import BatchError, HttpError
from googleapiclient.http import MediaIoBaseDownload, MediaIoBaseUpload

from syft_flwr.emulators.gdrive import Emulator

# Read here, because the tests run without the environment variables of the user.
_REAL = [Path(path) for path in os.environ.get("SYFT_FLWR_TEST_GDRIVE_TOKENS", "").split(os.pathsep) if path]
_PATIENCE = 90.0
_BYTES = b"a\r\nb\n\r\0From x\n--==\r\n" + bytes(range(256))
_UNKNOWN_ID = "1AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"


class World:
    """Two accounts, and a folder of the first account that the second cannot see yet.

    Attributes:
        patience: seconds until a change must be visible.
    """

    def __init__(self, a: Any, b: Any, patience: float) -> None:
        self.a = a
        self.b = b
        self.patience = patience
        self.a_email, self.b_email = (
            drive.about().get(fields="user(emailAddress)").execute()["user"]["emailAddress"] for drive in (a, b)
        )
        self.folder = create(a, "syft-flwr conformance")
        self._made: list[tuple[Any, str]] = [(a, self.folder)]

    def make(self, name: str, content: bytes | None = b"", *, by: Any = None, **body: Any) -> str:
        """Make a file or a folder in the test folder; files of the second account are deleted separately."""
        drive = by or self.a
        file_id = create(drive, name, parent=body.pop("parent", self.folder), content=content, **body)
        if drive is self.b:
            self._made.append((drive, file_id))
        return file_id

    def grant(self, role: str = "reader", file_id: str | None = None) -> str:
        return share(self.a, file_id or self.folder, self.b_email, role)

    def eventually(self, look: Callable[[], Any], expected: Any) -> None:
        """Repeat ``look`` until it returns ``expected``; only the real service needs several attempts."""
        deadline = time.monotonic() + self.patience
        while (seen := look()) != expected and time.monotonic() < deadline:
            time.sleep(2)
        assert seen == expected

    def search(self, condition: str = "", *, by: Any = None, **parameters: Any) -> list[str]:
        """Return the names of the files in the folder that meet a condition."""
        q = f"'{self.folder}' in parents" + (f" and ({condition})" if condition else "")
        return names(by or self.a, q, **parameters)

    def get(self, file_id: str, fields: str = "*", *, by: Any = None) -> Any:
        return (by or self.a).files().get(fileId=file_id, fields=fields).execute()

    def clean(self) -> None:
        for drive, file_id in reversed(self._made):
            try:
                drive.files().delete(fileId=file_id).execute()
            except HttpError as error:
                if error.status_code != 404:
                    raise


_SKIPPED = pytest.mark.skipif(len(_REAL) != 2, reason="SYFT_FLWR_TEST_GDRIVE_TOKENS does not name two token files")


@pytest.fixture(params=["emulator", pytest.param("real", marks=_SKIPPED)])
def world(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    with ExitStack() as stack:
        tokens, url, patience = _REAL, "", _PATIENCE
        if request.param == "emulator":
            emulator = stack.enter_context(Emulator(users=["a@x.org", "b@x.org"]))
            tokens, url, patience = [tmp_path / "a.json", tmp_path / "b.json"], emulator.url, 0.0
            for email, path in zip(["a@x.org", "b@x.org"], tokens, strict=True):
                emulator.write_token(email, path)
        a, b = (stack.enter_context(drive_of(path, url)) for path in tokens)
        world = World(a, b, patience)
        stack.callback(world.clean)
        yield world


def _raw(drive: Any, method: str, path: str, headers: dict[str, str] | None = None, body: bytes = b"") -> Any:
    """Send a request for which the client has no function; return the response and its body."""
    uri = f"https://www.googleapis.com{path}"
    return drive._http.request(uri, method=method, headers=headers or {}, body=body or None)


# Creating


def test_generated_id_is_used_by_one_file(world: World) -> None:
    ids = world.a.files().generateIds(count=3).execute()["ids"]
    assert len(set(ids)) == 3
    assert world.make("first", b"1", id=ids[0]) == ids[0]
    for name in ("first", "second"):
        assert refused(lambda name=name: world.make(name, b"1", id=ids[0]))[0] == 409
    assert world.get(ids[0], "name,size") == {"name": "first", "size": "1"}
    assert world.make("folder", None, id=ids[1]) == ids[1]


def test_id_of_a_deleted_file_is_refused(world: World) -> None:
    file_id = world.make("first", id=new_id(world.a))
    world.a.files().delete(fileId=file_id).execute()
    assert refused(lambda: world.make("second", id=file_id))[0] == 409


@pytest.mark.parametrize("file_id", ["x", "1" + "A" * 32])
def test_id_that_was_not_generated_is_refused(world: World, file_id: str) -> None:
    assert refused(lambda: world.make("file", id=file_id))[0] == 400


def test_id_of_another_account_is_refused(world: World) -> None:
    file_id = new_id(world.b)
    assert refused(lambda: world.make("file", id=file_id))[0] == 400


def test_files_can_have_the_same_name(world: World) -> None:
    assert world.make("same") != world.make("same")
    world.eventually(lambda: world.search("name = 'same'"), ["same", "same"])


def test_content_and_digests_match_the_upload(world: World) -> None:
    file_id = world.make("content.bin", _BYTES)
    found = world.get(file_id, "size,md5Checksum,sha1Checksum,sha256Checksum")
    assert found == {
        "size": str(len(_BYTES)),
        "md5Checksum": hashlib.md5(_BYTES).hexdigest(),
        "sha1Checksum": hashlib.sha1(_BYTES).hexdigest(),
        "sha256Checksum": hashlib.sha256(_BYTES).hexdigest(),
    }
    assert world.a.files().get_media(fileId=file_id).execute() == _BYTES


def test_file_made_from_metadata_is_empty(world: World) -> None:
    body = {"name": "empty", "parents": [world.folder]}
    file_id = world.a.files().create(body=body).execute()["id"]
    assert world.get(file_id, "size,md5Checksum") == {"size": "0", "md5Checksum": hashlib.md5(b"").hexdigest()}
    assert world.a.files().get_media(fileId=file_id).execute() == b""


def test_folder_has_no_size_digest_or_content(world: World) -> None:
    folder = world.make("folder", None)
    assert world.get(folder, "mimeType,size,md5Checksum,headRevisionId") == {"mimeType": FOLDER}
    assert refused(world.a.files().get_media(fileId=folder).execute) == (403, "fileNotDownloadable")


def test_file_without_a_parent_is_in_the_root(world: World) -> None:
    file_id = world.a.files().create(body={"name": "in the root"}).execute()["id"]
    world._made.append((world.a, file_id))
    assert world.get(file_id, "parents")["parents"] == [world.get("root", "id")["id"]]


@pytest.mark.parametrize("size", [0, 1000, 600_000])
def test_resumable_upload_appears_when_complete(world: World, size: int) -> None:
    content = (bytes(range(256)) * 2400)[:size]
    file_id = new_id(world.a)
    stream = MediaIoBaseUpload(io.BytesIO(content), "application/octet-stream", chunksize=262144, resumable=True)
    body = {"name": "large", "parents": [world.folder], "id": file_id}
    request = world.a.files().create(body=body, media_body=stream, fields="id,size,md5Checksum")
    made = None
    while made is None:
        assert refused(world.a.files().get(fileId=file_id).execute)[0] == 404
        _, made = request.next_chunk(num_retries=0)
    assert made == {"id": file_id, "size": str(size), "md5Checksum": hashlib.md5(content).hexdigest()}


def test_progress_of_an_upload_can_be_read(world: World) -> None:
    headers = {"content-type": "application/json", "x-upload-content-length": "300000"}
    body = json.dumps({"name": "slow", "parents": [world.folder]}).encode()
    response, _ = _raw(world.a, "POST", "/upload/drive/v3/files?uploadType=resumable", headers, body)
    path = response["location"].removeprefix("https://www.googleapis.com")
    assert response.status == 200

    def put(content: bytes, content_range: str) -> Any:
        return _raw(world.a, "PUT", path, {"content-range": content_range}, content)[0]

    assert put(b"", "bytes */300000").status == 308
    assert put(b"x" * 262144, "bytes 0-262143/300000")["range"] == "bytes=0-262143"
    assert put(b"", "bytes */300000")["range"] == "bytes=0-262143"
    assert put(b"x" * 37856, "bytes 262144-299999/300000").status in {200, 201}
    assert put(b"", "bytes */300000").status in {200, 201}
    world.eventually(lambda: world.search("name = 'slow'"), ["slow"])


# Reading


def test_byte_ranges_can_be_read(world: World) -> None:
    file_id = world.make("file", b"0123456789")
    path = f"/drive/v3/files/{file_id}?alt=media"
    for wanted, status, part, content_range in (
        ("bytes=2-4", 206, b"234", "bytes 2-4/10"),
        ("bytes=8-", 206, b"89", "bytes 8-9/10"),
        ("bytes=5-100", 206, b"56789", "bytes 5-9/10"),
        ("bytes=-3", 206, b"789", "bytes 7-9/10"),
        ("bytes=10-", 416, None, "bytes */10"),
    ):
        response, body = _raw(world.a, "GET", path, {"range": wanted})
        assert (response.status, response["content-range"]) == (status, content_range)
        assert part in {None, body}


@pytest.mark.parametrize("content", [b"", b"x", b"0123456789"])
def test_chunked_download_returns_all_bytes(world: World, content: bytes) -> None:
    file_id = world.make("file", content)
    stream = io.BytesIO()
    download = MediaIoBaseDownload(stream, world.a.files().get_media(fileId=file_id), chunksize=4)
    done = False
    while not done:
        _, done = download.next_chunk()
    assert stream.getvalue() == content


def test_response_has_few_fields_by_default(world: World) -> None:
    file_id = world.make("file", b"x")
    assert world.a.files().get(fileId=file_id).execute().keys() == {"kind", "id", "name", "mimeType"}
    listed = world.a.files().list(q=f"'{world.folder}' in parents").execute()
    assert listed.keys() == {"kind", "incompleteSearch", "files"}
    assert listed["files"][0].keys() == {"kind", "id", "name", "mimeType"}
    nested = world.get(file_id, "id,owners/emailAddress,capabilities(canEdit,canDelete)")
    assert nested == {
        "id": file_id,
        "owners": [{"emailAddress": world.a_email}],
        "capabilities": {"canEdit": True, "canDelete": True},
    }


@pytest.mark.parametrize("fields", ["nonexistentfield", "id,owners/nonsense", "id(", "files(id)"])
def test_unknown_field_is_refused(world: World, fields: str) -> None:
    file_id = world.make("file")
    assert refused(lambda: world.get(file_id, fields)) == (400, "invalidParameter")


def test_create_with_an_unknown_field_makes_nothing(world: World) -> None:
    body = {"name": "file", "parents": [world.folder]}
    assert refused(world.a.files().create(body=body, fields="nonsense").execute)[0] == 400
    assert world.search() == []


def test_about_requires_fields(world: World) -> None:
    path = "/drive/v3/about"
    response, body = _raw(world.a, "GET", path)
    assert (response.status, json.loads(body)["error"]["errors"][0]["reason"]) == (400, "required")
    about = world.a.about().get(fields="user(emailAddress,permissionId,me),storageQuota").execute()
    assert about["user"]["me"] is True
    assert int(about["storageQuota"]["usage"]) >= 0


# Access


def test_unshared_file_is_not_found(world: World) -> None:
    file_id = world.make("file", b"x")
    files = world.b.files()
    for call in (
        files.get(fileId=file_id),
        files.get_media(fileId=file_id),
        files.update(fileId=file_id, body={"name": "mine"}),
        files.update(fileId=file_id, media_body=media(b"mine")),
        files.delete(fileId=file_id),
        files.create(body={"name": "x", "parents": [world.folder]}),
        world.b.permissions().list(fileId=file_id),
        files.get(fileId=_UNKNOWN_ID),
    ):
        assert refused(call.execute) == (404, "notFound")
    assert world.search(by=world.b) == []


def test_folder_reader_can_only_read(world: World) -> None:
    old = world.make("old", b"old")
    world.grant("reader")
    new = world.make("new", b"new")
    files = world.b.files()
    world.eventually(lambda: sorted(world.search(by=world.b)), ["new", "old"])
    assert files.get_media(fileId=old).execute() == b"old"
    assert files.get_media(fileId=new).execute() == b"new"
    for call in (
        files.update(fileId=new, body={"name": "mine"}),
        files.update(fileId=new, media_body=media(b"mine")),
        files.update(fileId=new, body={"trashed": True}),
        files.delete(fileId=new),
        files.create(body={"name": "x", "parents": [world.folder]}),
        world.b.permissions().list(fileId=new),
    ):
        assert refused(call.execute) == (403, "insufficientFilePermissions")


def test_owner_and_reader_see_different_fields(world: World) -> None:
    file_id = world.make("file", b"x")
    fields = "ownedByMe,shared,parents,capabilities(canEdit,canDelete,canShare),permissions(emailAddress,role)"
    assert world.get(file_id, fields)["shared"] is False
    world.grant("reader", file_id)
    own, theirs = world.get(file_id, fields), world.get(file_id, fields, by=world.b)
    assert own["shared"]
    assert own["ownedByMe"]
    assert own["parents"] == [world.folder]
    assert {each["role"] for each in own["permissions"]} == {"owner", "reader"}
    assert theirs == {
        "ownedByMe": False,
        "shared": True,
        "capabilities": {"canEdit": False, "canDelete": False, "canShare": False},
    }


def test_folder_writer_can_change_but_not_delete(world: World) -> None:
    theirs = world.make("theirs", b"old")
    world.grant("writer")
    world.b.files().update(fileId=theirs, body={"name": "renamed"}, media_body=media(b"new")).execute()
    assert world.a.files().get_media(fileId=theirs).execute() == b"new"
    assert world.get(theirs, "name,lastModifyingUser/emailAddress") == {
        "name": "renamed",
        "lastModifyingUser": {"emailAddress": world.b_email},
    }
    for call in (
        world.b.files().delete(fileId=theirs),
        world.b.files().update(fileId=theirs, body={"trashed": True}),
    ):
        assert refused(call.execute) == (403, "insufficientFilePermissions")


def test_writer_owns_the_files_it_adds(
    world: World,
) -> None:
    world.grant("writer")
    theirs = world.make("theirs", b"x", by=world.b)
    assert world.get(theirs, "ownedByMe,capabilities(canEdit,canDelete)") == {
        "ownedByMe": False,
        "capabilities": {"canEdit": True, "canDelete": False},
    }
    assert refused(world.a.files().delete(fileId=theirs).execute) == (403, "insufficientFilePermissions")


def test_second_grant_keeps_the_higher_role(world: World) -> None:
    first = world.grant("writer")
    assert world.grant("reader") == first
    listed = world.a.permissions().list(fileId=world.folder, fields="permissions(id,role,emailAddress,type)").execute()
    roles = {each["emailAddress"]: each["role"] for each in listed["permissions"]}
    assert roles == {world.a_email: "owner", world.b_email: "writer"}
    assert world.b.about().get(fields="user/permissionId").execute()["user"]["permissionId"] == first


def test_revoked_reader_loses_access(world: World) -> None:
    file_id = world.make("file", b"x")
    permission = world.grant("reader")
    world.eventually(lambda: world.search(by=world.b), ["file"])
    assert world.a.permissions().delete(fileId=world.folder, permissionId=permission).execute() == ""
    world.eventually(lambda: world.search(by=world.b), [])
    assert refused(world.b.files().get(fileId=file_id).execute) == (404, "notFound")
    gone = world.a.permissions().delete(fileId=world.folder, permissionId=permission)
    assert refused(gone.execute)[0] == 404


def test_folder_grant_cannot_be_revoked_on_a_file(world: World) -> None:
    file_id = world.make("file", b"x")
    permission = world.grant("reader")
    assert refused(world.a.permissions().delete(fileId=file_id, permissionId=permission).execute)[0] == 403


# Changing and deleting


def test_new_content_keeps_the_id(world: World) -> None:
    file_id = world.make("file", b"old")
    before = world.get(file_id, "headRevisionId,version")
    after = world.a.files().update(fileId=file_id, media_body=media(b"new!"), fields="*").execute()
    assert (after["id"], after["size"], after["name"]) == (file_id, "4", "file")
    assert after["headRevisionId"] != before["headRevisionId"]
    assert int(after["version"]) > int(before["version"])


def test_conditional_headers_are_ignored(world: World) -> None:
    file_id = world.make("file", b"old")
    path = f"/upload/drive/v3/files/{file_id}?uploadType=media"
    for name, value in (("if-match", '"another"'), ("if-none-match", "*")):
        assert _raw(world.a, "PATCH", path, {name: value}, b"new")[0].status == 200
    assert "etag" not in _raw(world.a, "GET", f"/drive/v3/files/{file_id}")[0]


def test_http_put_of_content_is_not_found(world: World) -> None:
    file_id = world.make("file", b"old")
    assert _raw(world.a, "PUT", f"/upload/drive/v3/files/{file_id}?uploadType=media", {}, b"new")[0].status == 404


def test_file_moves_by_changing_its_parents(world: World) -> None:
    folder, file_id = world.make("folder", None), world.make("file")
    moved = world.a.files().update(fileId=file_id, addParents=folder, removeParents=world.folder, fields="parents")
    assert moved.execute() == {"parents": [folder]}
    direct = world.a.files().update(fileId=file_id, body={"parents": [world.folder]})
    assert refused(direct.execute) == (403, "fieldNotWritable")


def test_deleting_a_folder_deletes_its_files(world: World) -> None:
    folder = world.make("folder", None)
    file_id = world.make("file", b"x", parent=folder)
    assert world.a.files().delete(fileId=folder).execute() == ""
    for each in (folder, file_id):
        assert refused(world.a.files().get(fileId=each).execute) == (404, "notFound")
        assert refused(world.a.files().delete(fileId=each).execute) == (404, "notFound")


def test_files_of_others_survive_a_deleted_folder(world: World) -> None:
    folder = world.make("folder", None)
    world.grant("writer", folder)
    theirs = world.make("theirs", b"x", by=world.b, parent=folder)
    world.a.files().delete(fileId=folder).execute()
    assert world.b.files().get_media(fileId=theirs).execute() == b"x"


def test_trashed_files_are_listed_by_default(world: World) -> None:
    folder = world.make("folder", None)
    file_id = world.make("file", b"x", parent=folder)
    world.a.files().update(fileId=folder, body={"trashed": True}).execute()
    assert world.get(folder, "trashed,explicitlyTrashed") == {"trashed": True, "explicitlyTrashed": True}
    world.eventually(lambda: world.get(file_id, "trashed,explicitlyTrashed")["trashed"], True)
    assert world.get(file_id, "explicitlyTrashed") == {"explicitlyTrashed": False}
    world.eventually(world.search, ["folder"])
    world.eventually(lambda: world.search("trashed = false"), [])
    world.a.files().update(fileId=folder, body={"trashed": False}).execute()
    world.eventually(lambda: world.get(file_id, "trashed"), {"trashed": False})


def test_readers_can_read_trashed_files(world: World) -> None:
    file_id = world.make("file", b"x")
    world.grant("reader")
    world.a.files().update(fileId=file_id, body={"trashed": True}).execute()
    assert world.get(file_id, "trashed", by=world.b) == {"trashed": True}


def test_properties_are_shared_and_cleared_by_null(world: World) -> None:
    file_id = world.make("file", properties={"k": "v", "other": "ü"}, appProperties={"own": "1"})
    world.grant("reader")
    world.eventually(lambda: world.get(file_id, "properties", by=world.b), {"properties": {"k": "v", "other": "ü"}})
    world.a.files().update(fileId=file_id, body={"properties": {"k": None}}).execute()
    assert world.get(file_id, "properties,appProperties") == {
        "properties": {"other": "ü"},
        "appProperties": {"own": "1"},
    }


def test_size_and_number_of_properties_are_limited(world: World) -> None:
    world.make("largest", properties={"k" * 24: "v" * 100})
    world.make("most", properties={f"k{number}": "v" for number in range(30)})
    assert refused(lambda: world.make("larger", properties={"k" * 24: "v" * 101}))[0] in {400, 403}
    assert refused(lambda: world.make("ü", properties={"k": "ü" * 62}))[0] in {400, 403}
    assert refused(lambda: world.make("more", properties={f"k{number}": "v" for number in range(31)}))[0] in {400, 403}


# Searching


_NAMES = ["Model-weights_7.bin", "it's a \\ name", "model", "other"]


@pytest.mark.parametrize(
    ("condition", "found"),
    [
        ("name = 'MODEL'", ["model"]),
        ("name contains 'mod'", ["Model-weights_7.bin", "model"]),
        ("name contains 'WEI'", ["Model-weights_7.bin"]),
        ("name contains 'eights'", []),
        ("name contains 'bin model'", ["Model-weights_7.bin"]),
        (r"name = 'it\'s a \\ name'", ["it's a \\ name"]),
        ("name != 'model' and not name contains 'other'", ["Model-weights_7.bin", "it's a \\ name"]),
        ("name = 'model' or name = 'other'", ["model", "other"]),
        ("(name = 'model' or name = 'other') and name contains 'o'", ["other"]),
        ("name = 'other' or name = 'model' and name contains 'mod'", ["model"]),
        ("name = 'other' or (name = 'model' and name contains 'mod')", ["model", "other"]),
        ("name = 'model' and name contains 'mod' or name = 'other'", ["model", "other"]),
        ("shortcutDetails.targetId = 'nothing'", []),
        ("properties has {key='number' and value='2'}", ["model"]),
        ("properties has {key='number' and value='9'}", []),
        ("mimeType = 'application/vnd.google-apps.folder'", []),
        ("trashed = false and 'me' in owners and name = 'other'", ["other"]),
        ("modifiedTime > '2020-01-01T00:00:00' and name = 'other'", ["other"]),
        ("createdTime < '2020-01-01T00:00:00'", []),
    ],
)
def test_search_returns_the_matching_files(world: World, condition: str, found: list[str]) -> None:
    for number, name in enumerate(_NAMES):
        world.make(name, properties={"number": str(number)})
    world.eventually(lambda: sorted(world.search(condition)), found)


def test_search_covers_several_folders(world: World) -> None:
    one, other = world.make("one", None), world.make("other", None)
    world.make("in one", parent=one)
    world.make("in other", parent=other)
    q = f"'{one}' in parents or '{other}' in parents"
    world.eventually(lambda: sorted(names(world.a, q)), ["in one", "in other"])


@pytest.mark.parametrize(
    "q",
    ["nonsense", "name", "name =", "name = x", "name = 'x", "(name = 'x'", "trashed = 'yes'", "name > 'x' and", "'x'"],
)
def test_malformed_search_is_refused(world: World, q: str) -> None:
    assert refused(world.a.files().list(q=q).execute) == (400, "invalid")


def test_long_search_is_sent_as_a_form(world: World) -> None:
    world.make("file")
    condition = " or ".join(f"name = 'no file has this name {number}'" for number in range(100))
    world.eventually(lambda: world.search(f"name = 'file' or {condition}"), ["file"])


def test_search_results_come_in_pages(world: World) -> None:
    expected = [f"file {number}" for number in range(7)]
    for name in expected:
        world.make(name)
    world.eventually(lambda: world.search(pageSize=3, orderBy="name"), expected)
    page = world.a.files().list(q=f"'{world.folder}' in parents", pageSize=3).execute()
    assert len(page["files"]) == 3
    assert refused(world.a.files().list(q="name = 'another'", pageToken=page["nextPageToken"]).execute)[0] == 400
    assert refused(world.a.files().list(pageToken="nonsense").execute)[0] == 400


@pytest.mark.parametrize(
    ("order", "found"),
    [
        ("name", ["10", "9", "a", "z"]),
        ("name desc", ["z", "a", "9", "10"]),
        ("name_natural", ["9", "10", "a", "z"]),
        ("createdTime", ["z", "10", "a", "9"]),
        ("folder,name", ["z", "10", "9", "a"]),
        ("modifiedTime desc", ["9", "a", "10", "z"]),
    ],
)
def test_search_results_follow_the_requested_order(world: World, order: str, found: list[str]) -> None:
    for number, name in enumerate(("z", "10", "a", "9")):
        stamp = f"2030-01-01T00:00:0{number}Z"
        world.make(name, None if name == "z" else b"", createdTime=stamp, modifiedTime=stamp)
    world.eventually(lambda: world.search(orderBy=order), found)


def test_unknown_order_is_refused(world: World) -> None:
    assert refused(world.a.files().list(orderBy="nonsense").execute)[0] == 400


@pytest.mark.parametrize(
    "q",
    ["fullText contains 'x'", "name = 'x' and fullText contains 'x'", "trashed = false or not fullText contains 'x'"],
)
def test_order_of_a_full_text_search_is_refused(world: World, q: str) -> None:
    assert refused(world.a.files().list(q=q, orderBy="name").execute) == (400, "badRequest")
    world.a.files().list(q=q).execute()


@pytest.mark.parametrize("spaces", ["appDataFolder", "drive,appDataFolder"])
def test_space_outside_the_scopes_is_refused(world: World, spaces: str) -> None:
    assert refused(world.a.files().list(spaces=spaces).execute) == (403, "insufficientScopes")


def test_unknown_space_is_refused(world: World) -> None:
    for spaces in ("photos", "drive,photos"):
        assert refused(world.a.files().list(spaces=spaces).execute) == (400, "invalid")


def test_page_size_of_zero_is_refused(world: World) -> None:
    assert refused(world.a.files().list(pageSize=0).execute)[0] == 400


# Changes


def _start(drive: Any) -> str:
    return drive.changes().getStartPageToken().execute()["startPageToken"]


def _of(drive: Any, token: str, file_id: str, **parameters: Any) -> list[bool]:
    """Return for each change of a file whether the file was removed."""
    return [each["removed"] for each in changes_since(drive, token, **parameters)[0] if each["fileId"] == file_id]


def test_change_entry_shows_the_current_file(world: World) -> None:
    token = _start(world.a)
    file_id = world.make("old")
    world.a.files().update(fileId=file_id, body={"name": "new"}).execute()
    world.eventually(lambda: _of(world.a, token, file_id), [False])
    entries, after = changes_since(world.a, token)
    entry = next(each for each in entries if each["fileId"] == file_id)
    assert entry["file"]["name"] == "new"
    assert entry["changeType"] == "file"
    assert _of(world.a, after, file_id) == []


def test_deleted_file_is_a_removed_change(world: World) -> None:
    token = _start(world.a)
    file_id = world.make("file")
    world.a.files().delete(fileId=file_id).execute()
    world.eventually(lambda: _of(world.a, token, file_id), [True])
    assert _of(world.a, token, file_id, includeRemoved=False) == []


def test_reader_sees_share_and_revoke_as_changes(world: World) -> None:
    token = _start(world.b)
    permission = world.grant("reader")
    world.eventually(lambda: _of(world.b, token, world.folder), [False])
    world.a.permissions().delete(fileId=world.folder, permissionId=permission).execute()
    world.eventually(lambda: _of(world.b, token, world.folder), [True])


def test_reader_sees_a_new_file_as_a_change(world: World) -> None:
    world.grant("reader")
    token = _start(world.b)
    file_id = world.make("file")
    world.eventually(lambda: _of(world.b, token, file_id), [False])
    assert _of(world.b, token, file_id, restrictToMyDrive=True) == []


def test_changes_come_in_pages_oldest_first(world: World) -> None:
    token = _start(world.a)
    made = [world.make(f"file {number}") for number in range(5)]
    world.eventually(lambda: [len(_of(world.a, token, each)) for each in made], [1] * 5)
    entries, _ = changes_since(world.a, token, pageSize=2)
    assert [each["fileId"] for each in entries if each["fileId"] in made] == made


def test_changes_require_an_issued_token(world: World) -> None:
    assert _raw(world.a, "GET", "/drive/v3/changes")[0].status == 400
    assert refused(world.a.changes().list(pageToken="nonsense").execute)[0] == 400


# Batches and sign-in


def test_each_batch_call_has_its_own_response(world: World) -> None:
    file_id = world.make("file", b"x")
    answers: dict[str, Any] = {}
    batch = world.a.new_batch_http_request(callback=lambda name, found, error: answers.update({name: error or found}))
    batch.add(world.a.files().get(fileId=file_id, fields="name"), request_id="get")
    batch.add(world.a.files().get(fileId=_UNKNOWN_ID), request_id="missing")
    batch.add(world.a.files().update(fileId=file_id, body={"description": "näher"}), request_id="update")
    batch.add(world.a.permissions().list(fileId=file_id), request_id="permissions")
    gone = world.make("gone")
    batch.add(world.a.files().delete(fileId=gone), request_id="delete")
    batch.execute()
    assert answers["get"] == {"name": "file"}
    assert answers["missing"].status_code == 404
    assert answers["update"]["id"] == file_id
    assert answers["permissions"]["permissions"][0]["role"] == "owner"
    assert answers["delete"] == ""
    assert world.get(file_id, "description") == {"description": "näher"}


def test_batch_has_at_most_100_calls(world: World) -> None:
    batch = world.a.new_batch_http_request()
    for _ in range(101):
        batch.add(world.a.files().get(fileId=world.folder, fields="id"))
    with pytest.raises((HttpError, BatchError)):
        batch.execute()


def test_missing_sign_in_is_unauthenticated(world: World) -> None:
    http, uri = world.a._http.http, f"https://www.googleapis.com/drive/v3/files/{world.folder}"
    for headers, reason in (({}, "required"), ({"authorization": "Bearer nonsense"}, "authError")):
        response, body = http.request(uri, headers=headers)
        error = json.loads(body)["error"]
        assert (response.status, error["status"], error["errors"][0]["reason"]) == (401, "UNAUTHENTICATED", reason)


def test_expired_token_is_refreshed(world: World) -> None:
    world.a._http.credentials.token = "too old"
    assert world.get(world.folder, "name") == {"name": "syft-flwr conformance"}
    assert world.a._http.credentials.token != "too old"
