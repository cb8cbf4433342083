"""The unit of a service: its escapes, its environment without secrets, and the files of others that stay."""

import os
import sysconfig
from pathlib import Path

import pytest

from syft_flwr.cli.service_command import own_program
from syft_flwr.errors import ConfigError, StoreError
from syft_flwr.systemd.carried_environment import absolute_node_config, carried_environment
from syft_flwr.systemd.unit_file import UnitFile, service_name, units_folder
from syft_flwr.systemd.unit_text import owner_of, unit_text

_OWNER = "do1@hospital-a.org"


def _text(*arguments: str, folder: str = "/srv/my app", hardened: bool = True, **environment: str) -> str:
    return unit_text("a client", _OWNER, ["/opt/x/syft-flwr", *arguments], Path(folder), environment, hardened=hardened)


def test_values_are_escaped_as_systemd_reads_them() -> None:
    text = _text('a "b" \\ 100% $HOME ü', folder="/srv/100% $x", DATA_DIR='/d/%h "q" \\n $y')
    assert r'ExecStart="/opt/x/syft-flwr" "a \"b\" \\ 100%% $$HOME ü"' in text.splitlines()
    assert "WorkingDirectory=/srv/100%% $x" in text.splitlines()
    # A dollar sign has no meaning in this line.
    assert r'Environment="DATA_DIR=/d/%%h \"q\" \\n $y"' in text.splitlines()


@pytest.mark.parametrize("word", ["a\nb", "a\rb", "a\tb", "a\0b", "a\x1bb", "a\u2028b", "a\x85b"])
def test_invisible_characters_are_refused(word: str) -> None:
    with pytest.raises(ConfigError, match="invisible character"):
        _text(word)
    with pytest.raises(ConfigError, match="the environment DATA_DIR has"):
        carried_environment({"DATA_DIR": f"/{word}"})


@pytest.mark.parametrize("folder", ["/srv/a ", "/srv/a\\"])
def test_folder_that_a_unit_cannot_name_is_refused(folder: str) -> None:
    with pytest.raises(ConfigError, match="no service can have it"):
        _text(folder=folder)


def test_settings_are_carried_and_other_variables_are_not() -> None:
    known = {"DATA_DIR": "data", "SYFT_FLWR_IDLE_AFTER": "60", "SYFTBOX_CLIENT_CONFIG_PATH": "/c.json", "PATH": "/bin"}
    others = {"MLFLOW_TRACKING_PASSWORD": "hunter2", "AWS_SECRET_ACCESS_KEY": "x", "SYFT_FLWR_KEEP": " "}
    found = carried_environment(known | others)
    assert found == known


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("SYFT_FLWR_NODE_CONFIG", 'db="postgres://x"'),
        ("SYFT_FLWR_RUN_CONFIG_PINS", 'salt="abc"'),
        ("SYFT_FLWR_WORKER_COMMAND", "docker run -e PASSWORD=hunter2 image python"),
        ("HTTPS_PROXY", "http://ann:hunter2@proxy:3128"),
    ],
)
def test_possible_secret_is_refused_and_not_shown(name: str, value: str) -> None:
    with pytest.raises(ConfigError) as refused:
        carried_environment({name: value})
    assert name in str(refused.value)
    assert value not in refused.value.diagnose()
    assert "hunter2" not in refused.value.diagnose()


@pytest.mark.parametrize(
    "name", ["HTTPLIB2_CA_CERTS", "GOOGLE_APPLICATION_CREDENTIALS", "FLWR_TELEMETRY_ENABLED", "LOGURU_LEVEL", "TMPDIR"]
)
def test_unit_gets_what_the_documents_let_a_person_export(name: str) -> None:
    assert carried_environment({name: "/etc/ssl/x", "OTHER": "1"}) == {name: "/etc/ssl/x"}


def test_node_config_is_numbers_or_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "node.toml").write_text('token = "abc"')
    assert absolute_node_config(["node.toml"]) == [str(tmp_path / "node.toml")]
    assert absolute_node_config(["partition-id=3 fast=true"]) == ["partition-id=3 fast=true"]
    with pytest.raises(ConfigError, match="which can be a secret"):
        absolute_node_config(["partition-id=3", 'token="abc"'])


def test_unit_for_a_worker_command_restricts_no_calls() -> None:
    assert "SystemCallFilter" in _text()
    relaxed = _text(hardened=False)
    assert "SystemCallFilter" not in relaxed
    assert "NoNewPrivileges" not in relaxed
    assert "Restart=always" in relaxed


def test_own_unit_is_replaced_and_tells_its_owner(tmp_path: Path) -> None:
    unit = UnitFile(tmp_path / "new" / "x.service")
    assert unit.write(_text("a"), _OWNER, force=False)
    assert not unit.write(_text("a"), _OWNER, force=False)
    assert unit.write(_text("b"), _OWNER, force=False)
    assert owner_of(unit.path.read_text()) == _OWNER
    assert unit.path.stat().st_mode & 0o777 == 0o600
    assert [path.name for path in unit.path.parent.iterdir()] == ["x.service"]


