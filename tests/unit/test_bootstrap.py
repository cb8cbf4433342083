"""Bootstrap of a Flower project: the files that it writes, the lines that it keeps and the projects it refuses."""

import difflib
import errno
import hashlib
import os
import runpy
import shutil
import stat
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from syft_flwr import fl_orchestrator
from syft_flwr._bootstrap import bootstrap
from syft_flwr.config import load_settings
from syft_flwr.errors import ConfigError, RunError, StorageFullError

DS, DO1, DO2 = "ds@x.org", "do1@x.org", "do2@x.org"

EXAMPLE = Path(__file__).parents[2] / "examples" / "diabetes"

PROJECT = """\
# Diabetes, with care.
[project]
name = "diabetes-prediction"  # shown to people
version = "1.0.0"
description = "A model"
license = "Apache-2.0"
dependencies = [
    # Flower first
    "flwr>=1.40",
    "numpy>=1.26",  # arrays
]

[tool.mine]
order = ["z", "a"]   # of importance

[tool.flwr.app]
publisher = "me"

[tool.flwr.app.components]
serverapp = "diabetes.server_app:app"
clientapp = "diabetes.client_app:app"

[tool.flwr.app.config]
num-server-rounds = 3

[other]
key = 1  # the last line
"""


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in list(os.environ):
        if name.startswith(("SYFT", "GDRIVE")) or name in {"DATA_DIR", "OUTPUT_DIR"}:
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path / "person"))


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    package = folder / "diabetes"
    package.mkdir(parents=True)
    (folder / "pyproject.toml").write_text(PROJECT)
    (folder / "README.md").write_text("# Diabetes\n")
    (package / "__init__.py").write_text("")
    (package / "server_app.py").write_text("from flwr.serverapp import ServerApp\n\napp = ServerApp()\n")
    (package / "client_app.py").write_text("from flwr.clientapp import ClientApp\n\napp = ClientApp()\n")
    return folder


def read(project: Path) -> str:
    return (project / "pyproject.toml").read_bytes().decode()


def parsed(project: Path) -> dict[str, Any]:
    return tomllib.loads(read(project))


def snapshot(folder: Path) -> dict[Path, bytes]:
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


# Written files


def test_bootstrap_writes_table_and_main(project: Path) -> None:
    assert bootstrap(project, "DS@x.org", [DO1, "Do2@X.org"]) == project

    assert parsed(project)["tool"]["syft_flwr"] == {
        "app_name": "diabetes-prediction",
        "aggregator": DS,
        "datasites": [DO1, DO2],
        "transport": "syftbox",
    }
    assert load_settings(project, environ={}).datasites == (DO1, DO2)
    compile((project / "main.py").read_text(), "main.py", "exec")


def test_existing_lines_stay_unchanged(project: Path) -> None:
    bootstrap(project, DS, [DO1])

    changes = [line for line in difflib.ndiff(PROJECT.splitlines(), read(project).splitlines()) if line[0] in "-+"]
    assert changes == [
        "+ ",
        "+ [tool.syft_flwr]",
        '+ app_name = "diabetes-prediction"',
        f'+ aggregator = "{DS}"',
        f'+ datasites = ["{DO1}"]',
        '+ transport = "syftbox"',
    ]


def test_second_bootstrap_changes_no_byte(project: Path) -> None:
    bootstrap(project, DS, [DO1, DO2])
    before = snapshot(project)
    written = {path: path.stat().st_ino for path in (project / "main.py", project / "pyproject.toml")}

    bootstrap(project, DS, [DO1, DO2])

    assert snapshot(project) == before
    assert {path: path.stat().st_ino for path in written} == written


def test_bootstrapped_project_is_a_flower_app(project: Path, tmp_path: Path) -> None:
    bootstrap(project, DS, [DO1])
    environ = os.environ | {"FLWR_HOME": str(tmp_path / "flwr"), "FLWR_TELEMETRY_ENABLED": "0"}

    done = subprocess.run(
        [str(Path(sys.executable).parent / "flwr"), "build", "--app", str(project)],
        cwd=tmp_path, env=environ, capture_output=True, text=True, timeout=100, check=False,
    )  # fmt: skip

    assert done.returncode == 0, done.stdout + done.stderr
    assert list(tmp_path.glob("*.fab"))


