"""Resumable uploads: chunks, broken connections, repeated requests and refused chunks."""

import hashlib
import http.client
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from drive_client import create, drive_of, new_id, refused
from googleapiclient.errors import HttpError
from googleapiclient.http import MediaInMemoryUpload

from syft_flwr.emulators.gdrive import Emulator, Fault
from syft_flwr.testing import FakeClock

A = "a@x.org"
GRAIN = 256 * 1024
CONTENT = bytes(range(256)) * 4096  # 1 MiB


@pytest.fixture
def emulator() -> Iterator[Emulator]:
    with Emulator(users=[A]) as emulator:
        yield emulator


@pytest.fixture
def drive(emulator: Emulator, tmp_path: Path) -> Iterator[Any]:
    emulator.write_token(A, tmp_path / "a.json")
    with drive_of(tmp_path / "a.json", emulator.url) as drive:
        yield drive


def _upload(drive: Any, content: bytes, *, piece: int = GRAIN, **body: Any) -> Any:
    media = MediaInMemoryUpload(content, "application/octet-stream", chunksize=piece, resumable=True)
    fields = "id,size,sha256Checksum,name"
    return drive.files().create(body={"name": "big", **body}, media_body=media, fields=fields)


def _finish(upload: Any) -> dict[str, Any]:
    answer = None
    while answer is None:
        _, answer = upload.next_chunk(num_retries=0)
    return answer


def _put(emulator: Emulator, address: str, body: bytes, content_range: str | None) -> tuple[int, dict[str, str], bytes]:
    """Send one chunk without a login; return the status, the headers and the content of the response."""
    url = urlsplit(address)
    connection = http.client.HTTPConnection("127.0.0.1", urlsplit(emulator.url).port, timeout=10)
    headers = {} if content_range is None else {"Content-Range": content_range}
    connection.request("PUT", f"{url.path}?{url.query}", body, headers)
    answer = connection.getresponse()
    result = answer.status, dict(answer.getheaders()), answer.read()
    connection.close()
    return result


def _open(drive: Any, size: int = len(CONTENT), **body: Any) -> str:
    """Start an upload without sending content; return the address of the session."""
    request = _upload(drive, b"\0" * size, **body)
    headers = {
        "content-type": "application/json",
        "x-upload-content-length": str(size),
        "x-upload-content-type": "application/octet-stream",
    }
    answer, _ = request.http.request(request.uri, method="POST", body=request.body, headers=headers)
    assert answer.status == 200
    return answer["location"]


@pytest.mark.parametrize("size", [0, 1, GRAIN, GRAIN + 1, len(CONTENT)])
@pytest.mark.parametrize("piece", [GRAIN, -1, 8 * GRAIN])
def test_chunked_upload_arrives_unchanged(drive: Any, size: int, piece: int) -> None:
    made = _finish(_upload(drive, CONTENT[:size], piece=piece))
    assert made["size"] == str(size)
    assert made["sha256Checksum"] == hashlib.sha256(CONTENT[:size]).hexdigest()
    assert drive.files().get_media(fileId=made["id"]).execute() == CONTENT[:size]


def test_upload_address_has_the_host_of_google(drive: Any) -> None:
    assert _open(drive).startswith("https://www.googleapis.com/upload/drive/v3/files?")


def test_file_appears_after_the_last_chunk(emulator: Emulator, drive: Any) -> None:
    file_id = new_id(drive)
    upload = _upload(drive, CONTENT, id=file_id)
    for _ in range(3):
        assert upload.next_chunk(num_retries=0)[1] is None
        assert emulator.files() == []
        assert refused(drive.files().get(fileId=file_id).execute) == (404, "notFound")
    assert upload.next_chunk(num_retries=0)[1]["id"] == file_id


def test_taken_id_is_refused_at_start_and_end(emulator: Emulator, drive: Any) -> None:
    file_id = new_id(drive)
    address = _open(drive, 1, id=file_id)
    create(drive, "first", content=b"", id=file_id)
    assert _put(emulator, address, b"x", "bytes 0-0/1")[0] == 409
    with pytest.raises(HttpError) as refusal:
        _upload(drive, b"x", id=file_id).next_chunk(num_retries=0)
    assert refusal.value.status_code == 409
    assert [file.name for file in emulator.files()] == ["first"]


def test_cut_upload_keeps_whole_multiples(emulator: Emulator, drive: Any) -> None:
    fault = emulator.inject(Fault("drop_upload", method="upload.chunk", at=GRAIN + 1000, reset=True))
    upload = _upload(drive, CONTENT, piece=4 * GRAIN)
    with pytest.raises(ConnectionError):
        upload.next_chunk(num_retries=0)
    assert fault.fired == 1
    upload._in_error_state = True  # as after an error response
    _, answer = upload.next_chunk(num_retries=0)
    made = answer or _finish(upload)
    assert made["sha256Checksum"] == hashlib.sha256(CONTENT).hexdigest()
    sent = [record for record in emulator.requests if record.method == "upload.chunk"]
    assert [record.status for record in sent] == [0, 200]
    assert sent[1].bytes_in == len(CONTENT) - GRAIN


