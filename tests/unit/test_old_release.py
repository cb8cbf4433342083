"""Projects and calls of syft-flwr 0.5: app names, main.py, arguments, modules, environment and Google Colab."""

import hashlib
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flwr.common import ndarrays_to_parameters
from hypothesis import given
from hypothesis import strategies as st
from loguru import logger
from safetensors.numpy import load_file
from typer.testing import CliRunner

import syft_flwr
from syft_flwr._bootstrap import bootstrap, main_program, prepare_project
from syft_flwr.app_names import normalise_app_name, rename_old
from syft_flwr.cli.app import app as command_line
from syft_flwr.config import load_settings
from syft_flwr.errors import ConfigError, StorageError
from syft_flwr.fl_orchestrator import SyftGrid, syftbox_flwr_client, syftbox_flwr_server
from syft_flwr.names import is_carried
from syft_flwr.strategy import FedAvgWithModelSaving
from syft_flwr.utils import get_syftbox_dataset_path, run_syft_flwr

DS, DO1, DO2 = "ds@x.org", "do1@x.org", "do2@x.org"
OLD_NAME, NEW_NAME = f"{DS}_fed-analytics_1795667394", "fed-analytics-409658863e86"
OLD_MAIN = "import sys\n\nprint('a program of another release')  \nsys.exit(0)\n"
PROJECT = f"""\
[project]
name = "fed-analytics"
version = "1.0.0"
dependencies = ["numpy", "syft_flwr==0.5.3"]

[tool.uv.sources]
syft-flwr = {{ git = "https://github.com/OpenMined/syft-flwr/", branch = "main" }}

[tool.flwr.app]
publisher = "me"

[tool.flwr.app.components]
serverapp = "fed.server_app:app"
clientapp = "fed.client_app:app"

[tool.flwr.app.config]
num-server-rounds = 1
partition-id = 0
num-partitions = 1

[tool.syft_flwr]
app_name = "{OLD_NAME}"
datasites = [
    "{DO1}",
    "{DO2}",
]
aggregator = "{DS}"
transport = "p2p"
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a project in the form of 0.5.3, with a main.py that counts as one that 0.5.3 wrote."""
    normalised = "import sys\n\nprint('a program of another release')\nsys.exit(0)"
    digest = hashlib.sha256(normalised.encode()).hexdigest()[:32]
    monkeypatch.setitem(main_program._OLD_PROGRAMS, digest, "of this test")
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "pyproject.toml").write_text(PROJECT)
    (folder / "main.py").write_text(OLD_MAIN)
    return folder


def snapshot(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


# The app name


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (OLD_NAME, NEW_NAME),
        (f"flwr/{OLD_NAME}", NEW_NAME),
        (f" {OLD_NAME} ", NEW_NAME),
        (f"{DS}_fed-analytics", "fed-analytics-"),
        (f"{DS}_syftconflict_1", "app-"),
        (f"{DS}_ünï_1", "n-"),
        (f"{DS}_é_1", "app-"),
        (f"{DS}_{'n' * 200}_1", f"{'n' * 48}-"),
        (f"{'a' * 200}@{'b' * 60}.org_x.tmp-y_2", "x-tmp-y-"),
        (f"{DS}_my app..v2_9", "my-app-v2-"),
    ],
)
def test_old_app_name_gets_its_valid_form(old: str, new: str) -> None:
    assert normalise_app_name(old).startswith(new)
    assert load_settings(environ={"SYFT_FLWR_APP_NAME": old}).app_name == normalise_app_name(old)


@given(project=st.text(min_size=1, max_size=80).filter(lambda text: "/" not in text), number=st.integers(0, 2**40))
def test_every_old_app_name_becomes_a_valid_one(project: str, number: int) -> None:
    old = f"{DS}_{project}_{number}".strip()

    new = normalise_app_name(old)

    assert new == normalise_app_name(new) == rename_old(old)
    assert is_carried(new)
    assert len(new) <= 64


def test_different_old_app_names_stay_different() -> None:
    names = {f"{email}_app_{number}" for email in (DS, "ds@y.org", "s@x.org") for number in range(400)}

    assert len({normalise_app_name(name) for name in names}) == len(names)


