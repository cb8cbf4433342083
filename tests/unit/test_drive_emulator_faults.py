"""Injected faults: error responses, broken connections, events during a request, and repeatable chance."""

import email.utils
import http.client
import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from drive_client import changes_since, create, emulated, media, names, new_id, refused, share
from google.auth.exceptions import RefreshError
from googleapiclient.errors import HttpError

from syft_flwr.emulators.gdrive import Call, Emulator, Fault

A, B = "a@x.org", "b@x.org"
Pair = tuple[Emulator, Any, Any]


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[Pair]:
    with emulated(tmp_path, A, B, seed=7) as (emulator, a, b):
        yield emulator, a, b


def _error_of(call: Any) -> tuple[Any, bytes]:
    with pytest.raises(HttpError) as refusal:
        call.execute()
    return refusal.value.resp, refusal.value.content


def _create(drive: Any, name: str = "file", content: bytes = b"x", **body: Any) -> Any:
    return drive.files().create(body={"name": name, **body}, media_body=media(content))


# Responses


def test_failure_may_come_before_or_after_commit(pair: Pair) -> None:
    emulator, a, _ = pair
    for committed, left in ((False, 0), (True, 1)):
        fault = emulator.inject(Fault("error", method="files.create", committed=committed))
        file_id = new_id(a)
        assert refused(_create(a, id=file_id).execute) == (503, "backendError")
        assert fault.fired == 1
        assert len(emulator.files()) == left
    assert refused(_create(a, id=file_id).execute)[0] == 409


@pytest.mark.parametrize(
    ("parameters", "status", "reason", "retry_after"),
    [
        ({"status": 500}, 500, "internalError", None),
        ({"status": 502, "retry_after": 7}, 502, "badGateway", "7"),
        ({"status": 403, "reason": "dailyLimitExceeded"}, 403, "dailyLimitExceeded", None),
    ],
)
def test_failure_has_the_given_status_and_reason(
    pair: Pair, parameters: dict[str, Any], status: int, reason: str, retry_after: str | None
) -> None:
    emulator, a, _ = pair
    emulator.inject(Fault("error", method="files.list", **parameters))
    response, content = _error_of(a.files().list())
    error = json.loads(content)["error"]
    assert (response.status, error["code"], error["errors"][0]["reason"]) == (status, status, reason)
    assert response.get("retry-after") == retry_after
    a.files().list().execute()


def test_failure_can_be_an_html_page(pair: Pair) -> None:
    emulator, a, _ = pair
    emulator.inject(Fault("error", status=502, page="<html>Bad Gateway</html>"))
    response, content = _error_of(a.files().list())
    assert (response.status, content) == (502, b"<html>Bad Gateway</html>")
    assert response["content-type"].startswith("text/html")


@pytest.mark.parametrize("answer", ["403", "429", "429-html"])
@pytest.mark.parametrize("retry_after", [None, 3, "date"])
def test_rate_limit_has_every_form_of_google(pair: Pair, answer: str, retry_after: int | str | None) -> None:
    emulator, a, _ = pair
    emulator.inject(Fault("rate_limit", method="files.get", answer=answer, retry_after=retry_after))
    response, content = _error_of(a.files().get(fileId="root"))
    assert response.status == int(answer[:3])
    assert content.startswith(b"<") == (answer == "429-html")
    said = response.get("retry-after")
    if retry_after == "date":
        assert email.utils.parsedate_to_datetime(said) is not None
    else:
        assert said == (None if retry_after is None else "3")


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("storage_full", "storageQuotaExceeded"),
        ("sharing_limit", "sharingRateLimitExceeded"),
        ("upload_limit", "userRateLimitExceeded"),
    ],
)
def test_limit_faults_return_their_reason(pair: Pair, kind: str, reason: str) -> None:
    emulator, a, _ = pair
    emulator.inject(Fault(kind))
    assert refused(_create(a).execute) == (403, reason)
    assert emulator.files() == []


def test_refused_token_is_renewed_and_call_repeated(pair: Pair) -> None:
    emulator, a, _ = pair
    emulator.inject(Fault("unauthorized", method="files.create"))
    _create(a).execute()
    assert emulator.meter(A).token_requests == 1
    assert emulator.meter(A).calls["files.create"] == 2
    assert len(emulator.files()) == 1