def test_new_aggregator_changes_only_its_line(project: Path) -> None:
    bootstrap(project, DS, [DO1, DO2])
    text = read(project).replace(f'aggregator = "{DS}"', f'aggregator = "{DS}"  # Prof. D.')
    (project / "pyproject.toml").write_text(text + "msg_timeout = 60 # slow link\n")
    before = read(project).splitlines()

    bootstrap(project, "new@x.org", [DO1, DO2])

    changed = [(old, new) for old, new in zip(before, read(project).splitlines(), strict=True) if old != new]
    assert changed == [
        (f'aggregator = "{DS}"  # Prof. D.', 'aggregator = "new@x.org"  # Prof. D.'),
    ]


def test_kept_datasite_keeps_line_and_comment(project: Path) -> None:
    with (project / "pyproject.toml").open("a") as file:
        file.write(
            '[tool.syft_flwr]\ndatasites = [\n    "gone@x.org",\n    "DO1@x.org",  # the clinic\n'
            "    # more to come\n]\nnote_to_self = true\n"
        )

    bootstrap(project, DS, [DO2, DO1])

    table = read(project).partition("[tool.syft_flwr]\n")[2]
    assert table.startswith('datasites = [\n    "DO1@x.org",  # the clinic\n    # more to come\n')
    assert parsed(project)["tool"]["syft_flwr"]["datasites"] == ["DO1@x.org", DO2]
    assert parsed(project)["tool"]["syft_flwr"]["note_to_self"] is True


def test_existing_app_name_is_kept(project: Path) -> None:
    with (project / "pyproject.toml").open("a") as file:
        file.write('[tool.syft_flwr]\napp_name = "flwr/mine"\n')

    bootstrap(project, DS, [DO1])

    assert parsed(project)["tool"]["syft_flwr"]["app_name"] == "flwr/mine"
    assert load_settings(project, environ={}).app_name == "mine"


@pytest.mark.parametrize(
    ("name", "app_name"),
    [("a b/c", "a-b-c"), ("..hidden..", "hidden."), ("_x", "x"), ("ünï", "n-"), ("n" * 80, "n" * 64)],
)
def test_app_name_comes_from_project_name(name: str, app_name: str, project: Path) -> None:
    (project / "pyproject.toml").write_text(PROJECT.replace("diabetes-prediction", name))

    bootstrap(project, DS, [DO1])

    assert parsed(project)["tool"]["syft_flwr"]["app_name"] == app_name


FORMS: dict[str, Callable[[str], str]] = {
    "Windows lines": lambda text: text.replace("\n", "\r\n"),
    "no dependencies": lambda text: text[: text.index("dependencies")] + text[text.index("[tool.mine]") :],
    "dependencies in one line": lambda text: (
        text[: text.index("dependencies")] + 'dependencies = ["flwr", "numpy"]\n' + text[text.index("[tool.mine]") :]
    ),
    "no newline at the end": lambda text: text.rstrip("\n"),
    "our table first and apart": lambda text: f"[tool.syft_flwr]\nmsg_timeout = 5\n\n{text}",
    "our table as dotted keys": lambda text: text.replace(
        "[tool.mine]", '[tool]\nsyft_flwr.aggregator = "old@x.org"\n\n[tool.mine]'
    ),
    "our table inline": lambda text: text.replace(
        "[tool.mine]", '[tool]\nsyft_flwr = {aggregator = "o@x.org"}\n[tool.mine]'
    ),
    "our datasites of another type": lambda text: f"{text}[tool.syft_flwr]\ndatasites = 'do1@x.org'\n",
}


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS.keys())
def test_any_pyproject_style_keeps_its_content(form: Callable[[str], str], project: Path) -> None:
    path = project / "pyproject.toml"
    path.write_bytes(form(PROJECT).encode())
    before = parsed(project)

    bootstrap(project, DS, [DO1, DO2])
    once = path.read_bytes()
    bootstrap(project, DS, [DO1, DO2])

    assert path.read_bytes() == once
    after = parsed(project)
    ours = after["tool"].pop("syft_flwr")
    assert (ours["aggregator"], ours["datasites"], ours["transport"]) == (DS, [DO1, DO2], "syftbox")
    before["tool"].pop("syft_flwr", None)
    assert after == before
    assert (b"\r\n" in once) == ("\r\n" in form(PROJECT))
    assert b"\n" not in once.replace(b"\r\n", b"") or b"\r\n" not in once