@pytest.mark.parametrize("name", ["a b", "../x", f"{DS}", f"{DS}/x_1", f"{DS}_../x_1", "@_x"])
def test_other_invalid_app_names_are_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="is not allowed"):
        normalise_app_name(name)


# Bootstrap


def test_bootstrap_mends_a_project_of_0_5(project: Path) -> None:
    done = prepare_project(project, DS, [DO1, DO2], None)

    settings = load_settings(project, environ={})
    assert (settings.app_name, settings.transport, settings.datasites) == (NEW_NAME, "p2p", (DO1, DO2))
    changed = PROJECT.replace(OLD_NAME, NEW_NAME)
    assert (project / "pyproject.toml").read_text() == changed
    assert not main_program.is_old_main(project / "main.py")
    named, replaced, dependency, source = done.notes
    assert OLD_NAME in named
    assert NEW_NAME in named
    assert "main.py" in replaced
    assert "'syft_flwr==0.5.3'" in dependency
    assert "[tool.uv.sources]" in source

    before = snapshot(project)
    assert prepare_project(project, DS, [DO1, DO2], None).notes == (dependency, source)
    assert snapshot(project) == before


def test_other_commands_agree_before_bootstrap(project: Path) -> None:
    before = load_settings(project, environ={}).app_name

    bootstrap(project, DS, [DO1, DO2])

    assert before == load_settings(project, environ={}).app_name == NEW_NAME


def test_command_prints_a_line_for_each_change(project: Path) -> None:
    done = CliRunner().invoke(command_line, ["bootstrap", str(project)])

    assert done.exit_code == 0, done.output
    assert f"The app_name '{OLD_NAME}' of syft-flwr 0.5 is now '{NEW_NAME}'" in done.stderr
    assert "The main.py of an earlier release of syft-flwr was replaced." in done.stderr


def test_bootstrap_in_python_logs_its_lines(project: Path) -> None:
    lines: list[str] = []
    sink = logger.add(lines.append, format="{message}")
    try:
        bootstrap(project, DS, [DO1, DO2])
    finally:
        logger.remove(sink)

    assert NEW_NAME in lines[0]
    assert len(lines) == 4


@pytest.mark.parametrize(
    ("name", "form"),
    [
        ("Windows lines", OLD_MAIN.replace("\n", "\r\n")),
        ("byte order mark", f"\ufeff{OLD_MAIN}"),
        ("no last newline", OLD_MAIN.rstrip()),
        ("more empty lines", f"\n{OLD_MAIN}\n\n"),
    ],
)
def test_old_main_is_known_in_every_form(name: str, form: str, project: Path) -> None:
    (project / "main.py").write_bytes(form.encode())

    bootstrap(project, DS, [DO1])

    assert "syft-flwr bootstrap" in (project / "main.py").read_text()


@pytest.mark.parametrize("arguments", [[], ["--active"], ["-s"]])
def test_main_takes_the_arguments_of_old_cells(arguments: list[str], project: Path, tmp_path: Path) -> None:
    bootstrap(project, DS, [DO1])
    environ = {"SYFTBOX_EMAIL": "other@x.org", "SYFTBOX_FOLDER": str(tmp_path), "SYFT_FLWR_HOME": str(tmp_path / "h")}

    done = subprocess.run(
        [sys.executable, project / "main.py", *arguments], env=environ, capture_output=True, text=True, check=False
    )

    assert done.returncode == 2
    assert "other@x.org" in done.stderr


def test_changed_old_main_is_refused(project: Path) -> None:
    (project / "main.py").write_text(OLD_MAIN.replace("another", "my own"))
    before = snapshot(project)

    with pytest.raises(ConfigError, match=r"main\.py was not written by bootstrap"):
        bootstrap(project, DS, [DO1])

    assert snapshot(project) == before


def test_run_refuses_the_old_main(project: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="was written by an earlier release") as caught:
        syft_flwr.run(project, [tmp_path, tmp_path])

    assert "syft-flwr bootstrap" in caught.value.hint


