"""Shows that each call of the Drive client survives each fault, or raises the right error."""

import io
import itertools
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from drivekit.accounts import ANN, BEN, CHUNK, LARGE, Person, content, md5, run_in_thread
from waiting import PATIENCE, eventually

from syft_flwr.emulators.gdrive import Emulator, Fault
from syft_flwr.errors import (
    LoginError,
    NotFoundError,
    QuotaError,
    RefusedError,
    StorageFullError,
    TransportError,
    UnavailableError,
)
from syft_flwr.testing import FakeClock
from syft_flwr.transport._gdrive.api.auth import open_account
from syft_flwr.transport._gdrive.api.drive_client import DriveClient
from syft_flwr.transport._gdrive.api.drive_file import ReplacedError
from syft_flwr.transport._gdrive.api.upload_sessions import UploadSessions

# Each function prepares its files, lets the test set a fault, makes the call, and returns whether the outcome is right.
Arm = Callable[[], None]
_DATA = content(3000)
_BIG = content(LARGE)


def _me(ann: Person, arm: Arm) -> bool:
    arm()
    return ann.drive.me() == ANN


def _free_space(ann: Person, arm: Arm) -> bool:
    arm()
    return ann.drive.free_space() == 15 << 30


def _new_ids(ann: Person, arm: Arm) -> bool:
    arm()
    return len(set(ann.drive.new_ids(3))) == 3


def _get(ann: Person, arm: Arm) -> bool:
    file = ann.put(_DATA)
    arm()
    return ann.drive.get(file.id) == file


def _get_many(ann: Person, arm: Arm) -> bool:
    files = {file.id: file for file in (ann.put(b"", name=f"{n}") for n in range(3))}
    (unused,) = ann.drive.new_ids(1)
    arm()
    return ann.drive.get_many([*files, unused]) == {**files, unused: None}


def _search(ann: Person, arm: Arm) -> bool:
    file = ann.put(_DATA)
    arm()
    return list(ann.drive.search("name = 'file.bin'")) == [file]


def _create_folder(ann: Person, arm: Arm) -> bool:
    (file_id,) = ann.drive.new_ids(1)
    arm()
    made = ann.drive.create_folder(file_id, "home", {"a": "b"})
    return made.id == file_id and [file.id for file in ann.emulator.files(ANN)] == [file_id]


def _create(ann: Person, arm: Arm) -> bool:
    file_id, _ = *ann.drive.new_ids(1), ann.folder()
    arm()
    return ann.put(_DATA, file_id=file_id).md5 == md5(_DATA) and ann.files() == {"file.bin": _DATA}


def _upload(ann: Person, arm: Arm) -> bool:
    file_id, _ = *ann.drive.new_ids(1), ann.folder()
    arm()
    return ann.put(_BIG, file_id=file_id).md5 == md5(_BIG) and ann.files() == {"file.bin": _BIG}


def _update(ann: Person, arm: Arm) -> bool:
    file = ann.put(b"old")
    arm()
    ann.drive.update(file.id, io.BytesIO(_DATA), len(_DATA), md5(_DATA), {"n": "1"})
    return ann.files() == {"file.bin": _DATA}


def _update_large(ann: Person, arm: Arm) -> bool:
    file = ann.put(b"old")
    arm()
    ann.drive.update(file.id, io.BytesIO(_BIG), len(_BIG), md5(_BIG))
    return ann.files() == {"file.bin": _BIG}


def _set_properties(ann: Person, arm: Arm) -> bool:
    file = ann.put(_DATA)
    arm()
    ann.drive.set_properties(file.id, {"n": "1", "k": None})
    return ann.emulator.files(ANN)[-1].properties == {"n": "1"}


def _share(ann: Person, arm: Arm) -> bool:
    file = ann.put(_DATA)
    ben = Person(ann.emulator, ann.token_path.parent, BEN)
    arm()
    ann.drive.share(file.id, BEN)
    may_read = ben.read(file) == _DATA
    ben.drive.close()
    return may_read


def _delete_many(ann: Person, arm: Arm) -> bool:
    ids = [ann.put(b"", name=f"{n}").id for n in range(3)]
    arm()
    ann.drive.delete_many(ids[:2])
    return ann.files() == {"2": b""}


def _delete_one(ann: Person, arm: Arm) -> bool:
    file = ann.put(_DATA)
    arm()
    ann.drive.delete_many([file.id])
    return ann.files() == {}