def test_comments_around_last_entry_stay(project: Path) -> None:
    with (project / "pyproject.toml").open("a") as file:
        file.write(f'[tool.syft_flwr]\ndatasites = [\n    # the first\n    "{DO1}"  # the clinic\n    # the end\n]\n')

    bootstrap(project, DS, [DO1, DO2])

    for comment in ("# the first", "# the clinic", "# the end"):
        assert comment in read(project)
    assert sorted(parsed(project)["tool"]["syft_flwr"]["datasites"]) == [DO1, DO2]


@pytest.mark.parametrize(
    "dependencies", ["", "dependencies = 3\n", 'dynamic = ["dependencies"]\n', 'dependencies = ["syft_flwr==0.5.0"]\n']
)
def test_dependencies_are_never_changed(dependencies: str, project: Path) -> None:
    text = FORMS["no dependencies"](PROJECT).replace("version =", f"{dependencies}version =")
    (project / "pyproject.toml").write_text(text)

    bootstrap(project, DS, [DO1])

    assert read(project).startswith(text)


def test_example_project_gains_only_main(tmp_path: Path) -> None:
    project = tmp_path / "diabetes"
    shutil.copytree(
        EXAMPLE, project, ignore=shutil.ignore_patterns("main.py", "__pycache__", ".sandbox", "logs", "output")
    )
    before = snapshot(project)
    settings = load_settings(project, environ={})
    assert settings.aggregator is not None

    bootstrap(project, settings.aggregator, settings.datasites)

    after = snapshot(project)
    assert after.pop(Path("main.py"))
    assert after == before
    assert "/main.py" in (EXAMPLE / ".gitignore").read_text().splitlines()


def test_files_keep_mode_and_no_temp_file_stays(project: Path) -> None:
    bootstrap(project, DS, [DO1])
    (project / "pyproject.toml").chmod(0o666)
    (project / "main.py").chmod(0o755)
    (project / "main.py").write_bytes((project / "main.py").read_bytes().replace(b"\n", b"\r\n"))
    names = set(snapshot(project))

    bootstrap(project, DS, [DO2])

    assert stat.S_IMODE((project / "pyproject.toml").stat().st_mode) == 0o666
    assert stat.S_IMODE((project / "main.py").stat().st_mode) == 0o755
    assert b"\r" not in (project / "main.py").read_bytes()
    assert set(snapshot(project)) == names


