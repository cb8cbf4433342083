"""The command line: its output, its exit codes and the functions that its commands start."""

import json
import math
import os
import pty
import re
import select
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from flwr.app import Context, RecordDict
from loguru import logger
from typer.testing import CliRunner
from waiting import PATIENCE

import syft_flwr
from syft_flwr import fl_orchestrator
from syft_flwr import simulation as simulated
from syft_flwr._store.states import RunState
from syft_flwr.cli.app import app
from syft_flwr.cli.exits import ExitCode, exit_code
from syft_flwr.cli.output import show_json
from syft_flwr.config import load_settings
from syft_flwr.errors import ConfigError, RunError, SyftFlwrError, UnknownPeerError
from syft_flwr.fl_orchestrator import flower_server
from syft_flwr.fl_orchestrator.ended_run import EndedRun
from syft_flwr.fl_orchestrator.participant import open_trust
from syft_flwr.runs.local_run import LocalFacts, LocalRun, LocalSeat
from syft_flwr.runs.outcome import Loss, RunOutcome
from syft_flwr.shutdown import ending_on_sigterm
from syft_flwr.simulation.closing_report import Report, Row

DS, DO1, DO2 = "ds@x.org", "do1@x.org", "do2@x.org"
NOW = datetime(2026, 1, 1, tzinfo=UTC)
COMMANDS = ("bootstrap", "run", "server", "client", "runs", "doctor", "gc", "login", "config", "peers", "version")
COMMAND = Path(sys.executable).parent / "syft-flwr"
PROJECT = """\
[project]
name = "diabetes"
version = "1.0.0"
dependencies = ["flwr"]

[tool.flwr.app]
publisher = "me"

[tool.flwr.app.components]
serverapp = "diabetes.server_app:app"
clientapp = "diabetes.client_app:app"
"""


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    for name in list(os.environ):
        if name.startswith(("SYFT", "GDRIVE")) or name in {"DATA_DIR", "OUTPUT_DIR"}:
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path / "person"))
    monkeypatch.setenv("COLUMNS", "1000")
    monkeypatch.chdir(tmp_path)
    yield
    logger.remove()


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "pyproject.toml").write_text(PROJECT)
    return folder


def invoke(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def answer(result: Result) -> dict[str, Any]:
    return dict(json.loads(result.stdout))


# Help, versions and exit codes


@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan])
def test_json_has_texts_for_numbers_it_lacks(value: float, capsys: pytest.CaptureFixture[str]) -> None:
    show_json({"seconds": value, "all": [(value, 1.5), {"inner": value}], "path": Path("x")})
    found = json.loads(capsys.readouterr().out, parse_constant=pytest.fail)
    text = str(value)
    assert found == {"success": True, "seconds": text, "all": [[text, 1.5], {"inner": text}], "path": "x"}


@pytest.mark.parametrize("option", ["-h", "--help"])
def test_help_names_every_command(option: str) -> None:
    result = invoke(option)

    assert result.exit_code == ExitCode.OK
    for command in COMMANDS:
        assert f" {command} " in result.stdout


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(command: str) -> None:
    assert invoke(command, "-h").exit_code == ExitCode.OK


@pytest.mark.parametrize("command", ["run", "server"])
def test_help_names_the_table_of_the_run_configuration(command: str) -> None:
    assert "[tool.flwr.app.config]" in re.sub(r"[│\s]+", "", invoke(command, "--help").stdout)


@pytest.mark.parametrize(("command", "option"), [("server", "--run-config"), ("client", "--node-config")])
def test_wrong_pairs_are_refused_with_their_option(command: str, option: str, project: Path) -> None:
    result = invoke(command, project, option, "lr = 1")

    assert result.exit_code == ExitCode.USAGE
    assert f"Error: {option}: the text at or after 'lr' is not a pair key=value" in result.stderr


@pytest.mark.parametrize("option", ["-V", "--version"])
def test_version_is_that_of_the_package(option: str) -> None:
    assert invoke(option).stdout == f"syft-flwr {syft_flwr.__version__}\n"


def test_version_can_be_printed_as_json() -> None:
    assert answer(invoke("version", "--format", "json")) == {
        "success": True,
        "versions": {
            "syft-flwr": syft_flwr.__version__,
            "flwr": version("flwr"),
            "python": sys.version.split()[0],
        },
    }