def test_revoked_login_cannot_be_refreshed(pair: Pair) -> None:
    emulator, a, b = pair
    emulator.revoke_token(A)
    with pytest.raises(RefreshError, match="invalid_grant"):
        a.files().list().execute()
    b.files().list().execute()


def test_refresh_can_be_refused_once(pair: Pair) -> None:
    emulator, a, _ = pair
    emulator.expire_tokens()
    emulator.inject(Fault("invalid_grant", method="token"))
    with pytest.raises(RefreshError):
        a.files().list().execute()
    a.files().list().execute()


def test_one_call_of_a_batch_can_fail(pair: Pair) -> None:
    emulator, a, _ = pair
    emulator.inject(Fault("error", method="files.get", predicate=lambda call: call.part == 1, times=None))
    answers: list[tuple[str, Any]] = []
    batch = a.new_batch_http_request(
        callback=lambda name, _, error: answers.append((name, error and error.status_code))
    )
    for name in ("first", "second", "third"):
        batch.add(a.files().get(fileId="root"), request_id=name)
    batch.execute()
    assert answers == [("first", None), ("second", 503), ("third", None)]
    assert [part.status for part in emulator.requests[-1].calls] == [200, 503, 200]
    a.files().get(fileId="root").execute()


def test_batch_can_fail_or_run_in_other_order(pair: Pair) -> None:
    emulator, a, _ = pair
    emulator.inject(Fault("error", method="batch", status=500))
    emulator.inject(Fault("shuffle_batch"))
    batch = a.new_batch_http_request()
    ids = a.files().generateIds(count=20).execute()["ids"]
    for file_id in ids:
        batch.add(a.files().create(body={"name": file_id, "id": file_id}))
    with pytest.raises(HttpError):
        batch.execute()
    assert emulator.files() == []
    batch.execute()
    made = [file.id for file in emulator.files()]
    assert sorted(made) == sorted(ids)
    assert made != ids


# Connections


def test_lost_response_makes_two_files_without_id(
    pair: Pair,
) -> None:
    emulator, a, _ = pair
    emulator.inject(Fault("lose_reply", method="files.create"))
    _create(a, "twice").execute(num_retries=0)
    assert [file.name for file in emulator.files()] == ["twice", "twice"]
    assert [record.status for record in emulator.requests] == [0, 200]


def test_lost_response_makes_one_file_with_id(pair: Pair) -> None:
    emulator, a, _ = pair
    emulator.inject(Fault("lose_reply", method="files.create"))
    file_id = new_id(a)
    assert refused(lambda: _create(a, "once", id=file_id).execute(num_retries=0))[0] == 409
    assert [file.id for file in emulator.files()] == [file_id]


def test_close_after_reading_creates_nothing(pair: Pair) -> None:
    emulator, a, _ = pair
    fault = emulator.inject(Fault("close_after_reading", method="files.create"))
    _create(a, "once").execute(num_retries=0)
    assert fault.fired == 1
    assert [file.name for file in emulator.files()] == ["once"]


def test_close_before_reading_lasts_until_healed(pair: Pair) -> None:
    emulator, a, _ = pair
    emulator.inject(Fault("close_before_reading", times=None))
    with pytest.raises((ConnectionError, http.client.HTTPException)):
        a.files().list().execute(num_retries=0)
    emulator.heal()
    a.files().list().execute()


@pytest.mark.parametrize("committed", [False, True])
def test_reset_connection_is_a_client_error(pair: Pair, committed: bool) -> None:
    emulator, a, _ = pair
    emulator.inject(Fault("reset", method="files.create", committed=committed))
    with pytest.raises(ConnectionResetError):
        _create(a).execute(num_retries=0)
    assert len(emulator.files()) == int(committed)


def test_download_can_be_cut(pair: Pair) -> None:
    emulator, a, _ = pair
    file_id = create(a, "file", content=b"0123456789")
    for keep, arrived in ((None, b"01234"), (0, b""), (9, b"012345678")):
        emulator.inject(Fault("truncate", method="files.download", keep=keep))
        with pytest.raises(http.client.IncompleteRead) as broken:
            a.files().get_media(fileId=file_id).execute(num_retries=0)
        assert broken.value.partial == arrived
    assert a.files().get_media(fileId=file_id).execute() == b"0123456789"


