"""Rate limits, quotas and latency of the emulator, on a fake clock."""

import email.utils
import http.client
import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from drive_client import create, emulated, media, refused, share
from googleapiclient.errors import HttpError
from waiting import eventually

from syft_flwr.emulators.gdrive import Emulator, Latency, Limits
from syft_flwr.testing import FakeClock

A, B = "a@x.org", "b@x.org"
Stage = tuple[Emulator, FakeClock, Any, Any]


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    clock = FakeClock()
    with emulated(tmp_path, A, B, clock=clock) as (emulator, a, b):
        yield emulator, clock, a, b


def _about(drive: Any) -> Any:
    return drive.about().get(fields="user")


def _count(drive: Any, at_most: int) -> int:
    """Return the number of calls that succeed before the first refusal."""
    for number in range(at_most):
        try:
            _about(drive).execute()
        except HttpError:
            return number
    return at_most


def test_calls_are_limited_per_user_and_minute(stage: Stage) -> None:
    emulator, clock, a, b = stage
    emulator.limits = Limits(calls_per_minute_and_user=6)
    assert _count(a, 10) == 6
    assert refused(_about(a).execute) == (403, "userRateLimitExceeded")
    assert _count(b, 10) == 6
    clock.advance(20)
    assert _count(a, 10) == 2
    clock.advance(3600)
    assert _count(a, 10) == 6


def test_calls_are_limited_for_all_users(stage: Stage) -> None:
    emulator, _, a, b = stage
    emulator.limits = Limits(calls_per_minute=6)
    assert _count(a, 4) == 4
    assert _count(b, 10) == 2


def test_refused_calls_cost_no_units(stage: Stage) -> None:
    emulator, _, a, _ = stage
    emulator.limits = Limits(units_per_minute_and_user=110, answer="429")
    a.files().list().execute()
    assert refused(a.files().list().execute) == (429, "rateLimitExceeded")
    assert _count(a, 10) == 2
    assert emulator.meter(A).units == 110


@pytest.mark.parametrize("retry_after", [None, "seconds", "date"])
def test_limit_can_send_retry_after(stage: Stage, retry_after: str | None) -> None:
    emulator, clock, a, _ = stage
    emulator.limits = Limits(calls_per_minute_and_user=6, answer="429-html", retry_after=retry_after)
    _count(a, 10)
    with pytest.raises(HttpError) as refusal:
        _about(a).execute()
    assert refusal.value.content.startswith(b"<")
    said = refusal.value.resp.get("retry-after")
    assert (said is None) == (retry_after is None)
    if retry_after == "date":
        said = (email.utils.parsedate_to_datetime(said) - clock.now()).total_seconds()
    clock.advance(float(said or 11))
    _about(a).execute()


def test_published_limits_are_available(stage: Stage) -> None:
    assert (Limits.REAL.units_per_minute_and_user, Limits.REAL.units_per_minute) == (325_000, 1_000_000)
    assert Limits.LEGACY.calls_per_minute_and_user == 12_000
    emulator, _, a, _ = stage
    emulator.limits = Limits.REAL
    _about(a).execute()


def test_grants_are_limited_per_day(stage: Stage) -> None:
    emulator, clock, a, _ = stage
    emulator.limits = Limits(shares_per_day=2)
    files = [create(a, f"file {number}") for number in range(3)]
    share(a, files[0], B)
    clock.advance(3600)
    share(a, files[1], B)
    assert refused(lambda: share(a, files[2], B)) == (403, "sharingRateLimitExceeded")
    clock.advance(23 * 3600)
    share(a, files[2], B)


def test_uploads_are_limited_per_day(stage: Stage) -> None:
    emulator, clock, a, _ = stage
    emulator.limits = Limits(upload_per_day=1000)
    create(a, "file", content=b"x" * 800)
    assert refused(lambda: create(a, "file", content=b"x" * 300)) == (403, "userRateLimitExceeded")
    clock.advance(86400)
    create(a, "file", content=b"x" * 300)


def test_trashed_files_count_as_storage(stage: Stage) -> None:
    emulator, _, a, b = stage
    emulator.set_storage(A, 1000)
    file_id = create(a, "file", content=b"x" * 800)
    a.files().update(fileId=file_id, body={"trashed": True}).execute()
    about = a.about().get(fields="storageQuota").execute()["storageQuota"]
    assert about == {"limit": "1000", "usage": "800", "usageInDrive": "800", "usageInDriveTrash": "800"}
    assert refused(lambda: create(a, "file", content=b"x" * 300)) == (403, "storageQuotaExceeded")
    larger = a.files().update(fileId=file_id, media_body=media(b"x" * 1001))
    assert refused(larger.execute) == (403, "storageQuotaExceeded")
    create(b, "file", content=b"x" * 300)
    create(a, "folder")
    a.files().emptyTrash().execute()
    create(a, "file", content=b"x" * 300)


def test_unlimited_storage_shows_no_limit(stage: Stage) -> None:
    emulator, _, a, _ = stage
    emulator.set_storage(A, None)
    assert "limit" not in a.about().get(fields="storageQuota").execute()["storageQuota"]


