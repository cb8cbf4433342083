"""The doctor: the contract of its table, and the checks of settings, home and keys. Each fault is one finding with a fix."""

import json
import os
import re
import shutil
import subprocess
import threading
import time
import timeit
from collections.abc import Iterator
from contextlib import closing, suppress
from functools import partial
from itertools import count
from pathlib import Path

import pytest
from click.testing import Result
from examined import AGGREGATOR, OTHER, OWNER, Examined, check, only_problem, states, wrong_waits
from loguru import logger
from plain_user import as_plain_user
from tiny_project import DO1, DO2, Tiny
from typer.testing import CliRunner

from syft_flwr._store.futures import Futures
from syft_flwr.cli.app import app
from syft_flwr.clock import SystemClock
from syft_flwr.config import TRANSPORTS
from syft_flwr.doctor import examination, home_checks
from syft_flwr.doctor.blocked import BlockedError
from syft_flwr.doctor.examination import examine, findings_of
from syft_flwr.doctor.findings import Finding, ok, problem
from syft_flwr.doctor.subject import Subject
from syft_flwr.doctor.table import CHECKS, Check
from syft_flwr.errors import StoreError, TransportError
from syft_flwr.fl_orchestrator import private_home
from syft_flwr.fl_orchestrator.participant import open_participant
from syft_flwr.locks import ProcessLock
from syft_flwr.names import card
from syft_flwr.runs.events import RunStarted
from syft_flwr.runs.record import runs_folder
from syft_flwr.runs.stream import EventStream


@pytest.fixture
def federation(tmp_path: Path) -> Examined:
    return Examined(tmp_path)


@pytest.fixture
def healthy(federation: Examined) -> Examined:
    """Return a federation in which all participants were started and know each other."""
    federation.start(AGGREGATOR, OWNER, OTHER)
    federation.meet(AGGREGATOR, OWNER, OTHER)
    federation.meet(OWNER, AGGREGATOR)
    return federation


@pytest.fixture
def command_line(federation: Examined, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Examined]:
    """Let commands run as the aggregator, in a folder without a project."""
    monkeypatch.setenv("SYFTBOX_EMAIL", AGGREGATOR)
    monkeypatch.setenv("SYFTBOX_FOLDER", str(tmp_path / "shared"))
    monkeypatch.setenv("SYFT_FLWR_HOME", str(tmp_path / "homes"))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("COLUMNS", "1000")
    monkeypatch.chdir(tmp_path)
    yield federation
    logger.remove()


def invoke(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["doctor", "--offline", *arguments])