@pytest.mark.parametrize(
    ("dependency", "noted"),
    [
        ("syft_flwr==0.5.3", True),
        ("syft-flwr~=0.5", True),
        ("Syft.Flwr[x] >= 0.4, < 1", True),
        ("syft-flwr @ git+https://github.com/OpenMined/syft-flwr", True),
        ("syft_flwr", False),
        ("syft-flwr>=0.5", False),
        (f"syft-flwr=={syft_flwr.__version__}", False),
        ("syft-flwr-extras==1", False),
        ("syft-flwr>=0.5; python_version < '4'", False),
    ],
)
def test_dependency_on_another_release_is_noted(dependency: str, noted: bool, project: Path) -> None:
    text = PROJECT.replace("syft_flwr==0.5.3", dependency).partition("[tool.uv.sources]\nsyft-flwr")
    (project / "pyproject.toml").write_text(f"{text[0]}[tool.uv.sources]\nother{text[2]}")

    notes = prepare_project(project, DS, [DO1, DO2], None).notes

    assert any("dependency" in note for note in notes) == noted


# Google Colab


@pytest.fixture
def colab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Install a stand-in for the package of Colab, which must not be imported."""
    for name in [name for name in sys.modules if name == "google" or name.startswith("google.")]:
        monkeypatch.delitem(sys.modules, name)
    package = tmp_path / "packages" / "google" / "colab"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("raise RuntimeError('Colab was imported')\n")
    monkeypatch.syspath_prepend(package.parents[1])


@pytest.mark.usefixtures("colab")
def test_colab_chooses_p2p(project: Path) -> None:
    text = PROJECT.replace('transport = "p2p"\n', "")
    (project / "pyproject.toml").write_text(text)

    bootstrap(project, DS, [DO1, DO2])

    assert load_settings(project, environ={}).transport == "p2p"
    assert load_settings(environ={}).transport == "p2p"
    assert "google.colab" not in sys.modules


@pytest.mark.usefixtures("colab")
def test_chosen_transport_wins_over_colab(project: Path) -> None:
    bootstrap(project, DS, [DO1, DO2], "syftbox")
    assert load_settings(project, environ={}).transport == "syftbox"

    bootstrap(project, DS, [DO1, DO2])
    assert load_settings(project, environ={}).transport == "syftbox"


def test_transport_outside_colab_is_syftbox(project: Path) -> None:
    (project / "pyproject.toml").write_text(PROJECT.replace('transport = "p2p"\n', ""))

    bootstrap(project, DS, [DO1, DO2], transport=None)

    assert load_settings(project, environ={}).transport == "syftbox"


# Environment


def test_syftbox_folder_is_the_data_folder(tmp_path: Path) -> None:
    settings = load_settings(environ={"SYFTBOX_FOLDER": "~/SyftBox", "HOME": str(tmp_path)})

    assert settings.data_dir == tmp_path / "SyftBox"
    assert load_settings(environ={"SYFTBOX_FOLDER": "/a"}, data_dir="/b").data_dir == Path("/b")


def test_syftbox_folder_wins_over_syftbox_config(tmp_path: Path) -> None:
    config = tmp_path / "config.json"
    config.write_text(f'{{"email": "{DO1}", "data_dir": "/elsewhere"}}')
    environ = {"SYFTBOX_FOLDER": str(tmp_path), "SYFTBOX_CLIENT_CONFIG_PATH": str(config)}

    settings = load_settings(environ=environ)

    assert (settings.data_dir, settings.email) == (tmp_path, DO1)


# Calls


def test_old_arguments_reach_their_new_names(project: Path, tmp_path: Path) -> None:
    old: Any = syft_flwr.bootstrap
    assert old(flwr_project_dir=project, aggregator=DS, datasites=[DO1, DO2], transport=None) == project

    run: Any = syft_flwr.run
    with pytest.raises(ConfigError, match=r"mock data: 1 path for 2 datasites"):
        run(project, mock_dataset_paths=[tmp_path])


def test_old_and_new_name_together_are_refused(project: Path) -> None:
    old: Any = syft_flwr.bootstrap
    with pytest.raises(TypeError, match="'flwr_project_dir' and 'project_dir'"):
        old(flwr_project_dir=project, project_dir=project, aggregator=DS, datasites=[DO1])


def test_grid_takes_its_datasites_from_the_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "SyftBox").mkdir()
    monkeypatch.setenv("SYFTBOX_FOLDER", str(tmp_path / "SyftBox"))
    monkeypatch.setenv("SYFTBOX_EMAIL", DS)
    monkeypatch.setenv("SYFT_FLWR_HOME", str(tmp_path / "home"))
    with pytest.raises(ConfigError, match="datasites is not set"):
        SyftGrid(OLD_NAME)

    monkeypatch.setenv("SYFT_FLWR_DATASITES", f"{DO1},{DO2}")
    with SyftGrid(OLD_NAME) as grid:
        assert grid.app_name == NEW_NAME
        assert len(list(grid.get_node_ids())) == 2


def test_client_of_another_kind_is_a_type_error() -> None:
    stranger: Any = object()
    calls: list[Any] = [
        lambda: SyftGrid("app", [DO1], client=stranger),
        lambda: syftbox_flwr_client(stranger, stranger, "app", client=stranger),
        lambda: syftbox_flwr_server(stranger, stranger, [DO1], "app", client=stranger),
    ]
    for call in calls:
        with pytest.raises(TypeError, match="client is a object, not a Participant; leave it out"):
            call()


def test_gone_argument_names_the_new_form() -> None:
    grid: Any = SyftGrid
    for arguments, named in (([], {"rpc": object()}), ([None, object()], {})):
        with pytest.raises(TypeError, match=r"SyftGrid\(\) takes no argument 'rpc' any more: the setting transport"):
            grid("app", [DO1], *arguments, **named)


def test_gone_argument_that_is_none_is_accepted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SYFTBOX_FOLDER", str(tmp_path))
    monkeypatch.setenv("SYFTBOX_EMAIL", DS)
    monkeypatch.setenv("SYFT_FLWR_HOME", str(tmp_path / "home"))
    grid: Any = SyftGrid
    for arguments, named in (([], {"client": None, "rpc": None}), ([None, None], {})):
        with grid("app", [DO1], *arguments, **named) as opened:
            assert opened.app_name == "app"
    with pytest.raises(TypeError, match="positional"):
        grid("app", [DO1], None, None, 1)


# Modules


def test_dataset_path_is_data_dir(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DATA_DIR", raising=False)
    assert not run_syft_flwr()
    with pytest.raises(FileNotFoundError) as caught:
        get_syftbox_dataset_path()
    assert isinstance(caught.value, StorageError)

    (tmp_path / ".data").mkdir()
    assert run_syft_flwr()
    assert get_syftbox_dataset_path() == Path(".data")

    monkeypatch.setenv("DATA_DIR", str(tmp_path / "missing"))
    assert not run_syft_flwr()
    monkeypatch.setenv("DATA_DIR", str(tmp_path))
    assert get_syftbox_dataset_path() == tmp_path


def test_strategy_saves_each_round_in_the_old_form(tmp_path: Path) -> None:
    seen: list[int] = []

    def evaluate(server_round: int, arrays: Any, config: Any) -> tuple[float, dict[str, Any]]:
        seen.append(server_round)
        return 0.5, {}

    strategy = FedAvgWithModelSaving(str(tmp_path / "a" / "weights"), fraction_fit=0.5, evaluate_fn=evaluate)
    model = [np.arange(6, dtype="float32").reshape(2, 3).T, np.array(3, dtype="int64")]

    assert strategy.fraction_fit == 0.5
    assert strategy.evaluate(0, ndarrays_to_parameters(model)) == (0.5, {})
    strategy.evaluate(1, ndarrays_to_parameters([array + 1 for array in model]))

    assert seen == [0, 1]
    assert sorted(path.name for path in strategy.save_path.iterdir()) == [
        "parameters_round_0.safetensors",
        "parameters_round_1.safetensors",
    ]
    saved = load_file(strategy.save_path / "parameters_round_0.safetensors")
    assert saved.keys() == {"layer_0", "layer_1"}
    for number, array in enumerate(model):
        np.testing.assert_array_equal(saved[f"layer_{number}"], array)


def test_strategy_continues_without_its_folder(tmp_path: Path) -> None:
    strategy = FedAvgWithModelSaving(save_path=tmp_path / "weights")
    strategy.save_path.rmdir()
    lines: list[str] = []
    sink = logger.add(lines.append, format="{message}")
    try:
        assert strategy.evaluate(3, ndarrays_to_parameters([np.zeros(2)])) is None
    finally:
        logger.remove(sink)

    assert "round 3 is not saved" in lines[0]
    assert not strategy.save_path.exists()