@pytest.mark.parametrize("name", ["syft-flwr", "syft_flwr"])
def test_command_is_installed_under_both_names(name: str) -> None:
    done = subprocess.run(
        [str(COMMAND.with_name(name)), "version"], capture_output=True, text=True, timeout=60, check=True
    )

    assert done.stdout.startswith(f"syft-flwr {syft_flwr.__version__}\n")


def test_help_loads_no_heavy_package() -> None:
    program = (
        "import sys\nfrom syft_flwr.cli.app import app\n"
        "try: app(['--help'])\nexcept SystemExit as ended: assert ended.code == 0\n"
        "print(sorted({'flwr', 'pydantic', 'cryptography', 'numpy', 'google', 'tomlkit', 'loguru'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)

    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize(
    "arguments", [["no-such"], ["bootstrap"], ["version", "--format", "xml"], ["run", "."], ["peers", "verify", DO1]]
)
def test_bad_usage_exits_with_two(arguments: list[str]) -> None:
    assert invoke(*arguments).exit_code == ExitCode.USAGE


@pytest.mark.parametrize(
    ("error", "code"), [(ConfigError("x"), 2), (RunError("x"), 1), (UnknownPeerError("x"), 1), (SyftFlwrError("x"), 1)]
)
def test_each_error_has_its_exit_code(error: SyftFlwrError, code: int) -> None:
    assert exit_code(error) == code


# bootstrap


def test_bootstrap_accepts_lists_of_datasites(project: Path) -> None:
    result = invoke("bootstrap", project, "-a", DS, "-d", f"{DO1}, {DO2}", "-d", "do3@x.org", "--format", "json")

    assert result.exit_code == ExitCode.OK
    assert answer(result) == {
        "success": True,
        "project_dir": str(project),
        "app_name": "diabetes",
        "aggregator": DS,
        "datasites": [DO1, DO2, "do3@x.org"],
        "transport": "syftbox",
    }
    assert load_settings(project, environ={}).datasites == (DO1, DO2, "do3@x.org")
    assert (project / "main.py").is_file()


@pytest.mark.parametrize("option", ["-a", "--aggregator", "-s", "--server"])
def test_bootstrap_accepts_both_aggregator_options(option: str, project: Path) -> None:
    result = invoke("bootstrap", project, option, DS, "--datasites", DO1)

    assert result.exit_code == ExitCode.OK
    assert f"{project} is ready as diabetes: {DS} with {DO1} over syftbox" in result.stdout


def test_bootstrap_again_keeps_omitted_options(project: Path) -> None:
    invoke("bootstrap", project, "-a", DS, "-d", DO1)

    result = invoke("bootstrap", project, "-d", DO2)

    assert result.exit_code == ExitCode.OK
    settings = load_settings(project, environ={})
    assert (settings.aggregator, settings.datasites, settings.transport) == (DS, (DO2,), "syftbox")


def test_aggregator_can_come_from_environment(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SYFT_FLWR_AGGREGATOR", DS)

    assert invoke("bootstrap", project, "-d", DO1).exit_code == ExitCode.OK
    assert load_settings(project, environ={}).aggregator == DS


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["-d", DO1], "aggregator is not set"),
        (["-a", DS], "datasites is not set"),
        (["-a", DS, "-d", f"{DO1},"], "datasites (argument): ''"),
        (["-a", DS, "-d", DO1, "-d", DO1.upper()], f"{DO1} is listed twice"),
        (["-a", "../x@y.z", "-d", DO1], "aggregator (argument): '../x@y.z'"),
        (["-a", DS, "-d", DO1, "--transport", "gdrive"], "transport (argument): 'gdrive'"),
        (["-d", DO1], "-a/--aggregator of `syft-flwr bootstrap`"),
        (["-a", DS], "-d/--datasites of `syft-flwr bootstrap`"),
    ],
)
def test_bootstrap_refuses_bad_participants(arguments: list[str], named: str, project: Path) -> None:
    result = invoke("bootstrap", project, *arguments)

    assert result.exit_code == ExitCode.USAGE
    assert result.stdout == ""
    assert result.stderr.startswith("Error: ")
    assert named in result.stderr
    assert "Traceback" not in result.stderr
    assert (project / "pyproject.toml").read_text() == PROJECT
    assert not (project / "main.py").exists()