def test_cut_upload_leaves_nothing(pair: Pair) -> None:
    emulator, a, _ = pair
    emulator.inject(Fault("drop_upload", method="files.create", at=10, reset=True))
    with pytest.raises(ConnectionError):
        _create(a, content=b"x" * 100_000).execute(num_retries=0)
    assert emulator.files() == []
    assert emulator.requests[-1].bytes_in == 10


def test_stalled_request_is_done_after_release(tmp_path: Path) -> None:
    with emulated(tmp_path, A, timeout=1.0) as (emulator, a):
        file_id = new_id(a)
        emulator.inject(Fault("stall", method="files.create"))
        with pytest.raises(TimeoutError):
            _create(a, id=file_id).execute(num_retries=0)
        assert emulator.files() == []
        assert emulator.wait_until_stalled()
        emulator.release()
        a._http.http.timeout = 30.0
        while not emulator.files():
            a.about().get(fields="user").execute()
        assert refused(_create(a, id=file_id).execute)[0] == 409


def test_closing_the_emulator_ends_a_stall(tmp_path: Path) -> None:
    with emulated(tmp_path, A, timeout=0.2) as (emulator, a):
        emulator.inject(Fault("stall"))
        with pytest.raises(TimeoutError):
            a.files().list().execute(num_retries=0)
        emulator.close()


def test_requests_wait_while_paused(pair: Pair) -> None:
    emulator, a, b = pair
    emulator.pause()
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(create, a, "file", content=b"x")
        assert emulator.files() == []
        emulator.resume()
        waiting.result(20)
    assert len(emulator.files()) == 1
    b.files().list().execute()


# Events during a request