def test_bootstrap_can_be_repeated_after_full_disk(
    project: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    real_write = os.write

    def full_for_toml(fd: int, data: bytes | memoryview) -> int:
        if b"[tool.syft_flwr]" in bytes(data):
            raise OSError(errno.ENOSPC, "No space left on device")
        return real_write(fd, data)

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", full_for_toml)
        with pytest.raises(StorageFullError, match=r"pyproject\.toml"):
            bootstrap(project, DS, [DO1])
    assert read(project) == PROJECT
    assert {path.name for path in project.iterdir()} == {"README.md", "diabetes", "main.py", "pyproject.toml"}

    bootstrap(project, DS, [DO1])

    assert load_settings(project, environ={}).datasites == (DO1,)


def test_symlinked_pyproject_is_edited_in_place(project: Path, tmp_path: Path) -> None:
    (project / "pyproject.toml").rename(tmp_path / "real.toml")
    (project / "pyproject.toml").symlink_to(tmp_path / "real.toml")

    bootstrap(project, DS, [DO1])

    assert (project / "pyproject.toml").is_symlink()
    assert "[tool.syft_flwr]" in (tmp_path / "real.toml").read_text()


# Refusals, which change no file


@pytest.mark.parametrize(
    ("aggregator", "datasites", "transport", "named"),
    [
        ("ds", [DO1], "syftbox", "aggregator: 'ds'"),
        ("", [DO1], "syftbox", "aggregator: ''"),
        (DS, ["../../etc@x.y/.."], "syftbox", "datasites: '../../etc@x.y/..'"),
        (DS, ["../../x@y.z"], "syftbox", "datasites: '../../x@y.z'"),
        (DS, [DO1, "DO1@x.org"], "syftbox", "do1@x.org is listed twice"),
        (DS, [], "syftbox", "datasites: the list is empty"),
        (DS, DO1, "syftbox", "expected a list of emails"),
        (DS, [DO1], "gdrive", "transport: 'gdrive'"),
    ],
)
def test_bad_participants_change_no_file(
    aggregator: str, datasites: Any, transport: str, named: str, project: Path
) -> None:
    before = snapshot(project)

    with pytest.raises(ConfigError) as caught:
        bootstrap(project, aggregator, datasites, transport)

    assert named in str(caught.value)
    assert snapshot(project) == before


NO_FLOWER = {
    "clientapp in [tool.flwr.app.components] is missing": PROJECT.replace("clientapp", "other"),
    "serverapp in [tool.flwr.app.components] is missing": "[project]\nname = 'x'\n",
    "serverapp in [tool.flwr.app.components] is 3": PROJECT.replace('"diabetes.server_app:app"', "3"),
    "not of the form": PROJECT.replace("client_app:app", "client_app"),
    "name in [project] is missing": PROJECT.replace("name =", "title ="),
    "broken TOML": PROJECT + "]",
    "app_name (made of": PROJECT.replace("diabetes-prediction", "___"),
    "app_name (/": PROJECT + '[tool.syft_flwr]\napp_name = "../x"\n',
    "[tool.syft_flwr] is not a table": PROJECT.replace("[tool.mine]", "[tool]\nsyft_flwr = 3\n[tool.mine]"),
}


@pytest.mark.parametrize(("named", "text"), NO_FLOWER.items(), ids=NO_FLOWER.keys())
def test_invalid_flower_project_is_refused(named: str, text: str, project: Path) -> None:
    (project / "pyproject.toml").write_text(text)
    before = snapshot(project)

    with pytest.raises(ConfigError) as caught:
        bootstrap(project, DS, [DO1])

    assert named in str(caught.value)
    assert "pyproject.toml" in str(caught.value) or "___" in str(caught.value)
    assert snapshot(project) == before


def test_missing_pyproject_error_names_the_path(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=rf"{tmp_path}/pyproject\.toml"):
        bootstrap(tmp_path, DS, [DO1])


def test_uneditable_tool_table_is_refused(project: Path) -> None:
    components = '{serverapp = "a:app", clientapp = "a:app"}'
    text = f'tool = {{flwr = {{app = {{components = {components}}}}}}}\n[project]\nname = "x"\n'
    (project / "pyproject.toml").write_text(text)

    with pytest.raises(ConfigError, match=r"pyproject\.toml cannot be edited automatically"):
        bootstrap(project, DS, [DO1])

    assert read(project) == text
    assert not (project / "main.py").exists()


def test_main_written_by_user_is_kept(project: Path) -> None:
    main = project / "main.py"
    main.write_text("print('mine')\n")
    before = snapshot(project)
    with pytest.raises(ConfigError, match=r"main\.py was not written by bootstrap"):
        bootstrap(project, DS, [DO1])
    assert snapshot(project) == before

    main.unlink()
    bootstrap(project, DS, [DO1])
    main.write_text(main.read_text() + "\nprint('edited')\n")
    before = snapshot(project)
    with pytest.raises(ConfigError, match=r"main\.py was changed since"):
        bootstrap(project, DS, [DO2])
    assert snapshot(project) == before


def test_main_of_older_release_is_replaced(project: Path) -> None:
    bootstrap(project, DS, [DO1])
    main = project / "main.py"
    current = main.read_text()
    mark, _, text = current.partition("\n")
    old = text.replace("Error: ", "Failure: ")
    digests = [hashlib.sha256(version.encode()).hexdigest()[:16] for version in (text, old)]
    main.write_text(mark.replace(*digests) + "\n" + old)

    bootstrap(project, DS, [DO1])

    assert main.read_text() == current


@pytest.mark.parametrize("target", ["elsewhere.py", "nothing.py"])
def test_symlinked_main_is_refused(target: str, project: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere.py").write_text("")
    (project / "main.py").symlink_to(tmp_path / target)

    with pytest.raises(ConfigError, match=r"main\.py was not written by bootstrap"):
        bootstrap(project, DS, [DO1])

    assert not (tmp_path / "nothing.py").exists()


# The generated main.py


def run_main(project: Path, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(project / "main.py"), *arguments],
        cwd=project.parent, env=os.environ | environ, capture_output=True, text=True, timeout=100, check=False,
    )  # fmt: skip


def start_in_process(
    project: Path, monkeypatch: pytest.MonkeyPatch, *arguments: str, fail: bool = False
) -> tuple[int, list[tuple[str, Path]]]:
    """Run main.py with fakes for run_server and run_client; return its exit code and the recorded calls."""
    started: list[tuple[str, Path]] = []

    def recorder(role: str) -> Callable[[Path], None]:
        def start(project_dir: Path) -> None:
            started.append((role, project_dir))
            if fail:
                raise RunError("the ServerApp raised ValueError", hint="See its log.")

        return start

    for role in ("server", "client"):
        monkeypatch.setitem(vars(fl_orchestrator), f"run_{role}", recorder(role))
    monkeypatch.setattr(sys, "argv", ["main.py", *arguments])
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(project / "main.py"), run_name="__main__")
    return int(ended.value.code or 0), started