def _edited(path: Path) -> None:
    path.write_text(_text("a").replace("RestartSec=10", "RestartSec=1"))


def _foreign(path: Path) -> None:
    path.write_text("[Service]\nExecStart=/bin/true\n")


def _binary(path: Path) -> None:
    path.write_bytes(b"\xff\0" * 100)


def _large(path: Path) -> None:
    path.write_bytes(b"#" * (2 << 20))


def _masked(path: Path) -> None:
    path.symlink_to("/dev/null")


def _linked(path: Path) -> None:
    path.with_suffix(".target").write_text(_text("a"))
    path.symlink_to(path.with_suffix(".target"))


@pytest.mark.parametrize("occupy", [_edited, _foreign, _binary, _large, _masked, _linked])
def test_unit_of_another_writer_stays_without_force(tmp_path: Path, occupy: object) -> None:
    unit = UnitFile(tmp_path / "x.service")
    occupy(unit.path)  # type: ignore[operator]
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(ConfigError, match="left alone"):
        unit.write(_text("b"), _OWNER, force=False)
    with pytest.raises(ConfigError, match="left alone"):
        unit.delete(None, force=False)
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before
    assert unit.write(_text("b"), _OWNER, force=True)
    assert not unit.path.is_symlink()
    # Not the target of the link.
    assert {path: path.read_bytes() for path in tmp_path.iterdir() if path != unit.path}.items() <= before.items()


def test_folder_in_the_place_of_a_unit_is_an_error(tmp_path: Path) -> None:
    unit = UnitFile(tmp_path / "x.service")
    unit.path.mkdir()
    with pytest.raises(ConfigError, match="left alone"):
        unit.write(_text("b"), _OWNER, force=False)
    with pytest.raises(StoreError, match="cannot be written"):
        unit.write(_text("b"), _OWNER, force=True)
    assert [path.name for path in tmp_path.iterdir()] == ["x.service"]


def test_unit_of_another_participant_needs_a_name(tmp_path: Path) -> None:
    unit = UnitFile(tmp_path / "x.service")
    unit.write(_text("a"), _OWNER, force=False)
    with pytest.raises(ConfigError, match=f"the service of {_OWNER}, another participant"):
        unit.write(_text("b"), "do2@hospital-b.org", force=False)
    with pytest.raises(ConfigError, match=f"the service of {_OWNER}, another participant"):
        unit.delete("do2@hospital-b.org", force=False)


def test_deleted_unit_leaves_no_link_behind(tmp_path: Path) -> None:
    unit = UnitFile(tmp_path / "x.service")
    unit.write(_text("a"), _OWNER, force=False)
    wants = tmp_path / "default.target.wants"
    wants.mkdir()
    (wants / "x.service").symlink_to(unit.path)
    unit.delete(None, force=False)
    assert not any(wants.iterdir())
    assert not unit.path.exists()
    with pytest.raises(ConfigError, match="there is no such service"):
        unit.delete(None, force=False)


@pytest.mark.parametrize("name", ["", "a/b", "../x", "a b", "-x", "x" * 200, "a%b", "ä", "x\n"])
def test_unsafe_name_of_a_service_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="--service-name"):
        service_name([], name)


def test_service_has_the_names_of_its_apps() -> None:
    assert service_name(["tiny"], None) == "syft-flwr-client-tiny.service"
    assert service_name(["b", "a"], None) == "syft-flwr-client-a.b.service"
    assert service_name(["tiny"], "ward-3") == "syft-flwr-client-ward-3.service"


def test_units_are_in_the_config_folder_of_the_user(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/ann")
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    assert units_folder() == Path("/home/ann/.config/systemd/user")
    monkeypatch.setenv("XDG_CONFIG_HOME", "/etc/ann")
    assert units_folder() == Path("/etc/ann/systemd/user")
    monkeypatch.setenv("XDG_CONFIG_HOME", "relative")
    assert units_folder() == Path("/home/ann/.config/systemd/user")


def test_user_without_a_home_gets_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    monkeypatch.delenv("HOME")
    # A number that the list of users does not have, as in a container.
    monkeypatch.setattr(os, "getuid", lambda: 54_321)
    with pytest.raises(ConfigError, match="number 54321"):
        units_folder()


def test_program_of_a_user_installation_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = {"shared": str(tmp_path / "shared"), "user": str(tmp_path / "user")}
    monkeypatch.setattr(sysconfig, "get_default_scheme", lambda: "shared")
    monkeypatch.setattr(sysconfig, "get_preferred_scheme", lambda kind: kind)
    monkeypatch.setattr(sysconfig, "get_path", lambda _, scheme="shared": paths[scheme])
    with pytest.raises(ConfigError, match="does not exist"):
        own_program()
    (tmp_path / "user").mkdir()
    (tmp_path / "user" / "syft-flwr").touch()
    assert own_program() == str(tmp_path / "user" / "syft-flwr")
