"""Shows the error for each wrong setting or argument: it names the setting, its place, and what to do.

The call that fails starts nothing: it writes no file in the SyftBox folder, no lock and no key.
"""

import json
import tomllib
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from faultkit.app import client_app, server_app
from faultkit.federation import AGGREGATOR, OWNERS
from flwr.app import Context, RecordDict

from syft_flwr import bootstrap
from syft_flwr.config import TRANSPORTS, load_settings
from syft_flwr.errors import ConfigError
from syft_flwr.fl_orchestrator import SyftGrid, run_client, run_server, syftbox_flwr_client, syftbox_flwr_server

PYPROJECT = """
[project]
name = "faults"
version = "0.0.0"

[tool.flwr.app.components]
serverapp = "faultkit.app:server_app"
clientapp = "faultkit.app:client_app"
"""


@dataclass(frozen=True)
class Call:
    """The arguments of the public calls. All are valid, until a test changes one."""

    project: Path
    datasites: Any = OWNERS
    app_name: Any = "faults"

    def server(self) -> None:
        syftbox_flwr_server(server_app, _context(), self.datasites, self.app_name, self.project)

    def client(self) -> None:
        syftbox_flwr_client(client_app, _context(), self.app_name, self.project)

    def grid(self) -> None:
        SyftGrid(self.app_name, self.datasites).close()

    def run_server(self) -> None:
        run_server(self.project)

    def run_client(self) -> None:
        run_client(self.project)