@pytest.mark.parametrize(
    ("email", "arguments", "role"),
    [
        (DS, (), "server"),
        ("DS@X.ORG", (), "server"),
        (DO1, (), "client"),
        ("s@x.org", (), "client"),
        (DS, ("--role", "client"), "client"),
        (DS, ("--role", "server"), "server"),
    ],
)
def test_main_chooses_role_by_email(
    email: str, arguments: tuple[str, ...], role: str, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bootstrap(project, DS, [DO1, "s@x.org", DS])
    monkeypatch.setenv("SYFTBOX_EMAIL", email)

    assert start_in_process(project, monkeypatch, *arguments) == (0, [(role, project)])


def test_environment_chooses_between_two_roles(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bootstrap(project, DS, [DO1, DS])
    monkeypatch.setenv("SYFTBOX_EMAIL", DS)
    monkeypatch.setenv("SYFT_FLWR_ROLE", "client")

    assert start_in_process(project, monkeypatch) == (0, [("client", project)])


def test_failed_run_exits_with_one(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    bootstrap(project, DS, [DO1])
    monkeypatch.setenv("SYFTBOX_EMAIL", DS)

    code, _ = start_in_process(project, monkeypatch, fail=True)

    assert code == 1
    assert capsys.readouterr().err == "Error: the ServerApp raised ValueError\n  See its log.\n"


def test_main_refuses_stranger_and_wrong_role(project: Path) -> None:
    bootstrap(project, DS, [DO1])

    stranger = run_main(project, SYFTBOX_EMAIL="s@x.org")
    usurper = run_main(project, "--role", "server", SYFTBOX_EMAIL=DO1)
    unnamed = run_main(project)

    assert {run.returncode for run in (stranger, usurper, unnamed)} == {2}
    assert "s@x.org (environment SYFTBOX_EMAIL) is neither the aggregator nor" in stranger.stderr
    assert f"{DO1} cannot be the server" in usurper.stderr
    assert "email is not set" in unnamed.stderr
    assert not any("Traceback" in run.stderr for run in (stranger, usurper, unnamed))
