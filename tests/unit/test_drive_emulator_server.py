"""The emulator as a server: its command, token files, meters, page sizes and shutdown."""

import json
import os
import re
import signal
import stat
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from drive_client import create, drive_of, emulated, media, names, new_id, refused, share

import syft_flwr.emulators.gdrive as package
from syft_flwr.emulators.gdrive import Assumptions, Emulator
from syft_flwr.emulators.gdrive.meters import UNITS
from syft_flwr.emulators.gdrive.routes import NOT_EMULATED, route

A, B = "a@x.org", "b@x.org"


def _meters(url: str) -> dict[str, dict[str, object]]:
    with urllib.request.urlopen(f"{url}/emulator/meters") as answer:
        return json.load(answer)


def test_public_names_are_sorted_and_exist() -> None:
    assert sorted(package.__all__) == package.__all__
    for name in package.__all__:
        assert getattr(package, name) is not None


def test_token_file_is_private_and_replaceable(tmp_path: Path) -> None:
    with Emulator(users=[A]) as emulator:
        path = tmp_path / "a.json"
        for _ in range(2):
            emulator.write_token(A, path)
            assert stat.S_IMODE(path.stat().st_mode) == 0o600
    document = json.loads(path.read_text())
    assert document.keys() >= {"type", "client_id", "client_secret", "refresh_token", "token", "expiry", "scopes"}


def test_close_needs_no_start_and_may_repeat() -> None:
    emulator = Emulator(users=[A])
    emulator.close()
    emulator.close()


def test_close_does_not_wait_for_connections(tmp_path: Path) -> None:
    with Emulator(users=[A]) as emulator:
        emulator.write_token(A, tmp_path / "a.json")
        with drive_of(tmp_path / "a.json", emulator.url) as drive:
            assert drive.about().get(fields="user").execute()["user"]["emailAddress"] == A
            emulator.close()


def test_meter_counts_calls_units_and_bytes(tmp_path: Path) -> None:
    with Emulator(users=[A, B]) as emulator:
        emulator.write_token(A, tmp_path / "a.json")
        emulator.write_token(B, tmp_path / "b.json")
        with drive_of(tmp_path / "a.json", emulator.url) as a, drive_of(tmp_path / "b.json", emulator.url) as b:
            file_id = create(a, "message", content=b"x" * 1000, id=new_id(a))
            share(a, file_id, B)
            assert b.files().get_media(fileId=file_id).execute() == b"x" * 1000
            batch = b.new_batch_http_request()
            for _ in range(3):
                batch.add(b.files().get(fileId=file_id))
            batch.execute()
            sent, received = emulator.meter(A), emulator.meter(B)
            assert sent.calls == {"files.generateIds": 1, "files.create": 1, "permissions.create": 1}
            assert (sent.http, sent.units, sent.bytes_up, sent.bytes_down) == (3, 105, 1000, 0)
            assert received.calls == {"files.download": 1, "files.get": 3}
            assert (received.http, received.units, received.bytes_up, received.bytes_down) == (2, 215, 0, 1000)
            record = emulator.requests[-1]
            assert (record.user, record.method, record.parts, record.status) == (B, "batch", 3, 200)
            assert [(part.method, part.status, part.file_id) for part in record.calls] == [
                ("files.get", 200, file_id)
            ] * 3
            assert _meters(emulator.url)[B] == received.as_json()
            urllib.request.urlopen(f"{emulator.url}/emulator/reset", data=b"").close()
            assert emulator.meter(A).calls == {}
            assert emulator.requests == []


def test_stored_files_can_be_inspected(tmp_path: Path) -> None:
    with Emulator(users=[A]) as emulator:
        emulator.write_token(A, tmp_path / "a.json")
        with drive_of(tmp_path / "a.json", emulator.url) as a:
            folder = create(a, "out")
            create(a, "message", parent=folder, content=b"secret", properties={"k": "v"})
        kept = emulator.files(owner=A)
        assert [(file.name, file.size, file.trashed) for file in kept] == [("out", 0, False), ("message", 6, False)]
        assert (kept[1].parents, kept[1].properties) == ((folder,), {"k": "v"})
        assert emulator.content(kept[1].id) == b"secret"
        assert emulator.files(owner=B) == []