def test_upload_status_reports_stored_bytes(emulator: Emulator, drive: Any) -> None:
    address = _open(drive)
    status, headers, _ = _put(emulator, address, b"", f"bytes */{len(CONTENT)}")
    assert status == 308
    assert "Range" not in headers
    assert _put(emulator, address, CONTENT[:GRAIN], f"bytes 0-{GRAIN - 1}/{len(CONTENT)}")[0] == 308
    status, headers, _ = _put(emulator, address, b"", "bytes */*")
    assert (status, headers["Range"]) == (308, f"bytes=0-{GRAIN - 1}")


def test_final_response_can_be_asked_again(emulator: Emulator, drive: Any) -> None:
    emulator.inject(Fault("lose_final"))
    address = _open(drive, 10)
    with pytest.raises(http.client.RemoteDisconnected):
        _put(emulator, address, b"0123456789", "bytes 0-9/10")
    assert [file.size for file in emulator.files()] == [10]
    for body, content_range in ((b"", "bytes */10"), (b"0123456789", "bytes 0-9/10")):
        status, _, answer = _put(emulator, address, body, content_range)
        assert (status, json.loads(answer)["id"]) == (200, emulator.files()[0].id)
    assert len(emulator.files()) == 1


def test_stored_bytes_are_not_appended_again(emulator: Emulator, drive: Any) -> None:
    address = _open(drive, 2 * GRAIN)
    assert _put(emulator, address, CONTENT[:GRAIN], f"bytes 0-{GRAIN - 1}/{2 * GRAIN}")[0] == 308
    assert _put(emulator, address, CONTENT[: 2 * GRAIN], f"bytes 0-{2 * GRAIN - 1}/{2 * GRAIN}")[0] == 200
    assert emulator.content(emulator.files()[0].id) == CONTENT[: 2 * GRAIN]


@pytest.mark.parametrize("total", [str(len(CONTENT)), "*"])
@pytest.mark.parametrize(
    ("size", "kept"),
    [(GRAIN, GRAIN), (GRAIN + 1, GRAIN), (2 * GRAIN - 1, GRAIN), (2 * GRAIN, 2 * GRAIN), (3 * GRAIN + 5, 3 * GRAIN)],
)
def test_middle_chunk_is_kept_in_whole_multiples(
    emulator: Emulator, drive: Any, size: int, kept: int, total: str
) -> None:
    address = _open(drive)
    status, headers, _ = _put(emulator, address, CONTENT[:size], f"bytes 0-{size - 1}/{total}")
    assert (status, headers["Range"]) == (308, f"bytes=0-{kept - 1}")
    assert emulator.meter(A).bytes_up == kept
    rest = f"bytes {kept}-{len(CONTENT) - 1}/{len(CONTENT)}"
    assert _put(emulator, address, CONTENT[kept:], rest)[0] == 200
    assert emulator.content(emulator.files()[0].id) == CONTENT


def test_chunk_after_a_gap_is_refused(emulator: Emulator, drive: Any) -> None:
    address = _open(drive)
    size = GRAIN + 1000
    assert _put(emulator, address, CONTENT[:size], f"bytes 0-{size - 1}/{len(CONTENT)}")[0] == 308
    rest = f"bytes {size}-{len(CONTENT) - 1}/{len(CONTENT)}"
    assert _put(emulator, address, CONTENT[size:], rest)[0] == 400
    assert emulator.files() == []


def test_next_chunk_starts_at_stored_bytes(emulator: Emulator, drive: Any) -> None:
    address = _open(drive)
    size = GRAIN + 1000
    for start in (0, GRAIN):
        piece, end = CONTENT[start : start + size], start + size - 1
        status, headers, _ = _put(emulator, address, piece, f"bytes {start}-{end}/{len(CONTENT)}")
        assert (status, headers["Range"]) == (308, f"bytes=0-{start + GRAIN - 1}")


def test_google_client_may_choose_chunk_size(drive: Any) -> None:
    made = _finish(_upload(drive, CONTENT, piece=300_000))
    assert made["sha256Checksum"] == hashlib.sha256(CONTENT).hexdigest()