def _download(ann: Person, arm: Arm) -> bool:
    file = ann.put(_BIG)
    arm()
    return ann.read(file) == _BIG


CALLS: dict[str, tuple[Callable[[Person, Arm], bool], tuple[str, ...]]] = {
    "me": (_me, ("about.get",)),
    "free_space": (_free_space, ("about.get",)),
    "new_ids": (_new_ids, ("files.generateIds",)),
    "get": (_get, ("files.get",)),
    "get_many": (_get_many, ("batch", "files.get")),
    "search": (_search, ("files.list",)),
    "create_folder": (_create_folder, ("files.create",)),
    "create": (_create, ("files.create",)),
    "upload": (_upload, ("files.create", "upload.chunk")),
    "update": (_update, ("files.update",)),
    "update_large": (_update_large, ("files.update", "upload.chunk")),
    "set_properties": (_set_properties, ("files.update",)),
    "share": (_share, ("permissions.create",)),
    "delete_many": (_delete_many, ("batch", "files.delete")),
    "delete_one": (_delete_one, ("files.delete",)),
    "download": (_download, ("files.download",)),
}
EVERY = [(name, method) for name, (_, methods) in CALLS.items() for method in methods]

ANSWERS: dict[str, tuple[str, dict[str, Any]]] = {
    "500": ("error", {"status": 500}),
    "502": ("error", {"status": 502}),
    "503": ("error", {"status": 503}),
    "504": ("error", {"status": 504}),
    "503 after it was done": ("error", {"status": 503, "committed": True}),
    "503 and a page": ("error", {"status": 503, "page": "<html>Sorry</html>"}),
    "403 rate": ("rate_limit", {"answer": "403"}),
    "429 rate": ("rate_limit", {"answer": "429"}),
    "429 and a page": ("rate_limit", {"answer": "429-html"}),
    "429 and a time": ("rate_limit", {"answer": "429", "retry_after": "7"}),
    "401": ("unauthorized", {}),
}
CONNECTION: dict[str, tuple[str, dict[str, Any]]] = {
    "closed unread": ("close_before_reading", {}),
    "closed": ("close_after_reading", {}),
    "reset": ("reset", {}),
    "reset after it was done": ("reset", {"committed": True}),
    "lost reply": ("lose_reply", {}),
    "cut reply": ("truncate", {}),
    "cut in its first byte": ("truncate", {"keep": 0}),
    "lost several times": ("lose_reply", {"times": 5}),
}
# A call in a batch has no connection of its own. A batch as a whole cannot give two of the responses.
_PARTS = {"files.get", "files.delete"}


def _cases(faults: dict[str, tuple[str, dict[str, Any]]], *, whole: bool) -> list[Any]:
    return [
        pytest.param(name, method, *fault, id=f"{name}-{method}-{label}")
        for (name, method), (label, fault) in itertools.product(EVERY, faults.items())
        if not (method == "batch" and not whole and (fault[0] == "unauthorized" or fault[1].get("committed")))
        and not (whole and name.endswith("_many") and method in _PARTS)
    ]


@pytest.mark.parametrize(("name", "method", "kind", "parameters"), _cases(ANSWERS, whole=False))
def test_call_survives_an_error_response(
    ann: Person, name: str, method: str, kind: str, parameters: dict[str, Any]
) -> None:
    faults: list[Fault] = []
    assert CALLS[name][0](ann, lambda: faults.append(ann.fault(kind, method, **parameters)))
    assert faults[0].fired == 1


@pytest.mark.parametrize(("name", "method", "kind", "parameters"), _cases(CONNECTION, whole=True))
def test_call_survives_a_broken_connection(
    ann: Person, name: str, method: str, kind: str, parameters: dict[str, Any]
) -> None:
    faults: list[Fault] = []
    assert CALLS[name][0](ann, lambda: faults.append(ann.fault(kind, method, **parameters)))
    assert faults[0].fired >= 1


@pytest.mark.parametrize("name", CALLS)
def test_call_ends_when_the_service_stays_broken(ann: Person, name: str) -> None:
    def arm() -> None:
        ann.fault("error", "*", times=None, status=503)
        ann.fault("error", "batch", times=None, status=503)

    start = ann.clock.monotonic()
    with pytest.raises(UnavailableError, match="HTTP 503") as error:
        CALLS[name][0](ann, arm)
    assert error.value.transient
    assert error.value.hint
    # 1, 2, 4 … seconds, within the limit of a write.
    assert 20 < ann.clock.monotonic() - start <= 301


