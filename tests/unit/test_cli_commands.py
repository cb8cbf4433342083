"""Rules of every command: an example in its help, and JSON alone on standard output. Completion in a shell."""

import json
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer
from click import Command, Context, Group
from loguru import logger
from typer.testing import CliRunner

from syft_flwr.cli.app import app
from syft_flwr.runs.record import record_path

COMMAND = Path(sys.executable).parent / "syft-flwr"
ROOT = typer.main.get_command(app)


def walk(command: Command, *names: str) -> Iterator[tuple[tuple[str, ...], Command]]:
    """Yield a command and all commands below it, each with the words that call it."""
    yield names, command
    if isinstance(command, Group):
        for name, each in command.commands.items():
            # An alias is hidden.
            if not each.hidden:
                yield from walk(each, *names, name)


EVERY = dict(walk(ROOT))
#: Without the groups that only print their help.
PRINTING = {
    names: command
    for names, command in EVERY.items()
    if not isinstance(command, Group) or (names and command.invoke_without_command)
}


def examples_of(command: Command) -> list[list[str]]:
    lines = [line.replace("\\[", "[") for line in (command.epilog or "").split("\n\n")]
    return [shlex.split(line)[1:] for line in lines if line.startswith("syft-flwr ")]


def parsed(arguments: list[str]) -> tuple[str, ...]:
    """Parse the arguments as the command line does, and return the words of the command that would be called."""
    command, names = ROOT, ()
    context = Context(ROOT, info_name="syft-flwr")
    rest = arguments
    while True:
        context = command.make_context(names[-1] if names else "syft-flwr", list(rest), parent=context)
        rest = [*context._protected_args, *context.args]
        if not isinstance(command, Group) or not rest:
            return names
        name, found, rest = command.resolve_command(context, rest)
        assert found is not None
        command, names = found, (*names, str(name))


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    for name in list(os.environ):
        if name.startswith(("SYFT", "GDRIVE")) or name in {"DATA_DIR", "OUTPUT_DIR"}:
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path / "person"))
    monkeypatch.chdir(tmp_path)
    yield
    logger.remove()


@pytest.mark.parametrize("names", EVERY, ids=" ".join)
def test_every_command_has_an_example_that_parses(names: tuple[str, ...]) -> None:
    examples = [] if not names else examples_of(EVERY[names])
    if not names:
        assert "syft-flwr run " in str(EVERY[names].epilog)

    assert examples or not names, "add epilog=examples(...) where the command is registered"
    for example in examples:
        called = parsed([each for each in example if each != "--help"])
        assert called[: len(names)] == names
        assert called in PRINTING


@pytest.mark.parametrize("names", EVERY, ids=" ".join)
def test_help_shows_the_examples(names: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "1000")
    shown = CliRunner().invoke(app, [*names, "--help"])

    assert shown.exit_code == 0
    for example in examples_of(EVERY[names]):
        assert shlex.split(f"syft-flwr {shlex.join(example)}") in [
            shlex.split(line) for line in shown.stdout.splitlines() if line.startswith(" syft-flwr ")
        ]


def test_help_explains_each_argument(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "1000")
    arguments = [
        (names, each)
        for names, command in PRINTING.items()
        for each in command.params
        if each.param_type_name == "argument" and not getattr(each, "hidden", False)
    ]

    assert len(arguments) > 8
    for names, argument in arguments:
        text = getattr(argument, "help", None) or ""
        assert text, (names, argument.name)
        assert text[:30] in CliRunner().invoke(app, [*names, "--help"]).stdout, (names, argument.name)