@pytest.fixture
def syftbox(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the data folder of a SyftBox client with a valid configuration."""
    data_dir = tmp_path / "SyftBox"
    data_dir.mkdir()
    config = tmp_path / "config.json"
    config.write_text(json.dumps({"email": AGGREGATOR, "data_dir": str(data_dir)}))
    monkeypatch.setenv("SYFTBOX_CLIENT_CONFIG_PATH", str(config))
    monkeypatch.setenv("SYFT_FLWR_HOME", str(tmp_path / "homes"))
    return data_dir


@pytest.fixture
def call(tmp_path: Path, syftbox: Path) -> Call:
    project = tmp_path / "project"
    project.mkdir()
    (project / "pyproject.toml").write_text(PYPROJECT)
    return Call(project)


def set_in_project(call: Call, **settings: str) -> None:
    lines = [f"{name} = {json.dumps(value)}" for name, value in settings.items()]
    (call.project / "pyproject.toml").write_text("\n".join([PYPROJECT, "[tool.syft_flwr]", *lines]))


def _context() -> Context:
    return Context(run_id=0, node_id=0, node_config={}, state=RecordDict(), run_config={})


def error_of(begin: Callable[[], None], syftbox: Path) -> str:
    """Return the error and its hint from a call that must fail. Check that the call wrote no file."""
    with pytest.raises(ConfigError) as raised:
        begin()
    assert raised.value.hint, "an error that does not say what to do"
    assert not [path for path in syftbox.rglob("*") if path.is_file()]
    assert not (syftbox.parent / "homes").exists()
    return raised.value.diagnose()


SERVER_AND_GRID = ("server", "grid")
ALL_ROLES = ("server", "client", "grid")
OF_A_PROJECT = ("server", "client", "run_server", "run_client")


@pytest.mark.parametrize("role", ALL_ROLES)
@pytest.mark.parametrize("transport", ["gdrive", "SyftBox", "http"])
def test_unknown_transport_is_refused(
    call: Call, syftbox: Path, monkeypatch: pytest.MonkeyPatch, role: str, transport: str
) -> None:
    monkeypatch.setenv("SYFT_FLWR_TRANSPORT", transport)
    text = error_of(getattr(call, role), syftbox)
    assert f"transport (environment SYFT_FLWR_TRANSPORT): '{transport}'" in text
    assert ", ".join(TRANSPORTS) in text


@pytest.mark.parametrize("role", OF_A_PROJECT)
def test_unknown_transport_in_the_project_is_refused(call: Call, syftbox: Path, role: str) -> None:
    set_in_project(call, transport="gdrive")
    text = error_of(getattr(call, role), syftbox)
    assert f"{call.project / 'pyproject.toml'} [tool.syft_flwr]" in text
    assert "'gdrive'" in text


@pytest.mark.parametrize("role", OF_A_PROJECT)
def test_broken_toml_is_refused(call: Call, syftbox: Path, role: str) -> None:
    path = call.project / "pyproject.toml"
    path.write_text(PYPROJECT + "\n[tool.syft_flwr\n")
    text = error_of(getattr(call, role), syftbox)
    assert str(path) in text
    assert "line 10" in text


@pytest.mark.parametrize("role", ALL_ROLES)
@pytest.mark.parametrize("named", [True, False])
def test_missing_syftbox_config_error_names_the_file(
    call: Call, syftbox: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, role: str, named: bool
) -> None:
    monkeypatch.setenv("SYFT_FLWR_AGGREGATOR", AGGREGATOR)
    if named:
        monkeypatch.setenv("SYFTBOX_CLIENT_CONFIG_PATH", str(tmp_path / "nowhere.json"))
    else:
        monkeypatch.delenv("SYFTBOX_CLIENT_CONFIG_PATH")
    text = error_of(getattr(call, role), syftbox)
    assert ("nowhere.json" if named else ".syftbox/config.json") in text
    assert "SYFTBOX_CLIENT_CONFIG_PATH" in text


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"email": "unknown", "data_dir": "/"}'])
@pytest.mark.parametrize("role", ALL_ROLES)
def test_broken_syftbox_config_error_names_the_file(
    call: Call, syftbox: Path, tmp_path: Path, role: str, content: str
) -> None:
    (tmp_path / "config.json").write_text(content)
    assert str(tmp_path / "config.json") in error_of(getattr(call, role), syftbox)


@pytest.mark.parametrize("role", ["client", "run_client"])
def test_missing_aggregator_names_each_place_to_set_it(call: Call, syftbox: Path, role: str) -> None:
    set_in_project(call, app_name="faults")
    text = error_of(getattr(call, role), syftbox)
    assert "aggregator" in text
    assert "the argument aggregator" in text
    assert "SYFT_FLWR_AGGREGATOR" in text
    assert f"{call.project / 'pyproject.toml'} [tool.syft_flwr]" in text


BAD_EMAILS = ["../../x@y.z", "nobody", "a/b@x.org", "", "two@at@x.org", "x@y", " @x.org", "é@x.org", "a..b@x.org"]


@pytest.mark.parametrize("email", BAD_EMAILS)
@pytest.mark.parametrize("role", SERVER_AND_GRID)
def test_datasite_must_be_an_email(call: Call, syftbox: Path, role: str, email: str) -> None:
    text = error_of(getattr(replace(call, datasites=[OWNERS[0], email]), role), syftbox)
    assert f"datasites: {email!r} is not a valid email" in text


@pytest.mark.parametrize("email", BAD_EMAILS)
def test_aggregator_must_be_an_email(call: Call, syftbox: Path, monkeypatch: pytest.MonkeyPatch, email: str) -> None:
    monkeypatch.setenv("SYFT_FLWR_AGGREGATOR", email)
    text = error_of(call.client, syftbox)
    assert "aggregator" in text
    assert email.strip() in text


@pytest.mark.parametrize("role", ALL_ROLES)
def test_own_email_must_be_an_email(call: Call, syftbox: Path, monkeypatch: pytest.MonkeyPatch, role: str) -> None:
    monkeypatch.setenv("SYFTBOX_EMAIL", "../../x@y.z")
    text = error_of(getattr(call, role), syftbox)
    assert "email (environment SYFTBOX_EMAIL): '../../x@y.z'" in text


@pytest.mark.parametrize("twice", ["do0@hospital-0.example", "DO0@Hospital-0.Example", " do0@hospital-0.example "])
@pytest.mark.parametrize("role", SERVER_AND_GRID)
def test_duplicate_datasite_is_refused_in_any_spelling(call: Call, syftbox: Path, role: str, twice: str) -> None:
    text = error_of(getattr(replace(call, datasites=[*OWNERS, twice]), role), syftbox)
    assert "datasites: do0@hospital-0.example is listed twice" in text


@pytest.mark.parametrize("role", SERVER_AND_GRID)
def test_run_without_datasites_is_refused(call: Call, syftbox: Path, role: str) -> None:
    text = error_of(getattr(replace(call, datasites=[]), role), syftbox)
    assert "datasites: the list is empty" in text


@pytest.mark.parametrize("role", SERVER_AND_GRID)
def test_string_is_refused_as_list_of_datasites(call: Call, syftbox: Path, role: str) -> None:
    with pytest.raises(ConfigError, match=f"datasites: expected a list of emails, got .* '{OWNERS[0]}'"):
        getattr(replace(call, datasites=OWNERS[0]), role)()
    assert not list(syftbox.rglob("*.request"))


@pytest.mark.parametrize(
    "name", ["a/b", "..", "flwr/../x", "../x", "a..b", "/etc", "", "x" * 65, ".hidden", "a\\b", "a b"]
)
@pytest.mark.parametrize("role", ALL_ROLES)
def test_app_name_must_be_a_plain_folder_name(
    call: Call, syftbox: Path, monkeypatch: pytest.MonkeyPatch, role: str, name: str
) -> None:
    monkeypatch.setenv("SYFT_FLWR_AGGREGATOR", AGGREGATOR)
    text = error_of(getattr(replace(call, app_name=name), role), syftbox)
    assert "app_name" in text
    assert "letters, digits" in text


def test_home_in_the_synced_folder_is_refused(call: Call, syftbox: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SYFT_FLWR_HOME", str(syftbox / "datasites" / AGGREGATOR / "state"))
    assert "SYFT_FLWR_HOME" in error_of(call.grid, syftbox)


@pytest.mark.parametrize("name", ["SYFT_FLWR_MSG_TIMEOUT", "SYFT_FLWR_POLL_INTERVAL", "SYFT_FLWR_ENCRYPTION_ENABLED"])
@pytest.mark.parametrize("value", ["-1", "soon", "nan"])
def test_invalid_setting_is_refused(
    call: Call, syftbox: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    """A mistyped value must not switch encryption on or off."""
    monkeypatch.setenv(name, value)
    text = error_of(call.grid, syftbox)
    assert name in text
    assert value in text


def test_role_needs_the_exact_email(call: Call, syftbox: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Part of the aggregator's email does not make an aggregator. A participant in both roles is a server."""
    bootstrap(call.project, AGGREGATOR, [*OWNERS, AGGREGATOR])
    assert load_settings(call.project).participant_role() == "server"
    monkeypatch.setenv("SYFTBOX_EMAIL", AGGREGATOR[1:])
    with pytest.raises(ConfigError, match="neither the aggregator nor one of the datasites"):
        load_settings(call.project).participant_role()


def test_bootstrap_refuses_a_path_as_datasite(call: Call) -> None:
    before = sorted(call.project.iterdir()), (call.project / "pyproject.toml").read_text()
    with pytest.raises(ConfigError, match=r"datasites: '\.\./\.\./etc@x\.y' is not a valid email"):
        bootstrap(call.project, AGGREGATOR, ["../../etc@x.y"])
    assert (sorted(call.project.iterdir()), (call.project / "pyproject.toml").read_text()) == before


def test_bootstrap_keeps_the_users_text(call: Call) -> None:
    path = call.project / "pyproject.toml"
    mine = '# mine\n[tool.mine]\nkey = "value"  # and this\n'
    required = 'dependencies = ["numpy>=2", "syft_flwr>=0.0.1"]'
    path.write_text(path.read_text().replace('version = "0.0.0"', f'version = "0.0.0"\n{required}') + mine)
    for _ in range(2):
        bootstrap(call.project, AGGREGATOR, OWNERS)
        text = path.read_text()
        assert mine in text
        dependencies = tomllib.loads(text)["project"]["dependencies"]
        assert "numpy>=2" in dependencies
        assert len([name for name in dependencies if "flwr" in name and "syft" in name]) == 1