@pytest.mark.parametrize(
    ("body", "content_range"),
    [
        (b"x" * 1000, f"bytes 0-999/{len(CONTENT)}"),
        (b"x" * (GRAIN - 1), f"bytes 0-{GRAIN - 2}/{len(CONTENT)}"),
        (b"x" * (GRAIN - 1), f"bytes 0-{GRAIN - 2}/*"),
        (b"x" * GRAIN, f"bytes 0-999/{len(CONTENT)}"),
        (b"x" * GRAIN, f"bytes {GRAIN}-{2 * GRAIN - 1}/{len(CONTENT)}"),
        (b"x" * GRAIN, f"bytes 0-{GRAIN - 1}/{GRAIN}"),
        (b"x" * GRAIN, "bytes 0-x/y"),
        (b"x" * GRAIN, None),
    ],
    ids=[
        "tiny",
        "a-byte-too-small",
        "too-small-of-unknown-total",
        "longer-than-its-range",
        "a-gap",
        "another-total",
        "invalid-range",
        "no-range",
    ],
)
def test_invalid_chunk_does_not_complete_an_upload(
    emulator: Emulator, drive: Any, body: bytes, content_range: str | None
) -> None:
    address = _open(drive)
    status, headers, _ = _put(emulator, address, body, content_range)
    if content_range is None:
        # Without a range the body counts as the whole content, but it is only the first chunk.
        assert (status, headers["Range"]) == (308, f"bytes=0-{GRAIN - 1}")
        return
    assert status == 400
    assert "Range" not in _put(emulator, address, b"", f"bytes */{len(CONTENT)}")[1]


def test_upload_expires_after_a_week(tmp_path: Path) -> None:
    clock = FakeClock()
    with Emulator(users=[A], clock=clock) as emulator:
        emulator.write_token(A, tmp_path / "a.json")
        with drive_of(tmp_path / "a.json", emulator.url) as drive:
            address = _open(drive, 10)
            clock.advance(7 * 86400 - 1)
            assert _put(emulator, address, b"", "bytes */10")[0] == 308
            clock.advance(1)
            assert _put(emulator, address, b"", "bytes */10")[0] == 404
            assert _put(emulator, address, b"0123456789", "bytes 0-9/10")[0] == 404
        assert emulator.files() == []


def test_update_keeps_id_and_adds_revision(drive: Any) -> None:
    file_id = create(drive, "small", content=b"old")
    before = drive.files().get(fileId=file_id, fields="headRevisionId,version").execute()
    media = MediaInMemoryUpload(CONTENT, "application/octet-stream", chunksize=GRAIN, resumable=True)
    request = drive.files().update(fileId=file_id, body={"name": "large"}, media_body=media, fields="*")
    after = _finish(request)
    assert (after["id"], after["name"], after["size"]) == (file_id, "large", str(len(CONTENT)))
    assert after["headRevisionId"] != before["headRevisionId"]
    assert int(after["version"]) > int(before["version"])


def test_upload_costs_one_edit_for_all_chunks(emulator: Emulator, drive: Any) -> None:
    _finish(_upload(drive, CONTENT))
    meter = emulator.meter(A)
    assert (meter.units, meter.bytes_up, meter.http) == (50, len(CONTENT), 5)
    assert meter.calls == {"files.create": 1, "upload.chunk": 4}


def test_upload_above_quota_is_refused_at_start(emulator: Emulator, drive: Any) -> None:
    emulator.set_storage(A, 1000)
    with pytest.raises(HttpError) as refusal:
        _upload(drive, CONTENT).next_chunk(num_retries=0)
    assert refusal.value.status_code == 403
    assert json.loads(refusal.value.content)["error"]["errors"][0]["reason"] == "storageQuotaExceeded"


def test_chunk_can_fail_before_or_after_commit(emulator: Emulator, drive: Any) -> None:
    address = _open(drive, GRAIN + 10)
    pieces = [
        (CONTENT[:GRAIN], f"bytes 0-{GRAIN - 1}/{GRAIN + 10}"),
        (CONTENT[:10], f"bytes {GRAIN}-{GRAIN + 9}/{GRAIN + 10}"),
    ]
    for number, (body, content_range) in enumerate(pieces):
        for committed in (False, True):
            emulator.inject(Fault("error", method="upload.chunk", committed=committed))
            assert _put(emulator, address, body, content_range)[0] == 503
            status, headers, _ = _put(emulator, address, b"", "bytes */*")
            if number == 1 and committed:
                assert status == 200
            else:
                kept = GRAIN if number or committed else 0
                assert (status, headers.get("Range")) == (308, f"bytes=0-{kept - 1}" if kept else None)
    assert emulator.content(emulator.files()[0].id) == CONTENT[:GRAIN] + CONTENT[:10]


def test_status_query_publishes_complete_upload(emulator: Emulator, drive: Any) -> None:
    address = _open(drive, GRAIN)
    emulator.inject(Fault("close_after_reading", method="upload.chunk"))
    with pytest.raises(http.client.RemoteDisconnected):
        _put(emulator, address, CONTENT[:GRAIN], f"bytes 0-{GRAIN - 1}/{GRAIN}")
    assert _put(emulator, address, b"", f"bytes */{GRAIN}")[0] == 308
    emulator.inject(Fault("drop_upload", method="upload.chunk", at=GRAIN))
    with pytest.raises(http.client.RemoteDisconnected):
        _put(emulator, address, CONTENT[:GRAIN], f"bytes 0-{GRAIN - 1}/{GRAIN}")
    assert emulator.files() == []
    assert _put(emulator, address, b"", f"bytes */{GRAIN}")[0] == 200
    assert [file.size for file in emulator.files()] == [GRAIN]