def test_same_seed_gives_same_ids(tmp_path: Path) -> None:
    made = []
    for seed in (1, 1, 2):
        with Emulator(users=[A], seed=seed) as emulator:
            emulator.write_token(A, tmp_path / "a.json")
            with drive_of(tmp_path / "a.json", emulator.url) as a:
                made.append(a.files().generateIds(count=5).execute()["ids"])
    assert made[0] == made[1] != made[2]
    assert {len(file_id) for file_id in made[0]} == {33}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_command_reports_ready_and_ends_on_signal(number: signal.Signals, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "syft_flwr.emulators.gdrive", "--tokens", str(tmp_path / "tokens")]
    process = subprocess.Popen(
        [*command, "--user", A, "--user", B], stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, env=os.environ
    )
    assert process.stdout
    with process.stdout as output:
        ready = json.loads(output.readline())
        assert ready["tokens"].keys() == {A, B}
        with drive_of(Path(ready["tokens"][A]), ready["url"]) as drive:
            drive.files().create(body={"name": "file"}, media_body=media(b"content")).execute()
        assert _meters(ready["url"])[A]["calls"] == {"files.create": 1}
        process.send_signal(number)
        assert process.wait(20) == 0
        assert output.read() == b""


def test_concurrent_clients_are_served_and_counted(tmp_path: Path) -> None:
    users = [f"u{number}@x.org" for number in range(6)]
    with emulated(tmp_path, *users) as (emulator, *drives):

        def work(drive: Any, name: str) -> None:
            folder = create(drive, name)
            for number in range(10):
                content = f"{name} {number}".encode()
                file_id = create(drive, f"{name} {number}", parent=folder, content=content, id=new_id(drive))
                assert drive.files().get_media(fileId=file_id).execute() == content
            share(drive, folder, users[0])
            assert len(names(drive, f"'{folder}' in parents")) == 10

        with ThreadPoolExecutor(len(users)) as pool:
            list(pool.map(work, drives, users))
        assert len(emulator.files()) == 11 * len(users)
        for user in users:
            meter = emulator.meter(user)
            assert meter.calls == {
                "files.create": 11,
                "files.generateIds": 10,
                "files.download": 10,
                "permissions.create": 1,
                "files.list": 1,
            }
            assert (meter.http, meter.units) == (33, 11 * 50 + 10 * 5 + 10 * 200 + 50 + 100)
        assert len(emulator.requests) == 33 * len(users)
        assert len(names(drives[0], "mimeType = 'application/vnd.google-apps.folder'")) == len(users)


def test_user_email_ignores_case(tmp_path: Path) -> None:
    with emulated(tmp_path, "Ann@X.org") as (emulator, ann):
        create(ann, "file", content=b"x")
        assert emulator.meter("ANN@x.org").calls == {"files.create": 1}
        assert len(emulator.files("Ann@X.org")) == 1


def _of_files(drive: Any, asked: int) -> Any:
    return drive.files().list(pageSize=asked)


def _of_changes(drive: Any, asked: int) -> Any:
    return drive.changes().list(pageToken="1", pageSize=asked)


def _of_grants(drive: Any, asked: int) -> Any:
    return drive.permissions().list(fileId="root", pageSize=asked)


def _of_drives(drive: Any, asked: int) -> Any:
    return drive.drives().list(pageSize=asked)


_LARGEST = [(_of_files, 1000), (_of_changes, 1000), (_of_grants, 100), (_of_drives, 100)]


@pytest.mark.parametrize(("call", "largest"), _LARGEST)
def test_page_size_out_of_range_is_refused(tmp_path: Path, call: Callable[[Any, int], Any], largest: int) -> None:
    with emulated(tmp_path, A) as (_, a):
        for asked in (-5, 0, largest + 1, 999_999_999):
            assert refused(call(a, asked).execute) == (400, "invalidParameter")
        for asked in (1, largest):
            call(a, asked).execute()


