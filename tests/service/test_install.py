"""``syft-flwr client --install-service``: a unit that systemd reads without a word, written only if the client could start."""

import json
import os
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest
from servicekit.service_federation import UNIT, ServiceFederation
from servicekit.user_manager import UserManager
from tiny_project import DO1
from waiting import eventually

needs_systemd = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="this machine has no systemd")
_SPECIAL = "a b%h $HOME 'q' \"d\" \\n ü;#"


def _verify(unit: Path, folder: Path) -> str:
    environ = os.environ | {"XDG_RUNTIME_DIR": str(folder)}
    done = subprocess.run(
        ["systemd-analyze", "verify", "--user", str(unit)], env=environ, capture_output=True, text=True, check=False
    )
    return done.stdout + done.stderr


@needs_systemd
def test_verify_prints_nothing_about_the_unit(federation: ServiceFederation, tmp_path: Path) -> None:
    done = federation.install("--node-config", "partition-id=3", LANG=_SPECIAL, SYFT_FLWR_IDLE_AFTER="60")
    assert not done.returncode, done.stderr
    assert _verify(federation.units / UNIT, tmp_path) == ""
    # Also as a unit of the system, which an administrator can make of it.
    system = subprocess.run(
        ["systemd-analyze", "verify", str(federation.units / UNIT)], capture_output=True, text=True, check=False
    )
    assert system.stdout + system.stderr == ""


@needs_systemd
def test_verify_finds_a_misspelt_key(federation: ServiceFederation, tmp_path: Path) -> None:
    federation.install()
    unit = federation.units / UNIT
    unit.write_text(unit.read_text().replace("KillMode=", "KilMode="))
    assert "KilMode" in _verify(unit, tmp_path)


def test_service_does_the_same_as_the_terminal(federation: ServiceFederation, boot: object) -> None:
    folder = federation.folder / _SPECIAL
    folder.mkdir()
    project = federation.tiny.folder.rename(folder / "tiny")
    (folder / "node.toml").write_text('ward = "3"')
    environ = federation.environ(DO1) | {"DATA_DIR": "data/%h $x \\", "LANG": _SPECIAL}
    command = [federation.tiny.command()[0], "client", "--install-service", "tiny", "--node-config", "node.toml"]
    done = subprocess.run(command, env=os.environ | environ, cwd=folder, capture_output=True, text=True, check=False)
    assert not done.returncode, done.stderr
    manager: UserManager = boot()  # type: ignore[operator]
    assert manager.systemctl("start", UNIT).returncode == 0
    client = manager.main_process(UNIT)
    assert client
    assert client.cmdline()[2:] == ["client", "--keep", str(project), "--node-config", str(folder / "node.toml")]
    assert client.cwd() == str(folder)
    found = client.environ()
    carried = {name: value for name, value in environ.items() if value and name != "TINY_TASK"}
    assert {name: found.get(name) for name in carried} == carried


def test_client_that_could_not_start_is_not_installed(federation: ServiceFederation) -> None:
    app = federation.tiny.folder / "tiny" / "client_app.py"
    text = app.read_text()
    app.write_text("import no_such_package")
    broken = federation.install()
    app.write_text(text)
    stranger = federation.install(SYFTBOX_EMAIL="eve@hospital-c.org")
    missing = federation.call("client", "--install-service", str(federation.folder / "gone"))
    assert [broken.returncode, stranger.returncode, missing.returncode] == [1, 2, 2]
    assert "no_such_package" in broken.stderr
    assert "is not a datasite" in stranger.stderr
    assert not federation.units.exists()


def test_second_install_tells_the_restart(federation: ServiceFederation) -> None:
    first = federation.install()
    assert f"systemctl --user enable --now {UNIT}" in first.stdout
    assert "loginctl enable-linger" in first.stdout
    again = federation.install("--format", "json")
    assert json.loads(again.stdout)["changed"] is False
    changed = federation.install("--format", "json", SYFT_FLWR_IDLE_AFTER="60")
    found = json.loads(changed.stdout)
    assert (found["service"], found["changed"]) == (UNIT, True)
    # The unit is not enabled yet, so a restart alone would not start it after a boot.
    assert found["next"][1:3] == [f"systemctl --user enable {UNIT}", f"systemctl --user restart {UNIT}"]
    wants = federation.units / "default.target.wants"
    wants.mkdir()
    (wants / UNIT).symlink_to(federation.units / UNIT)
    enabled = json.loads(federation.install("--format", "json").stdout)["next"]
    assert enabled[1] == f"systemctl --user restart {UNIT}"
    assert "SYFT_FLWR_IDLE_AFTER" in found["environment"]