@pytest.mark.parametrize("names", PRINTING, ids=" ".join)
def test_every_command_fails_with_json_alone(names: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    # A setting that ends each command that reads the settings, before it does anything.
    monkeypatch.setenv("SYFT_FLWR_MSG_TIMEOUT", "soon")
    Path("project").mkdir()
    Path("project", "pyproject.toml").write_text('[project]\nname = "p"\n')
    example = next(each for each in examples_of(PRINTING[names]) if parsed(each) == names)
    arguments = [each for each in example if each not in ("--format", "json")]

    done = CliRunner().invoke(app, [*arguments, "--format", "json"])

    found = json.loads(done.stdout)
    assert found["success"] is (done.exit_code == 0)
    if not found["success"]:
        assert found["error"]["message"] in done.stderr


@pytest.mark.parametrize("names", PRINTING, ids=" ".join)
def test_wrong_arguments_are_told_as_json(names: tuple[str, ...]) -> None:
    done = CliRunner().invoke(app, [*names, "--no-such-option", "--format", "json"])

    assert done.exit_code == 2
    assert json.loads(done.stdout)["error"] == {
        "type": "NoSuchOption",
        "message": "No such option '--no-such-option'.",
        "hint": f"Try: syft-flwr {' '.join(names)} --help",
    }
    assert "No such option" in done.stderr


def test_missing_argument_is_told_as_json() -> None:
    done = CliRunner().invoke(app, ["run", "--format=json", "project"])

    assert done.exit_code == 2
    assert json.loads(done.stdout)["error"]["type"] == "MissingParameter"


@pytest.mark.parametrize("output", ["2>&-", "2>/dev/full"])
def test_interrupt_without_standard_error_keeps_its_exit_code(output: str) -> None:
    program = "from syft_flwr.shutdown import ending_quietly\nwith ending_quietly(): raise KeyboardInterrupt"
    command = f"{shlex.quote(sys.executable)} -c {shlex.quote(program)} {output}"
    assert subprocess.run(["sh", "-c", command], timeout=60, check=False).returncode == 130


# Completion


def complete(line: str, shell: str, **environ: str) -> str:
    """Return the completions that a shell gets for a line."""
    words = {"COMP_WORDS": line, "COMP_CWORD": str(len(line.split(" ")) - 1), "_TYPER_COMPLETE_ARGS": line}
    done = subprocess.run(
        [str(COMMAND)],
        env=os.environ | words | {"_SYFT_FLWR_COMPLETE": f"complete_{shell}"} | environ,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stderr == ""
    return done.stdout


@pytest.mark.parametrize(
    ("arguments", "output", "code"),
    [
        ("version --format json", ">/dev/full", 1),
        ("version --format json", ">&-", 0),
        ("runs 12345", "2>&-", 2),
        ("runs 12345", "2>/dev/full", 2),
    ],
)
def test_unusable_stream_keeps_the_exit_code(arguments: str, output: str, code: int, tmp_path: Path) -> None:
    done = subprocess.run(
        ["sh", "-c", f"{shlex.quote(str(COMMAND))} {arguments} {output}"],
        env={**os.environ, "SYFT_FLWR_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert "Traceback" not in done.stderr
    assert done.returncode == code, done.stderr


@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_commands_and_options_are_completed(shell: str) -> None:
    assert "bootstrap" in complete("syft-flwr boot", shell)
    assert "--node-config" in complete("syft-flwr client --no", shell)
    assert "json" in complete("syft-flwr gc --format j", shell)


def test_ids_of_runs_are_completed(tmp_path: Path) -> None:
    home = tmp_path / "home"
    folders = [home / "do1@x.org/apps/tiny/runs", home / "local/20260101-000000-00000001/ds@x.org/apps/tiny/runs"]
    for number, folder in enumerate(folders):
        folder.mkdir(parents=True)
        for run in (0, 4_000 + number, 5_000 + number):
            record_path(folder, run, "datasite").touch()
            (folder / f"{run:016x}.datasite.status.json").touch()
            (folder / f"{run + 100:016x}.aggregator.metrics.jsonl").touch()
    environ = {"SYFT_FLWR_HOME": str(home), "SYFTBOX_EMAIL": "do1@x.org", "SYFT_FLWR_MISSPELT": "1"}

    assert sorted(complete("syft-flwr runs 4", "bash", **environ).split()) == ["4000", "4001"]
    assert sorted(complete("syft-flwr runs ", "bash", **environ).split()) == ["4000", "4001", "5000", "5001"]
    assert complete("syft-flwr runs ", "bash", **environ | {"SYFT_FLWR_MSG_TIMEOUT": "soon"}).split() == []


def test_completion_loads_no_heavy_package() -> None:
    program = (
        "import sys\nfrom syft_flwr.cli.completion import complete_runs\nfrom syft_flwr.cli.app import app\n"
        "complete_runs('')\n"
        "print(sorted({'flwr', 'pydantic', 'cryptography', 'numpy', 'google', 'tomlkit', 'loguru'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)

    assert done.stdout == "[]\n"


#: For each shell: how it starts with its file of settings, the question for the completion of a command, and the answer.
SHELLS = {
    "bash": (["bash", "--rcfile", "person/.bashrc", "-i"], "complete -p syft-flwr", "-F _syft_flwr_completion "),
    "zsh": (["zsh", "-i"], "echo ${_comps[syft-flwr]}", "_syft-flwr"),
}


@pytest.mark.parametrize("shell", SHELLS)
def test_completion_is_installed_for_the_shell_in_use(shell: str, tmp_path: Path) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    (tmp_path / "person").mkdir()
    start, question, answer = SHELLS[shell]

    def run(*command: str) -> str:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
        return done.stdout

    # The last command keeps the shell: for a single one, it would replace itself.
    told = run(shell, "-c", f"{COMMAND} --install-completion; {COMMAND} --show-completion; true")

    assert f"{shell} completion installed in {tmp_path / 'person'}/" in told
    assert f"_SYFT_FLWR_COMPLETE=complete_{shell}" in told
    assert answer in run(*start, "-c", question)