@pytest.mark.parametrize("name", CALLS)
def test_login_refused_twice_is_an_error(ann: Person, name: str) -> None:
    before = ann.clock.monotonic()
    with pytest.raises(LoginError) as error:
        CALLS[name][0](ann, lambda: (ann.fault("unauthorized", "*", times=None), None)[1])
    assert "syft-flwr login" in error.value.hint
    assert not error.value.transient
    assert ann.clock.monotonic() == before


@pytest.mark.parametrize("name", CALLS)
def test_revoked_login_is_an_error(ann: Person, name: str) -> None:
    with pytest.raises(LoginError, match="expired or was revoked"):
        CALLS[name][0](ann, lambda: ann.emulator.revoke_token(ANN))


@pytest.mark.parametrize("name", CALLS)
def test_expired_token_is_renewed_silently(ann: Person, name: str) -> None:
    assert CALLS[name][0](ann, ann.emulator.expire_tokens)
    assert ann.clock.waits == []
    assert ann.emulator.meter(ANN).token_requests == 1


@pytest.mark.parametrize("name", CALLS)
def test_busy_token_endpoint_is_retried(ann: Person, name: str) -> None:
    def arm() -> None:
        ann.emulator.expire_tokens()
        ann.fault("error", "token", times=3, status=503)
        ann.fault("lose_reply", "token", times=2)

    assert CALLS[name][0](ann, arm)


@pytest.mark.parametrize("name", ["create_folder", "create", "upload", "update", "update_large"])
def test_full_drive_is_an_error_at_once(ann: Person, name: str) -> None:
    with pytest.raises(StorageFullError, match="storage is full") as error:
        CALLS[name][0](ann, lambda: (ann.fault("storage_full", "*", times=None), None)[1])
    assert "empty the trash" in error.value.hint
    assert ann.clock.waits == []


