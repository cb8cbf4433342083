"""The doctor over SyftBox: each fault of the folder, of its client and of the machine is one finding with a fix."""

import errno
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from examined import check, only_problem
from faithful_syftbox import DO, DS, Machines, Start, start_faithful  # noqa: F401 - a fixture
from running_daemon import TOKEN, RunningDaemon

from syft_flwr.config import load_settings
from syft_flwr.doctor import event_checks, syftbox_checks, sync_probe
from syft_flwr.doctor.examination import examine
from syft_flwr.doctor.findings import Finding
from syft_flwr.doctor.subject import Subject
from syft_flwr.names import card
from syft_flwr.transport._syftbox.daemon import RESERVE
from syft_flwr.transport.inotify import Inotify

ME, PEER = "ds@research.org", "do1@hospital-a.org"
BLOCK = {"version": 1, "defaults": {"action": "block"}, "rules": []}


@pytest.fixture(autouse=True)
def room(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give the disk enough free space, also on a small machine."""
    set_free(monkeypatch, RESERVE + 1)


def set_free(monkeypatch: pytest.MonkeyPatch, free: int) -> None:
    usage = shutil.disk_usage("/")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=free))


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[RunningDaemon]:
    with RunningDaemon(tmp_path / "me", ME) as daemon:
        yield daemon


def subject_of(daemon: RunningDaemon, environ: dict[str, str] | None = None, **arguments: Any) -> Subject:
    chosen = {"app_name": "trial", "aggregator": ME, "datasites": [PEER], **arguments}
    return Subject(load_settings(environ={**daemon.environment, **(environ or {})}, **chosen))


def bad(name: str, subject: Subject) -> Finding:
    found = only_problem(check(name, subject))
    assert found.fix
    return found


def test_client_without_faults_has_no_problem(daemon: RunningDaemon) -> None:
    subject = subject_of(daemon)
    found = examine(subject, offline=True)
    subject.close()
    assert [finding for finding in found if finding.state == "problem"] == []


def test_missing_data_folder_is_a_problem(tmp_path: Path) -> None:
    subject = Subject(load_settings(environ={}, email=ME, data_dir=tmp_path / "none", home=tmp_path))
    assert "has no folder datasites" in bad("syftbox-folder", subject).text
    assert not (tmp_path / "none").exists()


def test_config_of_another_email_is_a_problem(daemon: RunningDaemon) -> None:
    daemon.write_config(email="other@x.org")
    found = bad("syftbox-folder", subject_of(daemon, {"SYFTBOX_EMAIL": ME}))
    assert "is that of other@x.org" in found.text


def test_broken_config_of_the_client_is_a_problem(daemon: RunningDaemon) -> None:
    environ = {**daemon.environment, "SYFTBOX_EMAIL": ME, "SYFTBOX_FOLDER": str(daemon.data_dir)}
    del environ["SYFTBOX_CLIENT_CONFIG_PATH"]
    (daemon.data_dir.parent / ".syftbox").mkdir()
    (daemon.data_dir.parent / ".syftbox" / "config.json").write_text("{")
    settings = load_settings(environ={**environ, "HOME": str(daemon.data_dir.parent)}, app_name="trial")
    assert "has broken JSON" in bad("syftbox-folder", Subject(settings)).text


def test_client_that_does_not_run_is_a_problem(tmp_path: Path) -> None:
    with RunningDaemon(tmp_path / "me", ME) as daemon:
        subject = subject_of(daemon)
    assert "no SyftBox client runs" in bad("syftbox-client", subject).text


def test_blocking_subscription_is_a_problem(tmp_path: Path) -> None:
    with RunningDaemon(tmp_path / "me", ME, subscriptions=BLOCK) as daemon:
        found = bad("subscriptions", subject_of(daemon))
    assert PEER in found.text
    assert "rules:" in found.fix


def test_subscriptions_that_the_client_ignores_are_unknown(daemon: RunningDaemon) -> None:
    daemon.write_config(client_url=None)
    daemon.subscription_file.write_text("defaults: {action: block}\n")
    assert PEER in bad("subscriptions", subject_of(daemon)).text
    arrived = daemon.datasite.parent / card(PEER)
    arrived.parent.mkdir(parents=True)
    arrived.touch()
    (found,) = check("subscriptions", subject_of(daemon))
    assert found.state == "unknown"
    assert "this client may ignore the file" in found.text


def test_own_permission_file_in_the_way_is_a_problem(daemon: RunningDaemon) -> None:
    (daemon.datasite / "public").mkdir()
    (daemon.datasite / "public" / "syft.pub.yaml").write_text("rules:\n- {pattern: '**', access: {read: []}}\n")
    assert "gives do1@hospital-a.org no access" in bad("permissions", subject_of(daemon)).text


def test_ignored_file_is_a_problem(daemon: RunningDaemon) -> None:
    (daemon.datasite.parent / "syftignore").write_text("app_data/\n")
    assert "keeps" in bad("ignored-files", subject_of(daemon)).text


def test_email_that_begins_with_another_is_a_problem(daemon: RunningDaemon) -> None:
    found = bad("emails", subject_of(daemon, datasites=[PEER, PEER + "x"]))
    assert f"{PEER}x begins with {PEER}" in found.text


def test_too_little_space_for_syftbox_is_a_problem(daemon: RunningDaemon, monkeypatch: pytest.MonkeyPatch) -> None:
    set_free(monkeypatch, 1 << 30)
    assert "SyftBox syncs nothing" in bad("syftbox-space", subject_of(daemon)).text


# The local API


def test_api_says_that_the_datasite_works(daemon: RunningDaemon) -> None:
    (found,) = check("syftbox-api", subject_of(daemon))
    assert (found.state, found.text) == ("ok", "the local API says that the datasite is PROVISIONED")


def test_api_with_another_status_is_a_problem(daemon: RunningDaemon) -> None:
    daemon.replies["/v1/status"]["datasite"]["status"] = "UNPROVISIONED"
    assert "is UNPROVISIONED" in bad("syftbox-api", subject_of(daemon)).text


def test_client_without_api_is_unknown(daemon: RunningDaemon) -> None:
    daemon.write_config(client_url=None)
    (found,) = check("syftbox-api", subject_of(daemon))
    assert found.state == "unknown"
    assert "only `syftbox daemon` has one" in found.text


def test_hostile_status_is_not_shown(daemon: RunningDaemon) -> None:
    daemon.replies["/v1/status"]["datasite"]["status"] = f"\x1b[31m{TOKEN}"
    (found,) = check("syftbox-api", subject_of(daemon))
    assert (found.state, found.text) == ("unknown", "the local API of the SyftBox client tells no status")


def test_token_of_the_client_is_never_shown(daemon: RunningDaemon) -> None:
    subject = subject_of(daemon)
    found = examine(subject, offline=True)
    subject.close()
    assert TOKEN not in str(found)


# The probe file


def faithful_subject(machines: Machines) -> Subject:
    return Subject(
        load_settings(
            environ={**machines.network[DS].environment, "SYFT_FLWR_HOME": str(machines.network.root / "homes")},
            app_name="trial",
            aggregator=DS,
            datasites=[DO],
        )
    )


@pytest.fixture
def syncing(start_faithful: Start) -> Machines:  # noqa: F811 - the fixture
    machines = start_faithful((DS, DO))
    machines.world.set_automatic(True)
    return machines


def test_probe_is_taken_over_and_leaves_no_file(syncing: Machines) -> None:
    before = sorted(syncing.network[DS].datasite.rglob("*"))
    (found,) = check("syftbox-sync", faithful_subject(syncing))
    assert found.state == "ok", found
    assert "took over a probe file" in found.text
    assert sorted(syncing.network[DS].datasite.rglob("*")) == before
    assert not [name for name in syncing.world.stored() if "_internal" in name]
    assert not list(syncing.network[DO].datasites.rglob("*_internal*"))


def test_client_without_its_server_syncs_nothing(syncing: Machines, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(syftbox_checks, "_PATIENCE", 1.0)
    syncing.world.stop_server()
    found = bad("syftbox-sync", faithful_subject(syncing))
    assert "runs, but took over no probe file" in found.text
    assert not list(syncing.network[DS].datasite.rglob("*_internal*"))


def test_killed_client_syncs_nothing(syncing: Machines, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(syftbox_checks, "_SHORT", 0.2)
    syncing.world.kill(DS)
    (found,) = check("syftbox-sync", faithful_subject(syncing))
    assert (found.state, found.waits_for) == ("skipped", "syftbox-client")
    assert "no SyftBox client took over a probe file" in found.text


def test_shared_folder_without_client_needs_no_probe(tmp_path: Path) -> None:
    (tmp_path / "shared" / "datasites" / ME).mkdir(parents=True)
    settings = load_settings(environ={}, email=ME, data_dir=tmp_path / "shared", home=tmp_path)
    (found,) = check("syftbox-sync", Subject(settings))
    assert found.state == "skipped"
    assert list((tmp_path / "shared" / "datasites" / ME).iterdir()) == []


def test_old_probe_of_a_killed_doctor_is_deleted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / ME / "public" / "_internal"
    folder.mkdir(parents=True)
    (folder / "syft-flwr-doctor-0011.rejected.txt").touch()
    (folder / "other").touch()
    monkeypatch.setattr(sync_probe, "_LEFT", -1.0)
    assert sync_probe.seconds_until_synced(tmp_path, ME, 0.0) is None
    assert [path.name for path in folder.iterdir()] == ["other"]


def test_doctors_at_the_same_time_do_not_disturb_each_other(tmp_path: Path) -> None:
    (tmp_path / ME).mkdir()
    with ThreadPoolExecutor(3) as doctors:
        found = list(doctors.map(lambda _: sync_probe.seconds_until_synced(tmp_path, ME, 0.0), range(150)))
    assert found == [None] * 150
    assert list((tmp_path / ME).iterdir()) == []


# Change events


def test_reached_limit_of_inotify_names_the_limit(daemon: RunningDaemon, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Inotify, "add", refuse)
    found = bad("file-events", subject_of(daemon))
    assert "fs.inotify.max_user_watches" in found.text
    assert found.fix.startswith("Raise the limit: sudo sysctl fs.inotify.max_user_watches=")


def test_low_limit_of_inotify_is_a_problem(
    daemon: RunningDaemon, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "max_user_watches").write_text("64\n")
    monkeypatch.setattr(event_checks, "_LIMITS", tmp_path)
    assert "fs.inotify.max_user_watches is 64" in bad("file-events", subject_of(daemon)).text


def test_file_system_without_events_is_polled(daemon: RunningDaemon, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_checks, "file_system_of", lambda _: "nfs4")
    (found,) = check("file-events", subject_of(daemon))
    assert found.state == "unknown"
    assert "the files are polled" in found.text
