"""The installed service over a real systemd user manager: it survives kills and reboots, and ends cleanly."""

import json
import signal
import time
from collections.abc import Callable
from pathlib import Path

import psutil
from servicekit.service_federation import UNIT, ServiceFederation
from servicekit.user_manager import UserManager
from tiny_project import DO1, DS
from waiting import PATIENCE, eventually

Boot = Callable[[], UserManager]
#: Seconds: RestartSec and a start on a busy machine.
_RESTART = 3 * PATIENCE
#: Seconds for a start with another client.
_START = 5


def _started(federation: ServiceFederation, boot: Boot, drop_in: str = "") -> UserManager:
    """Return the manager of a new service that is ready, with these lines of a drop-in."""
    federation.install()
    if drop_in:
        federation.add_drop_in(drop_in)
    manager = boot()
    assert federation.state() == "not-running"
    done = manager.systemctl("enable", "--now", UNIT)
    assert not done.returncode, done.stderr
    assert federation.state() == "ready"
    return manager


def _begin_a_round(federation: ServiceFederation) -> None:
    federation.start(DS)
    eventually(lambda: federation.tiny.hangs, "the work of the app")


def _assert_completed(federation: ServiceFederation) -> None:
    assert federation.running[DS].wait(_RESTART) == 0, federation.log(DS)
    reports = json.loads((federation.folder / DS / "reports.json").read_text())
    assert [report["answer"] for report in reports.values()] == [42]


def test_start_ends_when_the_client_is_ready(federation: ServiceFederation, boot: Boot) -> None:
    manager = _started(federation, boot)
    assert manager.show(UNIT, "StatusText") == "tiny is served"


def test_killed_client_completes_the_round(federation: ServiceFederation, boot: Boot) -> None:
    manager = _started(federation, boot)
    _begin_a_round(federation)
    killed = manager.main_process(UNIT)
    assert killed
    killed.send_signal(signal.SIGKILL)
    _assert_completed(federation)
    assert manager.show(UNIT, "NRestarts") == "1"


def test_killed_worker_does_not_end_the_service(federation: ServiceFederation, boot: Boot) -> None:
    manager = _started(federation, boot)
    _begin_a_round(federation)
    client = manager.main_process(UNIT)
    assert client
    worker = next(
        each for each in client.children(recursive=True) if "syft_flwr.fl_orchestrator.worker" in each.cmdline()
    )
    worker.send_signal(signal.SIGKILL)
    # The server of the tiny project ends with an error, because its only message failed.
    assert federation.running[DS].wait(_RESTART) == 1
    assert "worker-died" in federation.log(DS)
    (federation.tiny.data[0] / "pids").touch()
    federation.start(DS)
    _assert_completed(federation)
    assert manager.main_process(UNIT) == client


def test_service_completes_the_round_after_a_reboot(federation: ServiceFederation, boot: Boot) -> None:
    manager = _started(federation, boot)
    _begin_a_round(federation)
    before = manager.processes()
    manager.power_off()
    assert not [each for each in before if each.is_running()]
    assert federation.state() == "not-running"
    again = boot()
    _assert_completed(federation)
    assert again.show(UNIT, "ActiveState") == "active"


def test_stopped_service_ends_as_a_success(federation: ServiceFederation, boot: Boot) -> None:
    manager = _started(federation, boot)
    _begin_a_round(federation)
    done = manager.systemctl("stop", UNIT)
    assert not done.returncode, done.stderr
    assert (manager.show(UNIT, "ActiveState"), manager.show(UNIT, "Result")) == ("inactive", "success")
    assert not manager.main_process(UNIT)
    assert not [each for each in manager.processes() if "syft_flwr" in " ".join(each.cmdline())]


def test_hanging_client_is_killed_by_the_watchdog(federation: ServiceFederation, boot: Boot) -> None:
    manager = _started(federation, boot, "WatchdogSec=15\nRestartSec=1")
    hanging = manager.main_process(UNIT)
    assert hanging
    hanging.send_signal(signal.SIGSTOP)
    eventually(lambda: federation.health("--patience", "1", "--live")["code"] == 1, "the finding of health")
    eventually(lambda: not hanging.is_running(), "the kill by the watchdog")
    eventually(lambda: federation.state() == "ready", "the next client", _RESTART)


def test_wrong_setting_is_tried_again_until_corrected(federation: ServiceFederation, boot: Boot) -> None:
    federation.install()
    federation.add_drop_in("RestartSec=100ms")
    config = Path(federation.environ(DO1)["SYFTBOX_CLIENT_CONFIG_PATH"])
    aside = config.rename(config.with_suffix(".aside"))
    manager = boot()
    assert manager.systemctl("start", "--no-block", UNIT).returncode == 0
    # More than the start limit of systemd, after which it would give up.
    eventually(lambda: int(manager.show(UNIT, "NRestarts") or 0) > 6, "restarts", _RESTART)
    aside.rename(config)
    eventually(lambda: federation.state() == "ready", "the client", _RESTART)


def test_second_client_waits_without_noise(federation: ServiceFederation, boot: Boot) -> None:
    federation.install()
    federation.add_drop_in(f"TimeoutStartSec={_START}")
    first = federation.start(DO1, "--keep")
    eventually(lambda: federation.state() == "ready", "the first client")
    manager = boot()
    assert manager.systemctl("start", "--no-block", UNIT).returncode == 0
    log = federation.home / "manager.log"
    eventually(lambda: "so this service waits" in manager.show(UNIT, "StatusText"), "the reason of the wait")
    waiting = manager.main_process(UNIT)
    assert waiting
    # The time of a start does not end the wait for another client.
    eventually(lambda: time.time() - waiting.create_time() > 2 * _START, "a long wait", _RESTART)
    assert manager.main_process(UNIT) == waiting
    first.send_signal(signal.SIGTERM)
    first.wait(PATIENCE)
    eventually(lambda: manager.show(UNIT, "ActiveState") == "active", "the service in its place", _RESTART)
    assert manager.show(UNIT, "NRestarts") == "0", log.read_text()


def test_no_process_is_left_by_the_manager(federation: ServiceFederation, boot: Boot) -> None:
    manager = boot()
    inside = manager.processes()
    assert inside
    manager.power_off()
    assert not [each for each in inside if psutil.pid_exists(each.pid) and each.is_running()]
