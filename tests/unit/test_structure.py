"""The structure of the package: unique names, independent subpackages, and one place for each kind of knowledge.

The layers are defined in ``pyproject.toml``; ``make check`` enforces them.
"""

import ast
import importlib
import re
from collections import defaultdict
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

import syft_flwr

ROOT = Path(syft_flwr.__file__).parent
WINGS = ["_messaging.wire", "_messaging.asking", "_messaging.answering"]
#: Names with two meanings, each with its reason. At most five modules and three classes.
SHARED_MODULE_NAMES = {
    "gdrive": "the service: its transport, its emulator, and the emulator's public place in syft_flwr.testing",
    "syftbox": "the service: its transport with parts, its emulator, and the emulator's public place in syft_flwr.testing",
}
SHARED_CLASS_NAMES = {
    "Storage": "the word of Drive's API for its quota, and the storage on which a transport's contract is tested",
}
#: Public packages of Flower; all other packages of Flower can change in any release.
PUBLIC_FLOWER = {"flwr", "flwr.app", "flwr.clientapp", "flwr.serverapp", "flwr.server", "flwr.common"}
PUBLIC_FLOWER_BELOW = ("flwr.server.strategy", "flwr.serverapp.strategy", "flwr.server.client_proxy")
#: Parts of the names of messages.
MESSAGE_PATTERN = re.compile(r"app_data|rpc/|messages/|objects/|\.request|\.response|blob|request\|response|heartbeat")


@cache
def modules() -> list[tuple[str, ast.Module]]:
    """Return the path of each module below the package, and its syntax tree."""
    return [
        (path.relative_to(ROOT).as_posix(), ast.parse(path.read_text(encoding="utf-8")))
        for path in sorted(ROOT.rglob("*.py"))
    ]


def imports(tree: ast.Module) -> Iterator[str]:
    """Yield all modules that a module imports, also inside functions."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


def texts(tree: ast.Module) -> Iterator[str]:
    """Yield the string literals of a module, without its docstrings."""
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    docstrings = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, documented) and node.body and isinstance(node.body[0], ast.Expr)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings:
            yield node.value


def test_module_names_are_unique() -> None:
    places = defaultdict(set)
    for path, _ in modules():
        if not path.endswith(("__init__.py", "__main__.py")):
            places[Path(path).stem.strip("_")].add(path)
    for folder in {path.parent for path in ROOT.rglob("__init__.py")} - {ROOT}:
        places[folder.name.strip("_")].add(folder.relative_to(ROOT).as_posix())

    shared = {name: found for name, found in places.items() if len(found) > 1}

    assert shared.keys() == SHARED_MODULE_NAMES.keys(), shared
    assert len(shared) <= 5


def test_class_names_are_unique() -> None:
    places = defaultdict(list)
    for path, tree in modules():
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef):
                places[node.name.strip("_")].append(path)

    shared = {name: found for name, found in places.items() if len(found) > 1}

    assert shared.keys() == SHARED_CLASS_NAMES.keys(), shared
    assert len(shared) <= 3


def test_transports_contain_no_message_paths() -> None:
    found = [
        f"{path}: {text!r}"
        for path, tree in modules()
        if path.startswith("transport/")
        for text in texts(tree)
        if MESSAGE_PATTERN.search(text)
    ]

    assert not found


@pytest.mark.parametrize("wing", WINGS)
def test_subpackage_exports_are_sorted_and_exist(wing: str) -> None:
    package = importlib.import_module(f"syft_flwr.{wing}")

    assert package.__all__ == sorted(package.__all__)
    assert all(hasattr(package, name) for name in package.__all__)


@pytest.mark.parametrize("wing", WINGS)
def test_modules_do_not_import_their_own_package(wing: str) -> None:
    folder = wing.replace(".", "/")
    found = [
        path
        for path, tree in modules()
        if path.startswith(f"{folder}/")
        and any(
            isinstance(node, ast.ImportFrom)
            and node.module == f"syft_flwr.{wing}"
            and any(not (ROOT / folder / f"{alias.name}.py").exists() for alias in node.names)
            for node in ast.walk(tree)
        )
    ]

    assert not found


def test_only_one_module_uses_flower_internals() -> None:
    found = [
        f"{path}: {name}"
        for path, tree in modules()
        if path != "flower.py"
        for name in imports(tree)
        if name.partition(".")[0] == "flwr" and name not in PUBLIC_FLOWER and not name.startswith(PUBLIC_FLOWER_BELOW)
    ]
    found += [
        path
        for path, tree in modules()
        if path != "flower.py"
        and any(isinstance(node, ast.Attribute) and node.attr == "__dict__" for node in ast.walk(tree))
    ]

    assert not found


def test_only_one_module_logs_without_escapes() -> None:
    allowed = {"log.py"}
    found = [
        path
        for path, tree in modules()
        if path not in allowed
        for node in ast.walk(tree)
        if (isinstance(node, ast.Import) and "loguru" in [alias.name for alias in node.names])
        or (isinstance(node, ast.ImportFrom) and node.module == "loguru" and "logger" in [a.name for a in node.names])
    ]

    assert not found