def test_error_can_be_printed_as_json(tmp_path: Path) -> None:
    result = invoke("bootstrap", tmp_path, "-a", DS, "-d", DO1, "--format", "json")

    assert result.exit_code == ExitCode.USAGE
    report = answer(result)
    assert report["success"] is False
    assert report["error"]["type"] == "ConfigError"
    assert str(tmp_path / "pyproject.toml") in report["error"]["message"]
    assert report["error"]["hint"] == "Name the folder of a Flower project."


# config show


def test_config_show_prints_value_and_source(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    invoke("bootstrap", project, "-a", DS, "-d", f"{DO1},{DO2}")
    monkeypatch.setenv("SYFT_FLWR_MSG_TIMEOUT", "7")
    monkeypatch.setenv("SYFT_FLWR_IDLE_AFTER", "None")
    monkeypatch.setenv("SYFTBOX_EMAIL", DO1)

    result = invoke("config", "show", project)

    assert result.exit_code == ExitCode.OK
    rows = {line.split()[0]: " ".join(line.split()[1:]) for line in result.stdout.splitlines() if len(line.split()) > 2}
    place = f"{project}/pyproject.toml [tool.syft_flwr]"
    assert rows["msg_timeout"] == "7.0 environment SYFT_FLWR_MSG_TIMEOUT"
    assert rows["idle_after"] == "none environment SYFT_FLWR_IDLE_AFTER"
    shown = json.loads(invoke("config", "show", project, "--format", "json").stdout)["settings"]
    assert next(row["value"] for row in shown if row["name"] == "idle_after") == "none"
    assert rows["datasites"] == f"{DO1}, {DO2} {place}"
    assert rows["encryption"] == "true default"
    assert rows["data_dir"].startswith("- SyftBox config ")
    assert set(rows) >= {setting.name for setting in load_settings(project)}


def test_config_show_json_includes_problems(tmp_path: Path) -> None:
    result = invoke("config", "show", "--format", "json")

    settings = {entry["name"]: entry for entry in answer(result)["settings"]}
    assert settings["poll_interval"] == {"name": "poll_interval", "value": 3.0, "source": "default"}
    assert settings["email"]["value"] is None
    assert f"{tmp_path}/person/.syftbox/config.json" in settings["email"]["problem"]
    assert settings["project_dir"]["value"] is None


def test_config_show_uses_the_current_folder(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(project)

    settings = {entry["name"]: entry for entry in answer(invoke("config", "show", "--format", "json"))["settings"]}

    assert settings["project_dir"]["value"] == str(project)


def test_config_show_names_line_of_broken_toml(project: Path) -> None:
    (project / "pyproject.toml").write_text("[tool.syft_flwr]\ntransport = p2p\n")

    result = invoke("config", "show", project)

    assert result.exit_code == ExitCode.USAGE
    assert f"{project}/pyproject.toml: broken TOML" in result.stderr
    assert "line 2" in result.stderr


# server and client


@pytest.mark.parametrize("command", ["server", "client"])
def test_participant_without_email_does_not_start(command: str, project: Path) -> None:
    invoke("bootstrap", project, "-a", DS, "-d", DO1)
    package = project / "diabetes"
    package.mkdir()
    (package / "server_app.py").write_text("from flwr.serverapp import ServerApp\n\napp = ServerApp()\n")
    (package / "client_app.py").write_text("from flwr.clientapp import ClientApp\n\napp = ClientApp()\n")

    done = subprocess.run(
        [str(COMMAND), command, str(project)], capture_output=True, text=True, timeout=100, check=False
    )

    assert done.returncode == ExitCode.USAGE
    assert "email is not set: SyftBox config" in done.stderr
    assert "Traceback" not in done.stderr


#: The run of a server that :func:`patch_start` replaced.
ENDED = EndedRun(
    run_id=7,
    app_name="x",
    outcome=RunOutcome(RunState.COMPLETED, losses=(Loss("do@x.org", "train", "app-raised", 2, 3),)),
    context=Context(run_id=7, node_id=1, node_config={}, state=RecordDict(), run_config={}),
)
#: Its fields in JSON.
ENDED_FIELDS = {
    "run-id": "7",
    "state": "completed",
    "cause": "",
    "losses": [{"data-owner": "do@x.org", "kind": "train", "reason": "app-raised", "count": 2, "answered": 3}],
}


def patch_start(monkeypatch: pytest.MonkeyPatch, role: str, start: Callable[..., None]) -> None:
    def start_each(projects: Sequence[Path], *, node_config: object, keep: object) -> None:
        assert (node_config, keep) == (None, None)
        for path in projects:
            start(path)

    def start_one(project: Path, **given: object) -> EndedRun:
        start(project, **given)
        return ENDED

    if role == "server":
        monkeypatch.setattr(flower_server, "serve_project", start_one)
    else:
        monkeypatch.setitem(vars(fl_orchestrator), "run_clients", start_each)


def test_client_accepts_several_projects(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[Path] = []
    patch_start(monkeypatch, "client", started.append)

    assert invoke("client", project, project / "other").exit_code == ExitCode.OK
    assert started == [project, project / "other"]


@pytest.mark.parametrize("role", ["server", "client"])
def test_participant_starts_in_its_project(role: str, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[Path] = []
    options: list[dict[str, object]] = []

    def start(path: Path, **given: object) -> None:
        started.append(path)
        given.pop("on_stop", None)
        options.append(given)

    patch_start(monkeypatch, role, start)
    monkeypatch.chdir(project)

    fields = ENDED_FIELDS if role == "server" else {}
    assert answer(invoke(role, project, "--format", "json")) == {"success": True, "role": role, **fields}
    assert invoke(role).exit_code == ExitCode.OK
    assert [path.resolve() for path in started] == [project, project]
    assert options == [{"fresh": False, "run_config": None, "strict": False} if role == "server" else {}] * 2


def test_server_starts_fresh_run_only_on_request(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[bool] = []
    patch_start(monkeypatch, "server", lambda _, *, fresh, **__: told.append(fresh))

    assert invoke("server", project).exit_code == ExitCode.OK
    assert invoke("server", project, "--fresh").exit_code == ExitCode.OK
    assert told == [False, True]


def test_last_line_of_the_server_names_the_losses(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    patch_start(monkeypatch, "server", lambda _, **__: None)

    result = invoke("server", project)

    assert result.exit_code == ExitCode.OK
    assert result.stdout == "Run 7 was completed, with losses: do@x.org: 2 train app-raised\n"


@pytest.mark.parametrize("way", ["option", "environment", "project"])
def test_strict_server_fails_because_of_losses(project: Path, monkeypatch: pytest.MonkeyPatch, way: str) -> None:
    patch_start(monkeypatch, "server", lambda _, **__: None)
    if way == "environment":
        monkeypatch.setenv("SYFT_FLWR_STRICT", "true")
    if way == "project":
        with (project / "pyproject.toml").open("a") as file:
            file.write("\n[tool.syft_flwr]\nstrict = true\n")

    result = invoke("server", project, *(["--strict"] if way == "option" else []), "--format", "json")

    assert result.exit_code == ExitCode.FAILED
    found = json.loads(result.stdout)
    assert (found["success"], found["losses"]) == (False, ENDED_FIELDS["losses"])
    assert "strict is set, and there were losses: do@x.org: 2 train app-raised" in found["error"]["message"]


def test_client_has_no_fresh_option(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[Path] = []
    patch_start(monkeypatch, "client", started.append)

    assert invoke("client", project, "--fresh").exit_code == ExitCode.USAGE
    assert started == []


def test_run_refuses_keep_and_names_keep_files(project: Path) -> None:
    refused = invoke("run", project, "-m", project, "--keep")

    assert refused.exit_code == ExitCode.USAGE
    assert "--keep-files" in refused.output


def test_failed_run_exits_with_one_and_hint(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: Path, **__: object) -> None:
        raise RunError("run 7: the ServerApp raised ValueError", hint="See its log.")

    patch_start(monkeypatch, "server", fail)

    result = invoke("server", project)

    assert result.exit_code == ExitCode.FAILED
    assert result.stderr == "Error: run 7: the ServerApp raised ValueError\n  See its log.\n"


def test_brackets_in_errors_are_printed(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: Path) -> None:
        raise RunError(f"[red]{'x' * 300}[/nothing] :smile:")

    patch_start(monkeypatch, "client", fail)

    assert invoke("client", project).stderr == f"Error: [red]{'x' * 300}[/nothing] :smile:\n"


@pytest.mark.parametrize("role", ["server", "client"])
@pytest.mark.parametrize(
    ("number", "code", "line"),
    [(signal.SIGINT, ExitCode.INTERRUPTED, "interrupted\n"), (signal.SIGTERM, ExitCode.TERMINATED, "terminated\n")],
)
def test_signal_ends_participant_with_one_line(
    role: str, number: signal.Signals, code: int, line: str, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = signal.getsignal(signal.SIGTERM)
    patch_start(monkeypatch, role, lambda _, **__: signal.raise_signal(number))

    result = invoke(role, project)

    assert (result.exit_code, result.stderr, result.stdout) == (code, line, "")
    assert signal.getsignal(signal.SIGTERM) is before


def test_ctrl_c_is_reported_in_one_line(
    simulation: list[dict[str, Any]], project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setitem(vars(simulated), "prepare", interrupt)

    result = invoke("run", project, "-m", "a")

    assert (result.exit_code, result.stderr) == (ExitCode.INTERRUPTED, "interrupted\n")


def test_second_sigterm_does_not_stop_cleanup() -> None:
    wound_up = False

    def work() -> None:
        nonlocal wound_up
        try:
            signal.raise_signal(signal.SIGTERM)
        finally:
            signal.raise_signal(signal.SIGTERM)
            wound_up = True

    with pytest.raises(SystemExit) as ended, ending_on_sigterm():
        work()

    assert ended.value.code == ExitCode.TERMINATED
    assert wound_up
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_existing_sigterm_handler_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    got: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, _: got.append(number))
    try:
        with ending_on_sigterm():
            signal.raise_signal(signal.SIGTERM)
    finally:
        signal.signal(signal.SIGTERM, before)

    assert got == [signal.SIGTERM]


def test_internal_error_is_not_hidden(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def mistake(_: Path) -> None:
        raise ZeroDivisionError

    patch_start(monkeypatch, "client", mistake)

    result = invoke("client", project)

    assert result.exit_code == 1
    assert isinstance(result.exception, ZeroDivisionError)


# run


@pytest.fixture
def simulation(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Replace the simulation by a fake; return the list of its recorded calls."""
    calls: list[dict[str, Any]] = []

    class Prepared:
        def __init__(self, project: Path, mocks: list[Path], *, transport: str | None, timeout: float | None) -> None:
            calls.append({"project": project, "mocks": mocks, "transport": transport, "timeout": timeout})
            self.problem = "ds@x.org ended with 1" if mocks == [Path("fails")] else ""

        def run(self, _: object) -> Report:
            row = Row(DS, "server", "completed", int(bool(self.problem)), "0", "", 0, 2, 1.0, 0, "", Path("/x.log"))
            seat = LocalSeat(email=DS, role="aggregator", log=Path("/x.log"))
            facts = LocalFacts(
                app="x", transport="p2p", project=Path("/p"), output=Path("/output"), seats=(seat,), started=NOW, run=7
            )
            local = LocalRun(Path("/local/x"), facts)
            return Report(self.problem, (row,), Path("/output"), answers=2, failures=0, local=local)

    monkeypatch.setitem(vars(simulated), "prepare", Prepared)
    return calls


def test_run_accepts_lists_of_mock_paths(simulation: list[dict[str, Any]], project: Path) -> None:
    result = invoke("run", project, "-m", "a,b", "--mock-dataset-paths", "c", "--timeout", "9", "--format", "json")

    assert answer(result)["success"] is True
    assert simulation == [
        {"project": project, "mocks": [Path("a"), Path("b"), Path("c")], "transport": None, "timeout": 9.0}
    ]


def test_failed_simulation_exits_with_one(simulation: list[dict[str, Any]], project: Path) -> None:
    result = invoke("run", project, "-m", "fails")

    assert result.exit_code == ExitCode.FAILED
    assert "the run failed: ds@x.org ended with 1" in result.stderr


@pytest.mark.parametrize("mocks", ["a", "fails"])
def test_run_json_reports_each_participant(mocks: str, simulation: list[dict[str, Any]], project: Path) -> None:
    read = answer(invoke("run", project, "-m", mocks, "--format", "json"))

    assert read["success"] is (mocks == "a")
    assert ("error" in read) is (mocks == "fails")
    assert (read["output"], read["answers"], read["failures"]) == ("/output", 2, 0)
    (participant,) = read["participants"]
    assert (participant["email"], participant["role"], participant["log"]) == (DS, "server", "/x.log")
    assert participant["exit-code"] == (0 if mocks == "a" else 1)
    assert (read["run-id"], read["local"], read["records"]) == ("7", "x", "/local/x")
    assert participant["record"] == f"/local/x/{DS}/apps/x/runs/0000000000000007.aggregator.jsonl"


def test_run_without_participants_names_bootstrap(project: Path) -> None:
    result = invoke("run", project, "-m", "a")

    assert result.exit_code == ExitCode.USAGE
    assert "aggregator is not set" in result.stderr
    assert f"Run `syft-flwr bootstrap {project} -a EMAIL -d EMAIL` first" in result.stderr


@pytest.mark.parametrize("timeout", ["0", "-1", "nan", "inf"])
def test_invalid_timeout_is_refused(simulation: list[dict[str, Any]], timeout: str, project: Path) -> None:
    result = invoke("run", project, "-m", "a", "--timeout", timeout)

    assert result.exit_code == ExitCode.USAGE
    assert "--timeout" in result.stderr
    assert simulation == []


# peers


class Person:
    """A participant with its own keys. All participants share one SyftBox folder."""

    def __init__(self, folder: Path, email: str) -> None:
        self.home = folder / "state" / email
        self.config = folder / f"{email}.json"
        self.config.write_text(json.dumps({"email": email, "data_dir": str(folder / "box")}))
        self.environ = {"SYFTBOX_CLIENT_CONFIG_PATH": str(self.config), "SYFT_FLWR_HOME": str(folder / "state")}

    def publish(self) -> str:
        with open_trust(load_settings(environ=self.environ)) as trust:
            trust.publish()
            return trust.own_fingerprint

    def lose_keys(self) -> None:
        shutil.rmtree(self.home)


@pytest.fixture
def me(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Person:
    person = Person(tmp_path, DS)
    for name, value in person.environ.items():
        monkeypatch.setenv(name, value)
    return person


@pytest.fixture
def owner(tmp_path: Path) -> Person:
    return Person(tmp_path, DO1)


def listed() -> dict[str, Any]:
    return answer(invoke("peers", "list", "--format", "json"))


def test_empty_peers_list_shows_own_fingerprint(me: Person) -> None:
    own = me.publish()

    result = invoke("peers", "list")

    assert result.exit_code == ExitCode.OK
    assert f"Your own fingerprint: {own}" in result.stdout
    assert "No key of another participant is known yet." in result.stdout
    assert listed() == {"success": True, "own-fingerprint": own, "peers": []}


def test_peers_lists_unmet_datasites(me: Person, owner: Person, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    invoke("bootstrap", project, "-a", DS, "-d", f"{DO1},{DO2}")
    monkeypatch.chdir(project)
    fingerprint = owner.publish()

    shown = invoke("peers")
    read = answer(invoke("peers", "--format", "json"))

    assert shown.exit_code == ExitCode.OK
    (row,) = [line for line in shown.stdout.splitlines() if DO1 in line]
    assert row.split() == [DO1, "unmet", *fingerprint.split(), "syft-flwr", syft_flwr.__version__, "-"]
    assert DO2 not in shown.stdout
    assert DS not in shown.stdout
    (peer,) = read["peers"]
    assert (peer["email"], peer["state"], peer["first-seen"]) == (DO1, "unmet", None)
    assert peer["software"] == f"syft-flwr {syft_flwr.__version__}"


def test_format_before_subcommand_is_refused(me: Person) -> None:
    result = invoke("peers", "--format", "json", "list")

    assert result.exit_code == ExitCode.USAGE
    assert "after list" in result.stderr


def test_matching_fingerprint_is_marked_verified(me: Person, owner: Person) -> None:
    fingerprint = owner.publish()

    quoted = invoke("peers", "verify", DO1.upper(), fingerprint)
    typed = invoke("peers", "verify", DO1, *fingerprint.lower().split())

    assert quoted.exit_code == typed.exit_code == ExitCode.OK
    assert quoted.stdout == f"{DO1}: fingerprint {fingerprint} verified.\n"
    (peer,) = listed()["peers"]
    assert (peer["email"], peer["state"], peer["fingerprint"]) == (DO1, "verified", fingerprint)
    assert peer["offered-fingerprint"] is None
    row = next(line for line in invoke("peers", "ls").stdout.splitlines() if DO1 in line)
    assert "verified" in row
    assert fingerprint in row


def test_different_fingerprint_is_not_verified(me: Person, owner: Person) -> None:
    fingerprint = owner.publish()

    result = invoke("peers", "verify", DO1, me.publish())

    assert result.exit_code == ExitCode.FAILED
    assert DO1 in result.stderr
    assert fingerprint in result.stderr
    assert listed()["peers"] == []


def test_changed_key_is_used_only_after_accept(me: Person, owner: Person) -> None:
    first = owner.publish()
    invoke("peers", "verify", DO1, first)
    owner.lose_keys()
    second = owner.publish()

    (peer,) = listed()["peers"]
    assert (peer["state"], peer["fingerprint"], peer["offered-fingerprint"]) == ("changed", first, second)
    shown = invoke("peers", "list").stdout
    assert f"{DO1} now publishes another key, fingerprint {second}" in shown
    assert f"syft-flwr peers accept {DO1} FINGERPRINT" in shown

    for unseen in (["--format", "json"], []):
        refused = invoke("peers", "accept", DO1, *unseen)
        assert refused.exit_code == ExitCode.USAGE
        assert f"then run: syft-flwr peers accept {DO1} FINGERPRINT" in refused.stderr
        assert second not in refused.output
    assert invoke("peers", "accept", DO1, me.publish()).exit_code == ExitCode.FAILED
    assert listed()["peers"][0]["state"] == "changed"

    for command in ("accept", "verify"):
        old = invoke("peers", command, DO1, first)
        assert old.exit_code == ExitCode.OK
        assert f"But {DO1} now publishes another key, fingerprint {second}. No message is exchanged" in old.stdout
        told = json.loads(invoke("peers", command, DO1, first, "--format", "json").stdout)
        assert (told["state"], told["fingerprint"], told["offered-fingerprint"]) == ("changed", first, second)

    done = invoke("peers", "accept", DO1, *second.lower().split())
    assert done.stdout == f"{DO1}: fingerprint {second} accepted and verified.\n"
    (peer,) = listed()["peers"]
    assert (peer["state"], peer["fingerprint"]) == ("verified", second)


@pytest.mark.parametrize("reply", ["y", "n"])
def test_accept_asks_in_a_terminal_for_the_shown_key(me: Person, owner: Person, reply: str) -> None:
    first = owner.publish()
    invoke("peers", "verify", DO1, first)
    owner.lose_keys()
    second = owner.publish()
    ours, theirs = pty.openpty()
    command = [str(Path(sys.executable).parent / "syft-flwr"), "peers", "accept", DO1]
    shown = b""
    try:
        with subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True) as process:
            try:
                os.close(theirs)
                while b"[y/N]" not in shown:
                    assert select.select([ours], [], [], PATIENCE)[0], shown
                    shown += os.read(ours, 4096)
                # Another key arrives between the look and the reply.
                owner.lose_keys()
                owner.publish()
                os.write(ours, f"{reply}\n".encode())
                wanted = b"verified" if reply == "y" else b"nothing was changed"
                while wanted not in shown:
                    assert select.select([ours], [], [], PATIENCE)[0], shown
                    shown += os.read(ours, 4096)
                code = process.wait(PATIENCE)
            finally:
                process.kill()
    finally:
        os.close(ours)
    assert f"Pinned fingerprint of {DO1}:    {first}" in shown.decode()
    assert f"Published fingerprint of {DO1}: {second}" in shown.decode()
    assert (code == ExitCode.OK) == (reply == "y")
    with open_trust(load_settings(environ=me.environ)) as trust:
        assert trust.fingerprints()[DO1] == (second if reply == "y" else first)


@pytest.mark.parametrize("command", [["accept", DO1], ["accept", DO1, "AAAA"], ["verify", DO1, "AAAA"]])
def test_unknown_peer_error_names_the_email(command: list[str], me: Person) -> None:
    result = invoke("peers", *command)

    assert result.exit_code == ExitCode.FAILED
    assert DO1 in result.stderr
    assert "Traceback" not in result.stderr


def test_invalid_peer_email_is_bad_usage(me: Person) -> None:
    result = invoke("peers", "accept", "../../x@y.z")

    assert result.exit_code == ExitCode.USAGE
    assert "'../../x@y.z' is not a valid email" in result.stderr


def test_peers_without_email_is_bad_usage(tmp_path: Path) -> None:
    result = invoke("peers", "list")

    assert result.exit_code == ExitCode.USAGE
    assert "email is not set" in result.stderr