def test_full_drive_after_an_upload_is_an_error(ann: Person) -> None:
    ann.folder()
    ann.emulator.set_storage(ANN, LARGE // 2)
    with pytest.raises(StorageFullError):
        ann.put(_BIG)
    assert ann.files() == {}


def test_full_drive_during_an_upload_is_an_error(ann: Person) -> None:
    ann.folder()
    ann.fault("storage_full", "upload.chunk", after=3)
    with pytest.raises(StorageFullError):
        ann.put(_BIG)


def test_exhausted_sharing_quota_is_an_error(ann: Person) -> None:
    file = ann.put(_DATA)
    ann.fault("sharing_limit", "permissions.create", times=None)
    with pytest.raises(QuotaError, match="reached its limit for sharing") as error:
        ann.drive.share(file.id, BEN)
    assert "24 hours" in error.value.hint
    assert ann.clock.waits == []


@pytest.mark.parametrize("reason", ["dailyLimitExceeded", "quotaExceeded"])
@pytest.mark.parametrize("status", [403, 429])
def test_exhausted_daily_quota_is_an_error(ann: Person, reason: str, status: int) -> None:
    ann.fault("error", "files.generateIds", times=None, status=status, reason=reason)
    with pytest.raises(QuotaError, match="used up") as error:
        ann.drive.new_ids(1)
    assert "midnight" in error.value.hint
    assert ann.clock.waits == []


def test_daily_upload_limit_hint_says_tomorrow(ann: Person) -> None:
    ann.folder()
    ann.fault("upload_limit", "*", times=None)
    with pytest.raises(UnavailableError) as error:
        ann.put(_DATA)
    assert "tomorrow" in error.value.hint


@pytest.mark.parametrize(
    ("reason", "kind", "hint"),
    [
        ("accessNotConfigured", RefusedError, "Enable"),
        ("domainPolicy", RefusedError, "administrator"),
        ("appNotAuthorizedToFile", LoginError, "syft-flwr login"),
        ("insufficientScopes", LoginError, "syft-flwr login"),
        ("cannotDownloadAbusiveFile", RefusedError, "send it again"),
        ("neverHeardOf", RefusedError, "report the call"),
    ],
)
def test_reason_of_refusal_decides_class_and_hint(
    ann: Person, reason: str, kind: type[TransportError], hint: str
) -> None:
    ann.fault("error", "about.get", status=403, reason=reason)
    with pytest.raises(kind) as error:
        ann.drive.me()
    assert hint in error.value.hint
    assert ann.clock.waits == []


def test_sharing_with_unknown_account_is_an_error(ann: Person) -> None:
    file = ann.put(_DATA)
    ann.fault("error", "permissions.create", status=400, reason="invalidSharingRequest")
    with pytest.raises(RefusedError, match="cannot be shared") as error:
        ann.drive.share(file.id, "nobody@z.org")
    assert "Google account" in error.value.hint


def test_read_only_login_is_an_error(emulator: Emulator, tmp_path: Path) -> None:
    token = tmp_path / "token.json"
    scope = "https://www.googleapis.com/auth/drive"
    emulator.write_token(ANN, token, [f"{scope}.readonly"])
    with pytest.raises(LoginError, match="does not allow"):
        open_account(token, emulator.url)
    text = token.read_text().replace(f"{scope}.readonly", scope)
    token.write_text(text)
    drive = DriveClient(open_account(token, emulator.url))
    with pytest.raises(LoginError, match="does not allow") as error:
        drive.new_ids(1)
    assert "syft-flwr login" in error.value.hint
    drive.close()


# One part of a batch


@pytest.mark.parametrize("name", ["get_many", "delete_many"])
@pytest.mark.parametrize("kind", ["error", "rate_limit", "unauthorized"])
def test_only_failed_parts_of_a_batch_are_retried(ann: Person, name: str, kind: str) -> None:
    method = "files.get" if name == "get_many" else "files.delete"

    def arm() -> None:
        ann.emulator.reset_meters()
        ann.fault(kind, method, after=1)

    assert CALLS[name][0](ann, arm)
    parts = {"get_many": 4, "delete_many": 2}[name]
    assert ann.emulator.meter(ANN).calls[method] == parts + 1
    assert ann.emulator.meter(ANN).http == 2


def test_part_refused_twice_does_not_stop_the_others(ann: Person) -> None:
    ids = [ann.put(b"", name=f"{n}").id for n in range(4)]
    ann.emulator.inject(
        Fault("unauthorized", method="files.delete", times=None, predicate=lambda c: c.file_id == ids[1])
    )
    with pytest.raises(LoginError):
        ann.drive.delete_many(ids)
    assert list(ann.files()) == ["1"]


def test_broken_part_does_not_stop_the_others(ann: Person) -> None:
    ids = [ann.put(b"", name=f"{n}").id for n in range(4)]
    ann.emulator.inject(Fault("error", method="files.delete", times=None, predicate=lambda c: c.file_id == ids[1]))
    with pytest.raises(UnavailableError):
        ann.drive.delete_many(ids)
    assert list(ann.files()) == ["1"]


# Waiting


@pytest.mark.parametrize("answer", ["403", "429", "429-html"])
def test_retry_after_seconds_are_respected(ann: Person, answer: str) -> None:
    ann.fault("rate_limit", "about.get", times=2, answer=answer, retry_after="17")
    ann.drive.me()
    assert [int(wait) for wait in ann.clock.waits] == [17, 17]


def test_retry_after_date_is_respected(ann: Person) -> None:
    ann.emulator.inject(Fault("error", method="about.get", status=503, retry_after="Tue, 01 Jan 2030 00:00:40 GMT"))
    ann.drive.me()
    assert [int(wait) for wait in ann.clock.waits] == [40]


def test_too_long_retry_after_is_an_error_at_once(ann: Person) -> None:
    ann.fault("rate_limit", "about.get", retry_after="3600")
    with pytest.raises(UnavailableError, match="3600 s"):
        ann.drive.me()
    assert ann.clock.waits == []
    # The account must wait, so other calls send no request.
    ann.emulator.reset_meters()
    with pytest.raises(UnavailableError):
        ann.drive.new_ids(1)
    assert ann.emulator.meter(ANN).http == 0
    ann.clock.advance(3601)
    assert ann.drive.new_ids(1)


def test_close_wakes_a_waiting_call(ann: Person) -> None:
    clock = FakeClock()
    drive = ann.open(clock)
    fault = ann.fault("error", "about.get", times=None)
    thread, raised = run_in_thread(drive.me)
    while not (fault.fired and clock._waiting):
        thread.join(0.01)
    drive.close()
    thread.join(PATIENCE)
    assert not thread.is_alive()
    assert isinstance(raised[0], TransportError)
    assert "was closed" in str(raised[0])


def test_close_ends_a_call_without_response(ann: Person) -> None:
    drive = ann.open()
    ann.fault("stall", "about.get")
    thread, raised = run_in_thread(drive.me)
    assert ann.emulator.wait_until_stalled(timeout=PATIENCE)
    drive.close()
    thread.join(PATIENCE)
    assert not thread.is_alive()
    assert "was closed" in str(raised[0])
    ann.emulator.release()
    with pytest.raises(TransportError, match="was closed"):
        drive.me()


def test_silent_server_is_given_up(ann: Person) -> None:
    drive = DriveClient(ann.account(), clock=ann.clock, timeout=0.2)
    fault = ann.fault("stall", "about.get", times=None)
    with pytest.raises(UnavailableError, match="no complete response"):
        drive.me()
    # The emulator may read a request after its client has given it up.
    eventually(lambda: fault.fired > 3, "four attempts")
    ann.emulator.release()
    drive.close()


# Sharing


@pytest.mark.parametrize("kind", ["lose_reply", "error"])
def test_doubtful_share_is_checked_before_a_retry(ann: Person, kind: str) -> None:
    file = ann.put(_DATA)
    # Twice, because the HTTP library itself retries once after a connection closed without a response.
    ann.fault(kind, "permissions.create", times=2, **({"committed": True} if kind == "error" else {}))
    ann.drive.share(file.id, BEN)
    calls = ann.emulator.meter(ANN).calls
    assert calls["permissions.create"] == {"lose_reply": 2, "error": 1}[kind]
    assert calls["permissions.list"] == 1


def test_failed_share_is_retried(ann: Person) -> None:
    file = ann.put(_DATA)
    ann.fault("error", "permissions.create")
    ann.drive.share(file.id, BEN)
    assert ann.emulator.meter(ANN).calls["permissions.create"] == 2


# Uploads


@pytest.mark.parametrize("at", [0, 1, CHUNK - 1])
@pytest.mark.parametrize("reset", [False, True])
def test_interrupted_chunk_is_continued(ann: Person, at: int, reset: bool) -> None:
    ann.folder()
    ann.fault("drop_upload", "upload.chunk", after=5, at=at, reset=reset)
    file_id = ann.drive.new_ids(1)[0]
    ann.put(_BIG, file_id=file_id)
    assert ann.files() == {"file.bin": _BIG}
    assert ann.emulator.meter(ANN).bytes_up == LARGE


def test_received_bytes_of_a_chunk_are_not_sent_again(ann: Person) -> None:
    ann.folder()
    drive = DriveClient(ann.account(), clock=ann.clock, chunk=8 * CHUNK)
    ann.fault("drop_upload", "upload.chunk", at=7 * CHUNK + 100)
    (file_id,) = drive.new_ids(1)
    drive.create(file_id, "file.bin", ann.folder(), {}, io.BytesIO(_BIG), LARGE, md5(_BIG))
    drive.close()
    assert ann.files() == {"file.bin": _BIG}
    ann.emulator.close()
    chunks = [record.bytes_in for record in ann.emulator.requests if record.method == "upload.chunk"]
    first, *others = chunks
    assert first == 7 * CHUNK + 100
    continued = Counter([8 * CHUNK, 8 * CHUNK, LARGE - 23 * CHUNK])
    assert not continued - Counter(others)
    # The HTTP library repeats the request by itself, and stops at once or later: the connection is closed meanwhile. Another
    # thread of the emulator notes that, possibly after the next chunks.
    (repeated,) = (Counter(others) - continued).elements()
    assert repeated <= 8 * CHUNK


@pytest.mark.parametrize("times", [1, 4])
def test_lost_final_response_is_requested(ann: Person, times: int) -> None:
    ann.folder()
    ann.fault("lose_final", "upload.chunk", times=times)
    ann.put(_BIG)
    assert ann.files() == {"file.bin": _BIG}
    assert ann.emulator.meter(ANN).bytes_up == LARGE


def test_expired_upload_session_is_replaced(ann: Person) -> None:
    ann.folder()
    fault = ann.fault("error", "upload.chunk", after=7, status=404, page="Not Found")
    ann.put(_BIG)
    assert fault.fired == 1
    assert ann.files() == {"file.bin": _BIG}


@pytest.mark.parametrize("status", [400, 404, 410, 412])
def test_upload_session_refused_repeatedly_is_an_error(ann: Person, status: int) -> None:
    ann.folder()
    ann.fault("error", "upload.chunk", times=None, status=status, reason="badRequest")
    with pytest.raises(TransportError):
        ann.put(_BIG)
    assert ann.emulator.meter(ANN).calls["files.create"] == 5
    assert ann.files() == {}


def test_complete_file_is_not_sent_again(ann: Person) -> None:
    ann.folder()
    ann.fault("lose_final", "upload.chunk", times=2)
    ann.fault("error", "upload.status", status=404, page="Not Found")
    ann.put(_BIG)
    assert ann.files() == {"file.bin": _BIG}
    assert ann.emulator.meter(ANN).bytes_up == LARGE


# Downloads


def test_interrupted_download_is_continued(ann: Person) -> None:
    file = ann.put(_BIG)
    ann.emulator.reset_meters()
    ann.fault("truncate", "files.download", keep=4 << 20)
    assert ann.read(file) == _BIG
    assert ann.emulator.meter(ANN).units == 400
    ann.drive.close()
    ann.emulator.close()
    sent = [record.bytes_out for record in ann.emulator.requests if record.method == "files.download"]
    assert sent == [4 << 20, LARGE - (4 << 20)]


def test_download_timeout_counts_from_the_last_byte(ann: Person) -> None:
    file = ann.put(_BIG)
    ann.fault("truncate", "files.download", times=70, keep=CHUNK // 4)
    assert ann.read(file) == _BIG
    assert ann.clock.monotonic() > 60


def test_replaced_file_is_an_error(ann: Person) -> None:
    file = ann.put(_DATA)
    for other in (content(3000, seed=9), _DATA + b"x", _DATA[:-1], b""):
        ann.emulator.overwrite(file.id, other)
        with pytest.raises(ReplacedError, match="its owner replaced the file during the download") as error:
            ann.read(file)
        assert error.value.file == ann.drive.get(file.id)
    # One call for each: a retry could not bring back the replaced content.
    assert ann.emulator.meter(ANN).calls["files.download"] == 4


def test_file_replaced_during_download_is_an_error(ann: Person) -> None:
    file = ann.put(_BIG)
    ann.fault("truncate", "files.download", keep=4 << 20)

    class Target(io.BytesIO):
        def write(self, data: Any) -> int:
            if self.tell() == 0:
                ann.emulator.overwrite(file.id, b"short")
            return super().write(data)

    with pytest.raises(ReplacedError, match="its owner replaced the file during the download"):
        ann.drive.download(file, Target())


def test_deleted_file_is_not_found(ann: Person) -> None:
    file = ann.put(_DATA)
    ann.emulator.delete(file.id)
    with pytest.raises(NotFoundError):
        ann.read(file)


# Another process


def test_upload_continues_from_the_saved_session(ann: Person, tmp_path: Path) -> None:
    sessions = UploadSessions(tmp_path / "uploads", clock=ann.clock)
    file_id, _ = *ann.drive.new_ids(1), ann.folder()
    ann.fault("error", "upload.*", times=None, after=10)
    with pytest.raises(UnavailableError):
        ann.put(_BIG, file_id=file_id, sessions=sessions)
    (entry,) = (tmp_path / "uploads").iterdir()
    assert entry.stat().st_mode & 0o777 == 0o600
    ann.emulator.heal()
    assert ann.emulator.meter(ANN).bytes_up == 10 * CHUNK

    ann.put(_BIG, file_id=file_id, sessions=UploadSessions(tmp_path / "uploads", clock=ann.clock))

    assert ann.files() == {"file.bin": _BIG}
    assert ann.emulator.meter(ANN).bytes_up == LARGE
    assert list((tmp_path / "uploads").iterdir()) == []


def test_other_content_does_not_reuse_the_session(ann: Person, tmp_path: Path) -> None:
    sessions = UploadSessions(tmp_path / "uploads", clock=ann.clock)
    file_id, _ = *ann.drive.new_ids(1), ann.folder()
    ann.fault("error", "upload.*", times=None, after=10)
    with pytest.raises(UnavailableError):
        ann.put(_BIG, file_id=file_id, sessions=sessions)
    ann.emulator.heal()
    other = content(LARGE, seed=5)
    ann.put(other, file_id=file_id, sessions=sessions)
    assert ann.files() == {"file.bin": other}


def test_expired_saved_session_restarts_the_upload(ann: Person, tmp_path: Path) -> None:
    sessions = UploadSessions(tmp_path / "uploads", clock=ann.clock)
    file_id, _ = *ann.drive.new_ids(1), ann.folder()
    ann.fault("error", "upload.*", times=None, after=10)
    with pytest.raises(UnavailableError):
        ann.put(_BIG, file_id=file_id, sessions=sessions)
    ann.emulator.heal()
    ann.emulator.expire_uploads()
    ann.put(_BIG, file_id=file_id, sessions=sessions)
    assert ann.files() == {"file.bin": _BIG}


def test_upload_continues_in_another_process(ann: Person, tmp_path: Path) -> None:
    file_id, source = ann.drive.new_ids(1)[0], tmp_path / "source"
    source.write_bytes(_BIG)
    command = [sys.executable, "-m", "drivekit.upload", ann.token_path, ann.emulator.url, file_id, ann.folder(), source]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1] / "kits")}
    ann.fault("stall", "upload.chunk", after=10)

    process = subprocess.Popen(list(map(str, [*command, tmp_path / "uploads"])), env=environment)
    assert ann.emulator.wait_until_stalled(timeout=PATIENCE)
    process.kill()
    assert process.wait() == -signal.SIGKILL
    assert len(list((tmp_path / "uploads").iterdir())) == 1
    # The last chunk arrived before the process died. The service keeps it, but no process gets the response.
    ann.emulator.release()
    eventually(lambda: ann.emulator.meter(ANN).bytes_up >= 11 * CHUNK, "the last chunk")

    subprocess.run(list(map(str, [*command, tmp_path / "uploads"])), env=environment, check=True, timeout=60)

    assert ann.files() == {"file.bin": _BIG}
    assert list((tmp_path / "uploads").iterdir()) == []
    ann.emulator.close()
    chunks = [record.bytes_in for record in ann.emulator.requests if record.method == "upload.chunk"]
    assert sum(chunks) == LARGE
    assert ann.emulator.meter(ANN).calls["files.create"] == 2


