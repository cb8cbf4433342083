"""The public names: each can be imported, no others are exported, and the import loads no heavy modules."""

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
    """Run a program in a new interpreter, and return its output."""
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
def test_no_other_name_is_exported(name: str) -> None:
    package = import_module(name)

    assert sorted(dir(package)) == sorted(package.__all__)
    with pytest.raises(AttributeError, match="Settings"):
        package.Settings  # noqa: B018
    printed = python(f"from {name} import *; print(sorted(each for each in dir() if each[0] != '_'))")
    assert ast.literal_eval(printed) == sorted(each for each in package.__all__ if each[0] != "_")


@pytest.mark.parametrize("name", PACKAGES)
def test_import_loads_no_heavy_modules(name: str) -> None:
    assert python(f"import sys, {name}; print([name for name in {HEAVY} if name in sys.modules])") == "[]"


def test_errors_are_available_from_the_package() -> None:
    program = "import syft_flwr; print(issubclass(syft_flwr.errors.ConfigError, syft_flwr.errors.SyftFlwrError))"

    assert python(program) == "True"


@pytest.mark.parametrize("name", PACKAGES)
def test_type_checkers_see_every_public_name(name: str) -> None:
    """The table of lazy imports and the imports under TYPE_CHECKING contain the same names."""
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


def test_exported_names_are_sorted_and_correct() -> None:
    package = import_module("syft_flwr.fl_orchestrator")

    assert sorted(package.__all__) == package.__all__
    for name in package.__all__:
        assert getattr(package, name).__name__ == name
    assert issubclass(StoreError, SyftFlwrError)