@pytest.mark.parametrize(("call", "largest"), _LARGEST)
def test_large_page_size_can_be_lowered(tmp_path: Path, call: Callable[[Any, int], Any], largest: int) -> None:
    with emulated(tmp_path, A, assumptions=Assumptions(large_pages_are_refused=False)) as (_, a):
        call(a, largest + 1).execute()
        assert refused(call(a, 0).execute) == (400, "invalidParameter")


def test_page_has_the_requested_size(tmp_path: Path) -> None:
    with emulated(tmp_path, A) as (_, a):
        for number in range(5):
            create(a, f"file {number}", id=new_id(a))
        assert len(a.files().list(pageSize=3).execute()["files"]) == 3


def test_permissions_are_listed_in_pages(tmp_path: Path) -> None:
    people = [f"u{number}@x.org" for number in range(4)]
    with emulated(tmp_path, A, *people) as (_, a, *_others):
        file_id = create(a, "file")
        for email in people:
            share(a, file_id, email)
        found, token, pages = [], None, 0
        while pages == 0 or token:
            call = a.permissions().list(fileId=file_id, pageSize=2, pageToken=token, fields="*")
            page = call.execute()
            found += [each["emailAddress"] for each in page["permissions"]]
            token, pages = page.get("nextPageToken"), pages + 1
        assert (sorted(found), pages) == ([A, *people], 3)
        assert len(a.permissions().list(fileId=file_id).execute()["permissions"]) == 5
        for bad in ("x", "-1"):
            assert refused(a.permissions().list(fileId=file_id, pageToken=bad).execute) == (400, "invalid")


def test_list_of_shared_drives_is_empty(tmp_path: Path) -> None:
    with emulated(tmp_path, A) as (_, a):
        assert a.drives().list().execute() == {"kind": "drive#driveList", "drives": []}


@pytest.mark.parametrize(
    ("resource", "method", "parameters"),
    [
        ("apps", "list", {}),
        ("changes", "watch", {"pageToken": "1", "body": {}}),
        ("channels", "stop", {"body": {}}),
        ("comments", "list", {"fileId": "x"}),
        ("drives", "get", {"driveId": "x"}),
        ("drives", "create", {"requestId": "x", "body": {}}),
        ("files", "copy", {"fileId": "x", "body": {}}),
        ("files", "export", {"fileId": "x", "mimeType": "text/plain"}),
        ("files", "listLabels", {"fileId": "x"}),
        ("files", "watch", {"fileId": "x", "body": {}}),
        ("replies", "list", {"fileId": "x", "commentId": "y"}),
        ("revisions", "list", {"fileId": "x"}),
        ("revisions", "get", {"fileId": "x", "revisionId": "y"}),
        ("teamdrives", "list", {}),
    ],
)
def test_unsupported_method_returns_json_error(
    tmp_path: Path, resource: str, method: str, parameters: dict[str, Any]
) -> None:
    with emulated(tmp_path, A) as (emulator, a):
        call = getattr(getattr(a, resource)(), method)(**parameters)
        assert refused(call.execute) == (501, "notImplemented")
        assert emulator.meter(A).calls == {}
        batch, errors = a.new_batch_http_request(), []
        batch.add(call, callback=lambda _id, _answer, error: errors.append(error.status_code))
        batch.execute()
        assert errors == [501]


def test_every_drive_method_is_known(tmp_path: Path) -> None:
    with emulated(tmp_path, A) as (_, a):
        found = list(_all_methods(a._rootDesc))
    assert len(found) > 50
    for http_method, path, name in found:
        method = route(http_method, f"/drive/v3/{re.sub(r'{.*?}', 'x', path)}", {}, {}).method
        assert method == name or (method == NOT_EMULATED and name not in UNITS), name


def _all_methods(resource: dict[str, Any]) -> Iterator[tuple[str, str, str]]:
    for method in resource.get("methods", {}).values():
        # Google's method of this name starts an export. The emulator uses the name for downloads of content.
        if method["id"] != "drive.files.download":
            yield method["httpMethod"], method.get("flatPath", method["path"]), method["id"].removeprefix("drive.")
    for inner in resource.get("resources", {}).values():
        yield from _all_methods(inner)