def test_barrier_makes_two_clients_create_twice(pair: Pair) -> None:
    emulator, a, b = pair
    folder = create(a, "shared")
    share(a, folder, B, "writer")
    emulator.inject(Fault("barrier", method="files.create", parties=2))

    def find_or_create(drive: Any) -> None:
        if not names(drive, f"'{folder}' in parents and name = 'inbox'"):
            create(drive, "inbox", parent=folder)

    threads = [threading.Thread(target=find_or_create, args=(drive,)) for drive in (a, b)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert names(a, f"'{folder}' in parents") == ["inbox", "inbox"]


def test_action_can_run_before_the_response(pair: Pair) -> None:
    emulator, a, b = pair
    folder = create(a, "shared")
    file_id = create(a, "file", content=b"x", parent=folder)
    share(a, folder, B)
    emulator.inject(Fault("run", method="files.download", action=lambda call: emulator.revoke(folder, call.user)))
    assert b.files().get(fileId=file_id, fields="size").execute() == {"size": "1"}
    assert refused(b.files().get_media(fileId=file_id).execute) == (404, "notFound")


def test_emulator_can_tamper_with_files(pair: Pair) -> None:
    emulator, a, b = pair
    folder = create(a, "shared")
    file_id = create(a, "file", content=b"good", parent=folder, properties={"k": "v"})
    emulator.share(folder, B)
    token = b.changes().getStartPageToken().execute()["startPageToken"]
    emulator.overwrite(file_id, b"evil", by=B)
    assert b.files().get_media(fileId=file_id).execute() == b"evil"
    copy = emulator.duplicate(file_id)
    assert names(b, f"'{folder}' in parents") == ["file", "file"]
    assert emulator.content(copy) == b"evil"
    emulator.trash(file_id)
    assert b.files().get(fileId=file_id, fields="trashed").execute() == {"trashed": True}
    emulator.trash(file_id, trashed=False)
    emulator.unparent(file_id)
    assert names(b, f"'{folder}' in parents") == ["file"]
    assert refused(b.files().get(fileId=file_id).execute)[0] == 404
    emulator.delete(copy)
    assert names(b, f"'{folder}' in parents") == []
    emulator.revoke(folder, B)
    assert {each["fileId"]: each["removed"] for each in changes_since(b, token)[0]} == {
        file_id: True,
        copy: True,
        folder: True,
    }
    with pytest.raises(KeyError):
        emulator.trash(copy)


def test_confirmed_grant_can_be_lost(pair: Pair) -> None:
    emulator, a, b = pair
    file_id = create(a, "file", content=b"x")
    emulator.inject(Fault("lose_grant"))
    assert share(a, file_id, B) == share(a, create(a, "other"), B)
    assert refused(b.files().get(fileId=file_id).execute)[0] == 404
    share(a, file_id, B)
    b.files().get(fileId=file_id).execute()


# Lists


def test_search_in_two_folders_can_be_empty(pair: Pair) -> None:
    emulator, a, _ = pair
    folders = [create(a, name) for name in ("one", "other")]
    for folder in folders:
        create(a, "file", parent=folder)
    q = " or ".join(f"'{folder}' in parents" for folder in folders)
    emulator.inject(Fault("empty_or"))
    assert names(a, q) == []
    assert names(a, q) == ["file", "file"]


def test_page_can_be_shorter_than_asked(pair: Pair) -> None:
    emulator, a, _ = pair
    for number in range(4):
        create(a, f"file {number}")
    emulator.inject(Fault("short_page", at_most=1, times=None))
    assert names(a, "trashed = false", orderBy="name") == [f"file {number}" for number in range(4)]
    assert emulator.meter(A).calls["files.list"] == 4


def test_changes_can_be_lost_doubled_or_reordered(pair: Pair) -> None:
    emulator, a, _ = pair
    token = a.changes().getStartPageToken().execute()["startPageToken"]
    made = [create(a, f"file {number}") for number in range(3)]

    def seen() -> list[str]:
        return [each["fileId"] for each in changes_since(a, token)[0]]

    emulator.inject(Fault("duplicate_change"))
    assert seen() == [*made, made[0]]
    emulator.inject(Fault("reorder_changes"))
    assert seen() == made[::-1]
    emulator.inject(Fault("drop_change"))
    assert seen() == made[1:]
    assert seen() == made[1:]


# Selection of calls


def test_fault_strikes_only_matching_calls(pair: Pair) -> None:
    emulator, a, b = pair
    fault = emulator.inject(Fault("error", method="files.*", user=B, after=1, times=2))
    statuses = []
    for drive in (a, b, b, b, b):
        try:
            drive.files().list().execute()
            statuses.append(200)
        except HttpError as error:
            statuses.append(error.status_code)
    assert statuses == [200, 200, 503, 503, 200]
    assert fault.fired == 2
    assert "fired=2" in repr(fault)
    b.about().get(fields="user").execute()


def test_predicate_receives_the_call(pair: Pair) -> None:
    emulator, a, _ = pair
    seen: list[Call] = []
    emulator.inject(Fault("error", predicate=lambda call: bool(seen.append(call))))  # type: ignore[func-returns-value]
    a.files().get(fileId="root").execute()
    _create(a).execute()
    first, second = seen
    assert (first.user, first.method, first.file_id, first.part, first.number) == (A, "files.get", "root", None, 0)
    assert second.method == "files.create"
    assert second.size > 0


def _struck(tmp_path: Path, seed: int, *, turned: bool) -> dict[str, list[bool]]:
    """Return, for each user and each call, whether the fault struck."""
    struck: dict[str, list[bool]] = {A: [], B: []}
    with emulated(tmp_path, A, B, seed=seed) as (emulator, a, b):
        emulator.inject(Fault("error", times=None, probability=0.5))
        order = [(A, a), (B, b)] * 20
        for user, drive in order[::-1] if turned else order:
            try:
                drive.about().get(fields="user").execute()
                struck[user].append(False)
            except HttpError:
                struck[user].append(True)
    return struck


def test_chance_depends_on_seed_not_on_user_order(tmp_path: Path) -> None:
    first = _struck(tmp_path, 1, turned=False)
    assert first == _struck(tmp_path, 1, turned=True)
    assert first != _struck(tmp_path, 2, turned=False)
    assert 5 < sum(first[A]) < 15


@pytest.mark.parametrize(
    ("kind", "parameters"), [("nonsense", {}), ("error", {"nonsense": 1}), ("lose_reply", {"at": 1})]
)
def test_unknown_fault_is_refused(kind: str, parameters: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="no fault"):
        Fault(kind, **parameters)
