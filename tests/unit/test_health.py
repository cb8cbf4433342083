"""The health of the processes of a participant, in each state and with hostile files."""

import json
import os
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

from syft_flwr.cli.app import app
from syft_flwr.locks import ProcessLock
from syft_flwr.runs.health import find_health, started_apps
from syft_flwr.runs.health_file import NAME, SERVING, STARTING, HealthFile, read_health

_APP = "tiny"


@pytest.fixture
def app_home(tmp_path: Path) -> Path:
    folder = tmp_path / "apps" / _APP
    folder.mkdir(parents=True)
    return folder


def _state(app_home: Path, patience: float = 60.0, obstacle: str = "") -> tuple[str, str, bool]:
    [found] = find_health(app_home.parents[1], _APP, patience, obstacle)
    assert "\n" not in found.text
    return found.state, found.text, found.is_live


def test_participant_without_a_process_is_not_running(app_home: Path) -> None:
    assert _state(app_home) == ("not-running", "no client and no server of tiny runs", False)
    HealthFile(app_home).tell(SERVING, within=3)
    assert _state(app_home)[0] == "not-running"


def test_client_that_waits_for_its_first_run_is_ready(app_home: Path) -> None:
    with ProcessLock(app_home / "client.lock", "a client"):
        HealthFile(app_home).tell(SERVING, within=3)
        state, text, live = _state(app_home)
    assert (state, live) == ("ready", True)
    assert "serves" in text


def test_client_that_loads_its_app_is_live_and_not_ready(app_home: Path) -> None:
    with ProcessLock(app_home / "client.lock", "a client"):
        HealthFile(app_home).tell(STARTING, within=0)
        assert _state(app_home)[::2] == ("starting", True)


def test_client_with_trouble_is_live_and_cut_off(app_home: Path) -> None:
    with ProcessLock(app_home / "client.lock", "a client"):
        HealthFile(app_home).tell(SERVING, within=3, trouble="the disk\n\x1b[31mis gone")
        state, text, live = _state(app_home)
        assert (state, live) == ("cut-off", True)
        assert "\x1b" not in text
        HealthFile(app_home).tell(SERVING, within=3)
        assert _state(app_home)[0] == "ready"
        assert _state(app_home, obstacle="no SyftBox client runs")[0] == "cut-off"


def test_client_without_a_look_at_its_files_is_silent(app_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with ProcessLock(app_home / "client.lock", "a client"):
        HealthFile(app_home).tell(SERVING, within=3)
        now = time.monotonic()
        monkeypatch.setattr(time, "monotonic", lambda: now + 60)
        assert _state(app_home)[0] == "ready"
        monkeypatch.setattr(time, "monotonic", lambda: now + 70)
        assert _state(app_home)[::2] == ("silent", False)
        assert _state(app_home, patience=100)[0] == "ready"


def test_statement_of_an_earlier_boot_is_silent(app_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    HealthFile(app_home).tell(SERVING, within=3)
    monkeypatch.setattr(time, "monotonic", lambda: 0.0)
    with ProcessLock(app_home / "client.lock", "a client"):
        state, text, _ = _state(app_home)
    assert state == "silent"
    assert "before this start of the machine" in text


def test_server_is_judged_by_its_record(app_home: Path) -> None:
    with ProcessLock(app_home / "server.lock", "a server"):
        assert _state(app_home)[0] == "ready"
        old = time.time() - 100
        os.utime(app_home / "server.lock", (old, old))
        assert _state(app_home)[0] == "silent"
        (app_home / "runs").mkdir()
        (app_home / "runs" / "0000000000000001.aggregator.jsonl").touch()
        assert _state(app_home)[0] == "ready"


def test_record_from_the_future_does_not_tell_of_life(app_home: Path) -> None:
    with ProcessLock(app_home / "server.lock", "a server"):
        future = time.time() + 86_400
        os.utime(app_home / "server.lock", (future, future))
        assert _state(app_home)[0] == "silent"
        (app_home / "runs").mkdir()
        (app_home / "runs" / "0000000000000001.aggregator.jsonl").touch()
        assert _state(app_home)[0] == "ready"


def test_both_roles_of_one_email_are_told(app_home: Path) -> None:
    with ProcessLock(app_home / "client.lock", "a client"), ProcessLock(app_home / "server.lock", "a server"):
        found = find_health(app_home.parents[1], _APP, 60.0)
    assert [each.role for each in found] == ["client", "server"]


_GOOD = {"v": 1, "phase": SERVING, "at": 1.0, "within": 3.0, "trouble": ""}


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"\xff\xfe",
        b"[" * 2_000,
        b"x" * 100_000,
        *(json.dumps(_GOOD | wrong).encode() for wrong in ({"v": 2}, {"at": "x"}, {"at": 1e999}, {"within": -1})),
        *(json.dumps(_GOOD | {"within": wrong}).encode() for wrong in (None, [], float("nan"), "x" * 100)),
        json.dumps({"v": 1}).encode(),
    ],
)
def test_hostile_file_is_no_statement(app_home: Path, content: bytes) -> None:
    (app_home / NAME).write_bytes(content)
    assert read_health(app_home) is None
    with ProcessLock(app_home / "client.lock", "a client"):
        assert _state(app_home)[::2] == ("silent", False)


