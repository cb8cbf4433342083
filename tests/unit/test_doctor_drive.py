"""The doctor over Google Drive: each fault of the login, of the account and of the network is one finding with a fix."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from drivekit.accounts import ANN, BEN
from examined import check, only_problem, states

from syft_flwr.clock import SystemClock
from syft_flwr.config import load_settings
from syft_flwr.doctor import drive_login
from syft_flwr.doctor.examination import examine
from syft_flwr.doctor.findings import Finding
from syft_flwr.doctor.subject import Subject
from syft_flwr.emulators.gdrive import Emulator, Fault

READ_ONLY = ["https://www.googleapis.com/auth/drive.readonly"]


@pytest.fixture
def drive(tmp_path: Path) -> Iterator[Emulator]:
    with Emulator(users=[ANN, BEN]) as emulator:
        emulator.write_token(ANN, token(tmp_path))
        yield emulator


def token(folder: Path) -> Path:
    return folder / "token.json"


def subject_of(drive: Emulator, folder: Path, *, email: str = ANN, token_path: Path | None = None) -> Subject:
    environ = {
        "SYFTBOX_EMAIL": email,
        "SYFT_FLWR_HOME": str(folder / "homes"),
        "GDRIVE_TOKEN_PATH": str(token_path or token(folder)),
        "SYFT_FLWR_GDRIVE_API": drive.url,
        "SYFT_FLWR_TRANSPORT": "p2p",
    }
    return Subject(load_settings(environ=environ, app_name="trial", aggregator=ANN, datasites=[BEN]))


def login_problem(subject: Subject) -> Finding:
    found = only_problem(check("drive-login", subject))
    assert found.fix
    return found


def test_good_login_names_its_account(drive: Emulator, tmp_path: Path) -> None:
    (found,) = check("drive-login", subject_of(drive, tmp_path))
    assert found.state == "ok"
    assert f"logged in as {ANN}" in found.text


def test_healthy_account_has_no_problem_and_no_secret(drive: Emulator, tmp_path: Path) -> None:
    subject = subject_of(drive, tmp_path)
    found = examine(subject, offline=False)
    subject.close()
    worst = states(found)
    assert {name for name, state in worst.items() if state == "problem"} == {"peers-running"}
    assert worst["drive-login"] == worst["drive-space"] == worst["clock"] == "ok"
    secrets = [value for value in token(tmp_path).read_text().split('"') if len(value) > 20]
    assert secrets
    assert not [value for value in secrets if value in str(found)]
    assert not (tmp_path / "homes").exists()


def test_offline_doctor_sends_no_request(drive: Emulator, tmp_path: Path) -> None:
    subject = subject_of(drive, tmp_path)
    examine(subject, offline=True)
    subject.close()
    assert drive.requests == []


def test_missing_login_is_a_problem(drive: Emulator, tmp_path: Path) -> None:
    found = login_problem(subject_of(drive, tmp_path, token_path=tmp_path / "none.json"))
    assert "does not exist" in found.text
    assert "syft-flwr login" in found.fix


def test_login_of_another_account_is_a_problem(drive: Emulator, tmp_path: Path) -> None:
    found = login_problem(subject_of(drive, tmp_path, email=BEN))
    assert f"the login belongs to {ANN}, but this participant is {BEN}" in found.text


def test_login_without_the_scopes_is_a_problem(drive: Emulator, tmp_path: Path) -> None:
    drive.write_token(ANN, token(tmp_path), READ_ONLY)
    assert "does not allow access to Google Drive" in login_problem(subject_of(drive, tmp_path)).text


def test_revoked_login_is_a_problem(drive: Emulator, tmp_path: Path) -> None:
    drive.revoke_token(ANN)
    assert "has expired or was revoked" in login_problem(subject_of(drive, tmp_path)).text


def test_login_that_others_can_read_is_a_problem(drive: Emulator, tmp_path: Path) -> None:
    token(tmp_path).chmod(0o644)
    assert login_problem(subject_of(drive, tmp_path)).fix == f"Run: chmod 600 {token(tmp_path)}"


def test_damaged_login_does_not_show_its_text(drive: Emulator, tmp_path: Path) -> None:
    token(tmp_path).write_text('{"refresh_token": "very-secret"')
    found = login_problem(subject_of(drive, tmp_path))
    assert "very-secret" not in str(found)


def test_drive_that_does_not_respond_is_a_problem(
    drive: Emulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(drive_login, "_PATIENCE", 0.3)
    drive.inject(Fault("stall", method=None, times=None, user=ANN))
    try:
        found = login_problem(subject_of(drive, tmp_path))
    finally:
        drive.heal()
    assert found.text == "Google Drive did not respond within 0 s"
    assert "connection to the internet" in found.fix


def test_checks_behind_a_bad_login_are_skipped(drive: Emulator, tmp_path: Path) -> None:
    subject = subject_of(drive, tmp_path, email=BEN)
    found = states(examine(subject))
    subject.close()
    assert {name for name, state in found.items() if state == "problem"} == {"drive-login"}
    assert found["drive-space"] == found["peers-running"] == found["releases"] == "skipped"


def test_full_account_is_a_problem(drive: Emulator, tmp_path: Path) -> None:
    drive.set_storage(ANN, 1_000_000)
    assert "1.0 MB are free in the account" in only_problem(check("drive-space", subject_of(drive, tmp_path))).text


@pytest.mark.parametrize(("hours", "word"), [(1, "ahead of"), (-1, "behind")])
def test_clock_is_compared_with_that_of_google(drive: Emulator, tmp_path: Path, hours: int, word: str) -> None:
    class Shifted(SystemClock):
        def now(self) -> datetime:
            return super().now() + timedelta(hours=hours)

    subject = subject_of(drive, tmp_path)
    subject.clock = Shifted()
    found = only_problem(check("clock", subject))
    assert found.text == f"the clock of this machine is 60 minutes {word} Google's clock"