def test_complete_upload_is_only_checked(ann: Person, tmp_path: Path) -> None:
    file = ann.put(_BIG)
    ann.emulator.reset_meters()
    ann.put(_BIG, file_id=file.id, sessions=UploadSessions(tmp_path / "uploads", clock=ann.clock))
    assert ann.emulator.meter(ANN).bytes_up == 0
    assert ann.emulator.meter(ANN).calls == {"files.get": 1}


def _at_random() -> list[Fault]:
    """Return one fault of each kind that a call survives. A call does not survive a login that is refused twice."""
    faults = [
        Fault("error", method=method, times=None, probability=0.05, status=503)
        for method in ("files.*", "upload.*", "permissions.*", "batch", "token")
    ]
    faults += [
        Fault("error", method=method, times=None, probability=0.05, status=503, committed=True)
        for method in ("files.*", "upload.*", "permissions.*")
    ]
    kinds: tuple[tuple[str, dict[str, Any]], ...] = (
        ("rate_limit", {"answer": "403"}),
        ("rate_limit", {"answer": "429-html", "retry_after": "seconds"}),
        ("close_after_reading", {}),
        ("reset", {"committed": True}),
        ("lose_reply", {}),
        ("lose_final", {}),
        ("truncate", {}),
        ("shuffle_batch", {}),
        ("short_page", {}),
    )
    return faults + [Fault(kind, times=None, probability=0.04, **parameters) for kind, parameters in kinds]


def test_random_faults_leave_each_file_once(ann: Person) -> None:
    ann.folder()
    faults = [ann.emulator.inject(fault) for fault in _at_random()]
    ids = ann.drive.new_ids(30)
    written = {}
    for number, file_id in enumerate(ids):
        data = content(LARGE if number % 10 == 0 else number * 100, seed=number)
        ann.put(data, file_id=file_id, name=f"{number}")
        written[f"{number}"] = data
    assert ann.files() == written
    found = ann.drive.get_many(ids)
    assert {file.name: ann.read(file) for file in found.values() if file} == written
    assert len(list(ann.drive.search(f"'{ann.folder()}' in parents"))) == 30
    ann.drive.share(ann.folder(), BEN)
    ann.drive.delete_many(ids[:20])
    ann.emulator.heal()
    assert ann.files() == {name: data for name, data in written.items() if int(name) >= 20}
    assert sum(fault.fired for fault in faults) > 30