def test_access_token_lasts_one_hour(stage: Stage) -> None:
    emulator, clock, a, _ = stage
    clock.advance(3598)
    _about(a).execute()
    assert emulator.meter(A).token_requests == 0
    clock.advance(1)
    _about(a).execute()
    assert emulator.meter(A).token_requests == 1


def test_page_token_expires_after_hours(stage: Stage) -> None:
    _, clock, a, _ = stage
    for number in range(3):
        create(a, f"file {number}")
    token = a.files().list(pageSize=1).execute()["nextPageToken"]
    clock.advance(3600)
    token = a.files().list(pageSize=1, pageToken=token).execute()["nextPageToken"]
    clock.advance(4 * 3600)
    assert refused(a.files().list(pageSize=1, pageToken=token).execute) == (400, "invalid")


# Latency


def _while(clock: FakeClock, task: Callable[[], Any]) -> tuple[Any, float]:
    """Advance the clock until the task is done; return its result and the seconds it took."""
    found: list[Any] = []
    thread = threading.Thread(target=lambda: found.append(task()))
    start = clock.monotonic()
    thread.start()
    while thread.is_alive():
        thread.join(0.02)
        if thread.is_alive():
            clock.advance(0.5)
    return found[0], clock.monotonic() - start


def test_latency_delays_the_response(stage: Stage) -> None:
    emulator, clock, a, b = stage
    emulator.latency = Latency({"files.create": 5.0, "files.create.media": 8.0}, up=1000.0)
    folder, taken = _while(clock, lambda: create(a, "folder"))
    assert taken >= 5.0
    _, taken = _while(clock, lambda: create(a, "file", content=b"x" * 10_000, parent=folder))
    assert taken >= 18.0
    _about(a).execute()
    emulator.set_latency(B, Latency(default=3.0))
    assert _while(clock, _about(b).execute)[1] >= 3.0
    emulator.latency = Latency(down=1000.0)
    file_id = emulator.files(A)[-1].id
    assert _while(clock, a.files().get_media(fileId=file_id).execute)[1] >= 10.0


def test_latency_is_random_but_follows_the_seed() -> None:
    from syft_flwr.emulators.gdrive.faults import Call

    calls = [Call(A, "files.get", "GET", "/", None, 0, None, number) for number in range(1000)]
    taken = [Latency.REAL.seconds(call, has_media=False, seed=1) for call in calls]
    assert taken == [Latency.REAL.seconds(call, has_media=False, seed=1) for call in calls]
    assert 0.26 < sorted(taken)[500] < 0.32
    assert len(set(taken)) == 1000
    slow = Latency.REAL.scaled(10)
    assert slow.seconds(calls[0], has_media=False, seed=1) == pytest.approx(10 * taken[0])
    assert slow.transfer(1000) == pytest.approx(10 * Latency.REAL.transfer(1000))
    assert Latency.NONE.seconds(calls[0], has_media=False, seed=1) == 0.0


def _connect(emulator: Emulator) -> closing[http.client.HTTPConnection]:
    return closing(http.client.HTTPConnection("127.0.0.1", urlsplit(emulator.url).port, timeout=10))


def test_unfinished_request_does_nothing(stage: Stage) -> None:
    emulator, _, _, _ = stage
    with _connect(emulator) as connection:
        connection.putrequest("POST", "/drive/v3/files")
        connection.putheader("Content-Length", "100")
        connection.endheaders(b"{")
    assert emulator.files() == []


@pytest.mark.parametrize("pieces", [[b"{}"], [b""], [b"x" * 1000] * 1000, [b"x" * (1 << 20)] * 8])
def test_request_without_length_is_refused(stage: Stage, pieces: list[bytes]) -> None:
    emulator, _, _, _ = stage
    for _ in range(3):
        with _connect(emulator) as connection:
            connection.request("POST", "/drive/v3/files", iter(pieces), encode_chunked=True)
            answer = connection.getresponse()
            assert (answer.status, answer.getheader("Connection")) == (411, "close")
    assert emulator.files() == []


def test_half_sent_request_ends_the_connection(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("syft_flwr.emulators.gdrive.connection._DISCARD_SECONDS", 0.05)
    emulator, _, _, _ = stage
    with socket.create_connection(("127.0.0.1", urlsplit(emulator.url).port), timeout=10) as client:
        client.sendall(b"POST /drive/v3/files HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n")
        assert client.recv(1 << 16).startswith(b"HTTP/1.1 411 ")
        eventually(lambda: not emulator._server._open, "the connection is closed")


def test_unknown_path_is_refused(stage: Stage) -> None:
    emulator, _, _, _ = stage
    with _connect(emulator) as connection:
        connection.request("GET", "/drive/v3/nonsense")
        answer = connection.getresponse()
        assert (answer.status, answer.getheader("Content-Type")) == (404, "text/html; charset=UTF-8")
        answer.read()
        connection.request("GET", "/emulator/nonsense")
        answer = connection.getresponse()
        assert answer.status == 404
        answer.read()
        connection.request("GET", "/emulator/meters")
        assert json.loads(connection.getresponse().read()) == {}
    assert emulator.files() == []
