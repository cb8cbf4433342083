"""The public names: each can be imported, no other is offered, and asking for the package loads nothing heavy."""

import ast
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

from syft_flwr.errors import StoreError, SyftFlwrError

PACKAGES = ["syft_flwr", "syft_flwr.fl_orchestrator"]
HEAVY = (
    "flwr",
    "google",
    "googleapiclient",
    "numpy",
    "pydantic",
    "watchdog",
    "loguru",
    "typer",
    "rich",
    "syft_flwr.transport",
)


def python(program: str) -> str:
    """Run a program in a fresh interpreter, and return what it prints."""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return done.stdout.strip()


@pytest.mark.parametrize("name", PACKAGES)
def test_every_public_name_can_be_imported(name: str) -> None:
    package = import_module(name)

    assert sorted(set(package.__all__)) == sorted(package.__all__)
    for each in package.__all__:
        found = getattr(package, each)
        assert each == "__version__" or found.__name__ in {each, f"{name}.{each}"}


@pytest.mark.parametrize("name", PACKAGES)
def test_no_other_name_is_offered(name: str) -> None:
    package = import_module(name)

    assert sorted(dir(package)) == sorted(package.__all__)
    with pytest.raises(AttributeError, match="Settings"):
        package.Settings  # noqa: B018
    printed = python(f"from {name} import *; print(sorted(each for each in dir() if each[0] != '_'))")
    assert ast.literal_eval(printed) == sorted(each for each in package.__all__ if each[0] != "_")


@pytest.mark.parametrize("name", PACKAGES)
def test_importing_the_package_loads_nothing_heavy(name: str) -> None:
    assert python(f"import sys, {name}; print([name for name in {HEAVY} if name in sys.modules])") == "[]"


def test_errors_are_there_without_an_import_of_their_own() -> None:
    program = "import syft_flwr; print(issubclass(syft_flwr.errors.ConfigError, syft_flwr.errors.SyftFlwrError))"

    assert python(program) == "True"


@pytest.mark.parametrize("name", PACKAGES)
def test_type_checkers_see_every_public_name(name: str) -> None:
    """The lazy table and the imports under TYPE_CHECKING name the same things."""
    tree = ast.parse(Path(str(import_module(name).__file__)).read_text())
    guarded = [
        statement
        for node in tree.body
        if isinstance(node, ast.If)
        for statement in node.body
        if isinstance(statement, ast.ImportFrom)
    ]

    seen = {alias.name for statement in guarded for alias in statement.names}
    assert seen == {each for each in import_module(name).__all__ if each[0] != "_"}


def test_the_package_offers_its_names_sorted_and_every_error_is_ours() -> None:
    package = import_module("syft_flwr.fl_orchestrator")

    assert sorted(package.__all__) == package.__all__
    for name in package.__all__:
        assert getattr(package, name).__name__ == name
    assert issubclass(StoreError, SyftFlwrError)