def test_uninstall_deletes_the_unit_alone(federation: ServiceFederation) -> None:
    federation.install()
    done = federation.call("client", "--uninstall-service", str(federation.tiny.folder))
    assert not done.returncode, done.stderr
    assert f"systemctl --user stop {UNIT}" in done.stdout
    assert not any(federation.units.iterdir())
    again = federation.call("client", "--uninstall-service", "--service-name", "tiny")
    assert again.returncode == 2
    assert "does not exist" in again.stderr


def test_uninstall_keeps_the_unit_of_another_email(federation: ServiceFederation) -> None:
    federation.install()
    command = ("client", "--uninstall-service", str(federation.tiny.folder))
    done = federation.call(*command, SYFTBOX_EMAIL="eve@hospital-c.org")
    assert done.returncode == 2
    assert f"is the service of {DO1}, another participant" in done.stderr
    assert (federation.units / UNIT).exists()


def test_units_may_be_below_a_link(federation: ServiceFederation) -> None:
    federation.units.parent.mkdir(parents=True)
    shared = federation.folder / "dotfiles"
    shared.mkdir()
    federation.units.symlink_to(shared)
    for more in ({}, {"SYFT_FLWR_IDLE_AFTER": "60"}):
        done = federation.install(**more)
        assert not done.returncode, done.stderr
    done = federation.call("client", "--uninstall-service", str(federation.tiny.folder))
    assert not done.returncode, done.stderr
    assert not any(shared.iterdir())
    assert federation.units.is_symlink()


def test_several_projects_are_one_service(federation: ServiceFederation) -> None:
    other = shutil.copytree(federation.tiny.folder, federation.folder / "other")
    (other / "pyproject.toml").write_text((other / "pyproject.toml").read_text().replace('"tiny"', '"another"'))
    done = federation.call("client", "--install-service", str(federation.tiny.folder), str(other))
    assert not done.returncode, done.stderr
    [unit] = federation.units.iterdir()
    assert unit.name == "syft-flwr-client-another.tiny.service"
    [command] = [line for line in unit.read_text().splitlines() if line.startswith("ExecStart=")]
    assert shlex.split(command)[-2:] == [str(federation.tiny.folder), str(other)]


@pytest.mark.parametrize(
    "options", [["--service-name", "x"], ["--force"], ["--install-service", "--uninstall-service"]], ids=" ".join
)
def test_options_that_do_not_fit_start_nothing(federation: ServiceFederation, options: list[str]) -> None:
    done = federation.call("client", str(federation.tiny.folder), *options)
    assert done.returncode == 2
    assert not federation.units.exists()


def test_folder_that_cannot_be_written_is_an_error(federation: ServiceFederation) -> None:
    federation.units.parent.mkdir(parents=True)
    federation.units.touch()
    done = federation.install()
    assert done.returncode == 1
    assert done.stderr.count("\n") == 2


def test_machine_without_systemd_is_told_so(federation: ServiceFederation) -> None:
    done = federation.install(PATH=str(federation.folder))
    assert done.returncode == 2
    assert "has no systemd" in done.stderr


def test_health_of_a_client_before_its_first_run(federation: ServiceFederation) -> None:
    assert federation.health()["code"] == 1
    client = federation.start(DO1, "--keep")
    eventually(lambda: federation.state() == "ready", "the client")
    assert federation.health("--live")["code"] == 0
    everywhere = federation.call("health", "--format", "json")
    assert json.loads(everywhere.stdout)["processes"][0]["app"] == "tiny"
    pyproject = federation.tiny.folder / "pyproject.toml"
    pyproject.write_text('[project]\nname = "another-program"')
    elsewhere = federation.call("health", "--format", "json")
    assert json.loads(elsewhere.stdout)["processes"][0]["app"] == "tiny"
    client.terminate()
    assert client.wait() == 143
    assert federation.health("--live")["code"] == 1


def test_health_of_a_wrong_project_is_not_exit_code_2(federation: ServiceFederation) -> None:
    done = federation.call("health", str(federation.folder / "gone"))
    assert done.returncode == 1
    assert done.stderr.startswith("Error:")
