"""The table of transports: its rows are valid, a row can be added, and no setting can name a function."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from syft_flwr.config import TRANSPORTS, TransportRow, load_settings
from syft_flwr.config.search import FIELDS, Field
from syft_flwr.config.values import parse_path
from syft_flwr.errors import ConfigError
from syft_flwr.simulation import prepare
from syft_flwr.transport.base import Reopening
from syft_flwr.transport.memory import MemoryNetwork
from syft_flwr.transport.opening import load_function, open_again, open_transport

ME, PEER = "me@x.org", "peer@x.org"
PROJECT = """
[tool.syft_flwr]
app_name = "app"
aggregator = "me@x.org"
datasites = ["peer@x.org"]
"""


@pytest.fixture
def shelf(monkeypatch: pytest.MonkeyPatch) -> Iterator[MemoryNetwork]:
    """Add a transport with its own setting for this test."""
    network = MemoryNetwork()
    module = ModuleType("shelf")
    vars(module)["open_shelf"] = lambda settings, peers, live: network.transport(settings.require("email"))
    monkeypatch.setitem(sys.modules, "shelf", module)
    row = TransportRow("A shelf", "shelf:open_shelf", required=("shelf_dir",))
    monkeypatch.setitem(TRANSPORTS, "shelf", row)
    monkeypatch.setitem(FIELDS, "shelf_dir", Field(parse_path, "SHELF_DIR"))
    return network


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "pyproject.toml").write_text(PROJECT)
    return tmp_path


@pytest.mark.parametrize("name", TRANSPORTS)
def test_every_function_of_a_row_can_be_loaded(name: str) -> None:
    row = TRANSPORTS[name]

    assert callable(load_function(row.opener))
    assert not row.stand_in or callable(load_function(row.stand_in))
    assert not row.checks or callable(load_function(row.checks))


@pytest.mark.parametrize("name", TRANSPORTS)
def test_every_setting_of_a_row_exists(name: str) -> None:
    row = TRANSPORTS[name]

    assert {*row.required, *row.optional} <= FIELDS.keys()


def test_added_transport_is_chosen_by_its_name(shelf: MemoryNetwork, tmp_path: Path) -> None:
    environ = {"SYFT_FLWR_TRANSPORT": "shelf", "SHELF_DIR": str(tmp_path), "SYFTBOX_EMAIL": ME}
    settings = load_settings(environ=environ)

    with open_transport(settings, peers=[PEER], live=True).watch(["peer@x.org/"]) as watch:
        shelf.transport(PEER).put(f"{PEER}/public/card.json", b"card", readers=["*"])
        assert watch.wait(5) == {f"{PEER}/public/card.json"}


def test_setting_of_an_added_transport_is_loaded(shelf: MemoryNetwork, tmp_path: Path) -> None:
    settings = load_settings(environ={"SHELF_DIR": str(tmp_path)})

    assert settings.get("shelf_dir") == settings.require("shelf_dir") == tmp_path
    assert {each.name: each.source for each in settings}["shelf_dir"] == "environment SHELF_DIR"
    assert load_settings(environ={}, shelf_dir=tmp_path).get("shelf_dir") == tmp_path


def test_missing_setting_is_refused_before_opening(shelf: MemoryNetwork) -> None:
    settings = load_settings(environ={}, transport="shelf", email=ME)

    with pytest.raises(ConfigError, match="shelf_dir is not set") as caught:
        open_transport(settings, peers=[], live=True)

    assert "SHELF_DIR" in caught.value.hint


def test_added_transport_reads_no_syftbox_config(shelf: MemoryNetwork, tmp_path: Path) -> None:
    config = tmp_path / ".syftbox" / "config.json"
    config.parent.mkdir()
    config.write_text(json.dumps({"email": ME, "data_dir": "/d"}))

    assert load_settings(environ={"HOME": str(tmp_path)}, transport="shelf").email is None
    assert load_settings(environ={"HOME": str(tmp_path)}).email == ME


def test_transport_without_emulator_is_not_simulated(shelf: MemoryNetwork, project: Path) -> None:
    (project / "mock").mkdir()

    with pytest.raises(ConfigError, match="shelf cannot be simulated") as caught:
        prepare(project, [project / "mock"], transport="shelf")

    possible = [name for name, row in TRANSPORTS.items() if row.stand_in]
    assert "shelf" not in possible
    assert caught.value.hint.endswith(f": {', '.join(possible)}.")


@pytest.mark.parametrize("name", ["shelf", "os:system", "syft_flwr.transport.syftbox:open_syftbox"])
def test_project_cannot_name_a_function(project: Path, name: str) -> None:
    with (project / "pyproject.toml").open("a") as file:
        file.write(f'transport = "{name}"\n')

    with pytest.raises(ConfigError, match=r"transport .* is not allowed") as caught:
        load_settings(project)

    assert caught.value.hint == f"Allowed: {', '.join(TRANSPORTS)}."


@pytest.mark.parametrize(
    "reference", ["", "os", "os:", ":system", "os:path.join", "os:system ", "../x:y", "os:system\n"]
)
def test_malformed_reference_is_refused(reference: str) -> None:
    with pytest.raises(ConfigError, match="module:function"):
        load_function(reference)


@pytest.mark.parametrize("reference", ["nowhere_to_be_found:opener", "json:no_such_function"])
def test_unknown_reference_error_names_it(reference: str) -> None:
    with pytest.raises(ConfigError, match=reference):
        open_again(Reopening(reference, {}))