def test_link_pipe_or_folder_is_no_statement(app_home: Path) -> None:
    place = app_home / NAME
    other = app_home / "other"
    HealthFile(app_home).tell(SERVING, within=3)
    place.rename(other)
    place.symlink_to(other)
    assert read_health(app_home) is None
    before = other.read_bytes()
    HealthFile(app_home).tell(STARTING, within=0)
    assert other.read_bytes() == before
    place.unlink()
    os.mkfifo(place)
    assert read_health(app_home) is None
    HealthFile(app_home).tell(STARTING, within=0)
    place.unlink()
    place.mkdir()
    assert read_health(app_home) is None
    HealthFile(app_home).tell(STARTING, within=0)


def test_shorter_statement_replaces_a_longer_one(app_home: Path) -> None:
    file = HealthFile(app_home)
    file.tell(SERVING, within=3, trouble="x" * 1_000)
    file.tell(SERVING, within=3)
    told = read_health(app_home)
    assert told
    assert told.trouble == ""
    assert (app_home / NAME).stat().st_mode & 0o077 == 0
    file.remove()
    assert read_health(app_home) is None


@pytest.mark.parametrize("trouble", ["\N{GRINNING FACE}" * 1_000, "\x00" * 1_000, "\udcff" * 1_000])
def test_long_trouble_leaves_a_readable_statement(app_home: Path, trouble: str) -> None:
    with ProcessLock(app_home / "client.lock", "a client"):
        HealthFile(app_home).tell(SERVING, within=3, trouble=trouble)
        assert _state(app_home)[0] == "cut-off"
        HealthFile(app_home).tell(SERVING, within=3)
        assert _state(app_home)[0] == "ready"


def test_patience_that_is_no_number_is_refused() -> None:
    done = CliRunner().invoke(app, ["health", "--patience", "nan"])
    assert done.exit_code == 2
    assert "nan is not a time" in done.output


def test_unchanged_statement_is_written_every_5_seconds(app_home: Path) -> None:
    file = HealthFile(app_home)
    file.tell(SERVING, within=3)
    (app_home / NAME).unlink()
    file.tell(SERVING, within=3)
    assert not (app_home / NAME).exists()
    file.tell(SERVING, within=3, trouble="new")
    assert (app_home / NAME).exists()


def test_look_at_the_health_writes_nothing(app_home: Path) -> None:
    before = sorted(app_home.parents[1].rglob("*"))
    _state(app_home)
    assert sorted(app_home.parents[1].rglob("*")) == before


def test_started_apps_are_folders_with_allowed_names(app_home: Path, tmp_path: Path) -> None:
    (app_home.parent / "a b").mkdir()
    (app_home.parent / "file").touch()
    (app_home.parent / "link").symlink_to(app_home)
    assert started_apps(tmp_path) == [_APP]
    assert started_apps(tmp_path / "gone") == []
