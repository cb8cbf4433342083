"""The saved sessions of unfinished uploads."""

import json
from datetime import timedelta
from pathlib import Path

import pytest

from syft_flwr.errors import TransportError
from syft_flwr.testing import FakeClock
from syft_flwr.transport._gdrive.api.upload_sessions import MAX_AGE, UploadSessions

FILE, OTHER = "1aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "1bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
SESSION = "https://www.googleapis.com/upload/drive/v3/files?upload_id=secret"


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def sessions(tmp_path: Path, clock: FakeClock) -> UploadSessions:
    return UploadSessions(tmp_path / "uploads", clock=clock)


def test_saved_session_is_loaded_after_restart(tmp_path: Path, clock: FakeClock, sessions: UploadSessions) -> None:
    sessions.save(FILE, SESSION, md5="a" * 32, size=7)
    again = UploadSessions(tmp_path / "uploads", clock=clock)
    assert again.load(FILE, md5="a" * 32, size=7) == SESSION
    assert again.load(OTHER, md5="a" * 32, size=7) is None


def test_session_file_is_readable_by_user_only(tmp_path: Path, sessions: UploadSessions) -> None:
    sessions.save(FILE, SESSION, md5="a" * 32, size=7)
    (path,) = (tmp_path / "uploads").iterdir()
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700


def test_session_is_for_the_same_bytes_only(sessions: UploadSessions) -> None:
    sessions.save(FILE, SESSION, md5="a" * 32, size=7)
    assert sessions.load(FILE, md5="b" * 32, size=7) is None
    assert sessions.load(FILE, md5="a" * 32, size=8) is None


def test_dropped_session_is_not_loaded(sessions: UploadSessions) -> None:
    sessions.save(FILE, SESSION, md5="a" * 32, size=7)
    for _ in range(2):
        sessions.drop(FILE)
        assert sessions.load(FILE, md5="a" * 32, size=7) is None


def test_expired_session_is_ignored_and_deleted(tmp_path: Path, clock: FakeClock, sessions: UploadSessions) -> None:
    sessions.save(FILE, SESSION, md5="a" * 32, size=7)
    clock.advance((MAX_AGE - timedelta(seconds=1)).total_seconds())
    assert sessions.load(FILE, md5="a" * 32, size=7) == SESSION
    clock.advance(2)
    assert sessions.load(FILE, md5="a" * 32, size=7) is None
    UploadSessions(tmp_path / "uploads", clock=clock)
    assert list((tmp_path / "uploads").iterdir()) == []


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "null", "{}", '{"started": 5}', "[" * 50_000, '{"started": "2030-01-01"}', "\x00" * 20_000]
)
def test_broken_entry_is_ignored_and_deleted(
    tmp_path: Path, clock: FakeClock, sessions: UploadSessions, text: str
) -> None:
    sessions.save(FILE, SESSION, md5="a" * 32, size=7)
    (path,) = (tmp_path / "uploads").iterdir()
    path.write_text(text)
    assert sessions.load(FILE, md5="a" * 32, size=7) is None
    UploadSessions(tmp_path / "uploads", clock=clock)
    assert not path.exists()


def test_session_of_wrong_type_is_ignored(tmp_path: Path, sessions: UploadSessions) -> None:
    sessions.save(FILE, SESSION, md5="a" * 32, size=7)
    (path,) = (tmp_path / "uploads").iterdir()
    path.write_text(json.dumps(json.loads(path.read_text()) | {"session": 5}))
    assert sessions.load(FILE, md5="a" * 32, size=7) is None


def test_invalid_id_never_names_a_file(sessions: UploadSessions) -> None:
    for call in (lambda: sessions.save("../../escape", SESSION, md5="", size=1), lambda: sessions.drop("../escape")):
        with pytest.raises(TransportError, match="is not the id"):
            call()