def files_below(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


# The table


def test_names_of_checks_are_unique_words() -> None:
    names = [check.name for check in CHECKS]
    assert len(set(names)) == len(names)
    assert all(name.replace("-", "").isalpha() and name.islower() for name in names)


def test_each_check_is_bounded_and_described() -> None:
    for row in CHECKS:
        assert 0 < row.limit <= 90
        assert row.purpose.endswith(".")
        assert row.transport in ("", *TRANSPORTS)


@pytest.mark.parametrize("name", [row.name for row in CHECKS])
def test_no_check_needs_settings_that_can_be_read(name: str) -> None:
    found = check(name, Subject(None, error=TransportError("unreadable")))
    assert found
    assert all(finding.check == name and (finding.fix or finding.state != "problem") for finding in found)


def test_error_of_the_disk_becomes_a_problem(federation: Examined) -> None:
    def fail(_: Subject) -> list[Finding]:
        raise PermissionError(13, "Permission denied", "/some/file")

    (found,) = findings_of(Check("broken", "It fails.", fail), federation.subject())
    assert (found.check, found.state) == ("broken", "problem")
    assert "/some/file" in found.text
    assert found.fix


def test_missing_requirement_skips_a_check(federation: Examined) -> None:
    def fail(_: Subject) -> list[Finding]:
        raise BlockedError("a thing is missing")

    (found,) = findings_of(Check("blocked", "It needs a thing.", fail), federation.subject())
    assert (found.state, found.text) == ("skipped", "not checked: a thing is missing")


def test_hanging_check_is_given_up(federation: Examined, monkeypatch: pytest.MonkeyPatch) -> None:
    release = threading.Event()

    def hang(_: Subject) -> list[Finding]:
        release.wait()
        return []

    rows = (
        Check("hanging", "It hangs.", hang, limit=0.05, late="Wait."),
        Check("good", "It ends.", lambda _: [ok("fine")]),
    )
    monkeypatch.setattr(examination, "CHECKS", rows)
    try:
        late, good = examine(federation.subject())
    finally:
        release.set()
    assert (late.check, late.state, late.fix) == ("hanging", "unknown", "Wait.")
    assert good.state == "ok"


def test_time_of_a_stopped_doctor_does_not_count(federation: Examined, monkeypatch: pytest.MonkeyPatch) -> None:
    stops = iter((0.0, 600.0))
    stopped = 0.0

    def later() -> float:
        nonlocal stopped
        stopped += next(stops, 0.0)
        return time.monotonic() + stopped

    def work(_: Subject) -> list[Finding]:
        time.sleep(0.2)
        return [ok("fine")]

    monkeypatch.setattr(examination, "monotonic", later)
    monkeypatch.setattr(examination, "CHECKS", (Check("slow", "It takes time.", work, limit=5.0),))
    monkeypatch.setattr(examination, "_STEP", 0.05)
    (found,) = examine(federation.subject())
    assert (found.state, found.text) == ("ok", "fine")


def test_text_of_a_finding_is_inert() -> None:
    found = problem("a\x1b]0;title\x07 name", "run \u202e this")
    assert found.text == "a\\x1b]0;title\\x07 name"
    assert found.fix == "run \\u202e this"


# A healthy participant


@pytest.mark.parametrize("email", [AGGREGATOR, OWNER])
def test_healthy_participant_has_no_problem(healthy: Examined, email: str) -> None:
    found = healthy.examine(email)
    assert "problem" not in states(found).values(), found


def test_doctor_changes_no_file(healthy: Examined) -> None:
    before = files_below(healthy.folder)
    healthy.examine()
    assert files_below(healthy.folder) == before


def test_new_participant_gets_no_keys(federation: Examined) -> None:
    found = federation.examine()
    assert "problem" not in states(found).values(), found
    assert not federation.home().exists()


@pytest.mark.parametrize("offline", [True, False])
def test_missing_data_folder_is_not_created(healthy: Examined, offline: bool) -> None:
    shared = healthy.folder / "shared"
    for path in shared.iterdir():
        shutil.rmtree(path)

    found = healthy.examine(offline=offline, datasites=[OWNER])

    assert "has no folder datasites" in only_problem([each for each in found if each.check == "syftbox-folder"]).text
    assert list(shared.iterdir()) == []
    assert not wrong_waits(found)


# One cause is one problem


@pytest.mark.parametrize(
    ("environ", "cause"),
    [
        ({"SYFTBOX_EMAIL": "", "SYFTBOX_FOLDER": ""}, "settings"),
        ({"SYFT_FLWR_THREADS": "many"}, "settings"),
        ({"HOME": "relative", "SYFT_FLWR_HOME": ""}, "settings"),
        ({"SYFTBOX_EMAIL": "unrelated@x.org"}, "role"),
        ({"SYFTBOX_FOLDER": "/no/such/folder"}, "syftbox-folder"),
        ({"SYFT_FLWR_TRANSPORT": "p2p", "GDRIVE_TOKEN_PATH": "/no/such/token"}, "drive-login"),
        ({"SYFT_FLWR_HOME": "/dev/null"}, "home-writes"),
    ],
)
def test_fault_of_the_settings_is_one_problem(
    environ: dict[str, str], cause: str, command_line: Examined, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = Tiny(tmp_path, AGGREGATOR).folder
    # Their files have arrived, so that they are no problem.
    command_line.start(AGGREGATOR, DO1, DO2)
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    subject = Subject.load(project)
    found = examine(subject)
    subject.close()
    causes = {finding.check for finding in found if finding.state == "problem"}
    # No data owner runs in this federation.
    assert causes - {"peers-running"} == {cause}, found
    assert len([finding for finding in found if finding.check == cause and finding.state == "problem"]) == 1
    assert not wrong_waits(found)
    assert cause in {finding.waits_for for finding in found}


@pytest.mark.parametrize("text", ["[tool", "[tool.syft_flwr]\nunknown = 1\n", "[tool]\nsyft_flwr = 1\n", None])
def test_fault_of_the_project_file_is_one_problem(text: str | None, command_line: Examined, tmp_path: Path) -> None:
    folder = tmp_path / "project"
    folder.mkdir()
    if text is not None:
        (folder / "pyproject.toml").write_text(text)
    subject = Subject.load(folder)
    found = examine(subject, offline=True)
    subject.close()
    only_problem([finding for finding in found if finding.check != "project" or "components" not in finding.text])
    assert not wrong_waits(found)
    assert {finding.waits_for for finding in found} >= {"settings"}


def test_fault_of_the_keys_is_one_problem(healthy: Examined) -> None:
    (healthy.home() / "identity.key").write_bytes(b"short")
    found = healthy.examine(offline=False)
    assert only_problem([each for each in found if each.check != "peers-running"]).check == "keys"
    assert not wrong_waits(found)


def test_changed_key_is_one_problem(healthy: Examined) -> None:
    healthy.lose_home(OWNER)
    healthy.start(OWNER)
    found = healthy.examine(offline=False, datasites=[OWNER])
    assert only_problem(found).check == "peers"
    assert not wrong_waits(found)


def test_checks_without_a_project_wait_for_it(federation: Examined) -> None:
    subject = Subject(federation.settings(app_name=None, aggregator=None, datasites=()))
    found = examine(subject)
    subject.close()
    waiting = {finding.check for finding in found if finding.waits_for == "project"}
    assert waiting >= {"app", "role", "peers", "peers-running", "releases"}
    assert not wrong_waits(found)


# The home


def test_home_that_others_can_read_is_a_problem(healthy: Examined) -> None:
    healthy.home().chmod(0o755)
    found = only_problem(healthy.check("home-modes"))
    assert found.fix == f"Run: chmod 700 {healthy.home()}"


def test_keys_that_others_can_read_are_a_problem(healthy: Examined) -> None:
    (healthy.home() / "identity.key").chmod(0o644)
    found = only_problem(healthy.check("home-modes"))
    assert found.fix == f"Run: chmod 600 {healthy.home() / 'identity.key'}"


def test_home_of_another_user_is_a_problem(healthy: Examined, monkeypatch: pytest.MonkeyPatch) -> None:
    own = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: own + 1)
    found = healthy.check("home-modes")
    assert {finding.state for finding in found} == {"problem"}
    assert "belongs to another user" in found[0].text


def test_home_on_a_network_share_is_a_problem(healthy: Examined, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(private_home, "file_system_of", lambda _: "nfs4")
    found = only_problem(healthy.check("home-disk"))
    assert "(nfs4)" in found.text
    assert "SYFT_FLWR_HOME" in found.fix


@pytest.mark.parametrize("form", ["file", "loop"])
def test_home_that_is_no_folder_is_a_problem(federation: Examined, form: str) -> None:
    home = federation.home()
    home.parent.mkdir()
    if form == "file":
        home.touch()
    else:
        home.symlink_to(home)
    found = only_problem(federation.examine())
    assert found.text == f"{home} is a file or a broken link in the place of a folder"


def test_home_that_cannot_be_made_is_a_problem(federation: Examined, monkeypatch: pytest.MonkeyPatch) -> None:
    # The user of the tests may have every right.
    monkeypatch.setattr(os, "access", lambda *_: False)
    assert "this user may not write to" in only_problem(federation.check("home-writes")).text


def on_small_disk(federation: Examined, disk: Path) -> Path:
    """Move the home of the aggregator to a disk, and return its new place."""
    federation.environ["SYFT_FLWR_HOME"] = str(disk)
    return Path(shutil.move(federation.home(), disk / AGGREGATOR))


@pytest.mark.parametrize("left", ["bytes", "files"])
def test_full_disk_is_one_problem(left: str, federation: Examined, small_disk: Path) -> None:
    federation.start(AGGREGATOR)
    home = on_small_disk(federation, small_disk)
    if left == "files":
        subprocess.run(["mount", "-o", "remount,nr_inodes=40", small_disk], check=True)
    with suppress(OSError):
        for number in count():
            (home / f"large-{number}").write_bytes(b"" if left == "files" else bytes(4096))
    found = federation.examine()
    assert only_problem(found).check == "home-space"
    assert ("home-writes", "home-space") in {(each.check, each.waits_for) for each in found}
    assert not wrong_waits(found)


def test_home_on_a_read_only_disk_is_told(federation: Examined, small_disk: Path) -> None:
    federation.start(AGGREGATOR)
    home = on_small_disk(federation, small_disk)
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    found = only_problem(federation.check("home-writes"))
    assert found.text == f"the file system of {home} is mounted read-only"
    assert "Mount it for writing" in found.fix


@pytest.mark.parametrize("form", ["folder", "pipe"])
def test_database_that_is_no_file_is_one_problem(form: str, healthy: Examined) -> None:
    for path in healthy.home().glob("peers.db*"):
        path.unlink()
    path = healthy.home() / "peers.db"
    path.mkdir(mode=0o700) if form == "folder" else os.mkfifo(path, 0o600)
    assert f"{path} is not a regular file" in only_problem(healthy.examine()).text
    with pytest.raises(StoreError, match="is not a regular file"):
        open_participant(healthy.settings()).open_trust().close()


def test_damaged_database_of_peers_is_one_problem(healthy: Examined) -> None:
    for path in healthy.home().glob("peers.db*"):
        path.write_bytes(b"no database" * 500)
    assert "Move the file away" in only_problem(healthy.examine()).fix


def test_damaged_database_of_a_run_is_a_problem(healthy: Examined) -> None:
    folder = healthy.home() / "apps" / "trial"
    folder.mkdir(parents=True)
    Futures(folder / "futures.db").close()
    assert [finding.text for finding in healthy.check("databases")] == ["1 database of runs can be read"]
    (folder / "ledger.db").write_bytes(b"no database" * 500)
    found = only_problem(healthy.check("databases"))
    assert f"{folder / 'ledger.db'} cannot be used" in found.text
    assert "Move the file away" in found.fix


def test_home_without_locks_is_a_problem(healthy: Examined, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(37, "No locks available")

    monkeypatch.setattr(home_checks.fcntl, "flock", refuse)
    assert "has no locks" in only_problem(healthy.check("home-writes")).text
    assert list(healthy.home().glob(".doctor*")) == []


def test_home_without_hard_links_is_no_problem(healthy: Examined, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    (found,) = healthy.check("home-writes")
    assert found.state == "ok"
    assert "no hard links" in found.text


def test_full_disk_of_the_home_is_a_problem(healthy: Examined, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = home_checks.shutil.disk_usage(healthy.folder)
    monkeypatch.setattr(home_checks.shutil, "disk_usage", lambda _: usage._replace(free=1_000_000))
    found = only_problem(healthy.check("home-space"))
    assert "1.0 MB are free" in found.text


# Keys


def test_damaged_key_file_is_a_problem(healthy: Examined) -> None:
    (healthy.home() / "identity.key").write_bytes(b"short")
    assert "is not a key file" in only_problem(healthy.check("keys")).text


@pytest.mark.parametrize(
    ("name", "check"), [("identity.key", "keys"), ("peers.db", "peers"), ("apps/trial/futures.db", "databases")]
)
def test_refused_private_file_is_a_problem_of_its_mode(healthy: Examined, name: str, check: str) -> None:
    path = healthy.home() / name
    if name.startswith("apps"):
        Futures(path).close()
    path.chmod(0)

    found = only_problem(as_plain_user(lambda: healthy.check(check, datasites=[OWNER])))

    assert found.text == f"{path} cannot be read: Permission denied"
    assert f"ls -l {path}" in found.fix


def test_card_of_a_lost_home_is_a_problem(healthy: Examined) -> None:
    healthy.lose_home(AGGREGATOR)
    with healthy.participant(AGGREGATOR):
        pass
    found = only_problem(healthy.check("keys"))
    assert "with other keys" in found.text
    assert f"syft-flwr peers accept {AGGREGATOR} FINGERPRINT" in found.fix


def test_changed_key_names_the_command(healthy: Examined) -> None:
    healthy.lose_home(OWNER)
    healthy.start(OWNER)
    found = only_problem(healthy.check("peers"))
    assert f"the key of {OWNER} changed" in found.text
    assert f"syft-flwr peers accept {OWNER} FINGERPRINT" in found.fix


def test_key_of_a_peer_of_another_project_does_not_count(healthy: Examined) -> None:
    healthy.lose_home(OTHER)
    healthy.start(OTHER)
    assert OTHER in only_problem(healthy.check("peers")).text
    found = healthy.check("peers", datasites=[OWNER])
    assert [finding.state for finding in found] == ["ok"]


def test_unreadable_card_of_a_peer_is_a_problem(healthy: Examined) -> None:
    (healthy.datasite(OWNER) / card(OWNER).partition("/")[2]).write_text("no card")
    assert f"the key card of {OWNER} cannot be read" in only_problem(healthy.check("peers")).text


def test_peer_without_a_card_is_unknown(federation: Examined) -> None:
    federation.start(AGGREGATOR, OWNER)
    federation.meet(AGGREGATOR, OWNER)
    found = {finding.state: finding for finding in federation.examine() if finding.check == "peers"}
    assert OTHER in found["unknown"].text
    assert OWNER in found["ok"].text


# Settings


def test_settings_name_their_sources(federation: Examined) -> None:
    (found,) = [each for each in federation.check("settings") if each.state == "ok"]
    assert f"email {AGGREGATOR} (environment SYFTBOX_EMAIL)" in found.text
    assert "datasites (argument)" in found.text


def test_settings_never_show_private_values(tmp_path: Path) -> None:
    federation = Examined(tmp_path, {"SYFT_FLWR_NODE_CONFIG": "password='hunter2'"})
    assert "hunter2" not in str(federation.examine())


def test_misspelt_variable_is_a_problem(federation: Examined, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SYFT_FLWR_MSG_TIMOUT", "3")
    assert "SYFT_FLWR_MSG_TIMEOUT" in only_problem(federation.check("settings")).fix


def test_broken_project_still_has_a_participant(command_line: Examined, tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text("[tool")
    subject = Subject.load(tmp_path)
    assert subject.email == AGGREGATOR
    assert "broken TOML" in only_problem(check("settings", subject)).text


def test_unrelated_email_has_no_role(command_line: Examined, tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text(
        f'[tool.syft_flwr]\napp_name = "trial"\naggregator = "{OWNER}"\ndatasites = ["{OTHER}"]\n'
    )
    assert "is neither the aggregator nor" in only_problem(check("role", Subject.load(tmp_path))).text


def test_process_that_stands_still_is_a_problem(command_line: Examined, tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text(
        f'[tool.syft_flwr]\napp_name = "trial"\naggregator = "{AGGREGATOR}"\ndatasites = ["{OTHER}"]\n'
    )
    home = command_line.home() / "apps" / "trial"
    with (
        ProcessLock(home / "server.lock", "a server"),
        closing(Futures(home / "futures.db")) as futures,
        closing(EventStream(runs_folder(home), "aggregator", SystemClock())) as stream,
    ):
        futures.runs.begin(7, SystemClock().now(), alone=False)
        stream.emit(7, RunStarted("aggregator", "trial", AGGREGATOR))
        assert stream.flush(10)
        (found,) = check("role", Subject.load(tmp_path))
        assert (found.state, "its server runs now" in found.text) == ("ok", True)

        for path in runs_folder(home).iterdir():
            path.write_text(re.sub(r'("(?:time|updated)": ?")2', r"\g<1>1", path.read_text()))
        found = only_problem(check("role", Subject.load(tmp_path)))
        home.rename(home.with_name("other"))
        with ProcessLock(home / "server.lock", "a server"):
            (of_another_app,) = check("role", Subject.load(tmp_path))
    assert "its server runs now" in of_another_app.text
    assert found.text == "the server of trial stands still: run 7 has no event for more than 15 s"
    assert "kill -CONT" in found.fix


# The command


def test_command_prints_only_json_to_the_output(command_line: Examined) -> None:
    result = invoke("--format", "json")
    found = json.loads(result.stdout)
    assert result.exit_code == 0
    assert found["success"] is True
    assert {each["check"] for each in found["findings"]} >= {"settings", "home-modes", "keys", "peers"}


def test_command_fails_if_there_is_a_problem(command_line: Examined) -> None:
    command_line.start(AGGREGATOR)
    command_line.home().chmod(0o755)
    result = invoke("--format", "json")
    found = json.loads(result.stdout)
    assert result.exit_code == 1
    assert found["success"] is False
    assert "the doctor found 1 problem: home-modes" in result.stderr
    (bad,) = [each for each in found["findings"] if each["state"] == "problem"]
    assert bad["fix"].startswith("Run: chmod 700")


def test_command_shows_a_table_with_the_fix(command_line: Examined) -> None:
    command_line.start(AGGREGATOR)
    command_line.home().chmod(0o755)
    result = invoke()
    assert "home-modes" in result.stdout
    assert "Run: chmod 700" in result.stdout


def test_checks_that_wait_for_one_cause_share_a_row(command_line: Examined, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SYFTBOX_EMAIL", "")
    lines = invoke().stdout.splitlines()
    waiting = [line for line in lines if " skipped " in line]
    assert [line for line in waiting if "wait for settings: " in line and "home-modes, home-disk" in line]
    assert len(waiting) <= 4, waiting
    found = json.loads(invoke("--format", "json").stdout)["findings"]
    assert len([each for each in found if each["waits-for"] == "settings"]) > 10


def test_command_refuses_an_unknown_role(command_line: Examined) -> None:
    result = invoke("--role", "nurse")
    assert result.exit_code == 2
    assert "allowed are server and client" in result.stderr


# At a start


def test_start_warns_once_of_a_problem_with_its_fix(healthy: Examined, logged: list[str]) -> None:
    healthy.home().chmod(0o755)
    for _ in range(2):
        open_participant(healthy.settings()).transport.close()
    lines = [line for line in logged if "can be read by others" in line]
    assert len(lines) == 1
    assert lines[0].startswith("WARNING")
    assert "Run: chmod 700" in lines[0]


def test_start_of_a_healthy_participant_is_silent(healthy: Examined, logged: list[str]) -> None:
    logged.clear()
    open_participant(healthy.settings()).transport.close()
    assert logged == []


def test_checks_at_a_start_cost_little(healthy: Examined) -> None:
    best = min(timeit.repeat(partial(private_home.find_problems, healthy.home()), number=1, repeat=20))
    assert best < 0.01
