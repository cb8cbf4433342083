"""A pytest plugin that runs test files of Flower's repository against the installed Flower, with SyftGrid as the grid.

Only the test files come from the repository. ``scripted_grid`` takes the place of Flower's grids and of mocks of them.
Names that Flower has moved since the repository's release are given back. The outcomes go to ``FLOWER_OUTCOMES``.
"""

import importlib.abc
import importlib.machinery
import importlib.util
import json
import os
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import pytest
from flowerkit.scripted_grid import GridUnderTest, MockedGrid, opened
from flowerkit.scripts import request_type
from flwr.app import Message, RecordDict
from flwr.common.serde import message_to_proto
from flwr.supercore.run import Run

SOURCE = Path(os.environ["FLOWER_TESTS"])
_GRIDS = ("flwr.server.grid.inmemory_grid", "flwr.server.grid.grpc_grid")
#: Old modules that are gone, and the modules that have their names now.
_MOVED = {
    "flwr.common.parameter": "flwr.compat.common.parameter",
    "flwr.common.recorddict_compat": "flwr.compat.common.recorddict_compat",
    "flwr.common.message": "flwr.app.message",
}
#: Modules and names of Flower's own storage and connection that are gone. Only tests of those internals use them.
_GONE_MODULES = (
    "flwr.proto.appio_pb2",
    "flwr.proto.serverappio_pb2",
    "flwr.server.superlink.linkstate.linkstate_test",
)
_GONE_NAMES = {
    "flwr.supercore.constant": ("NOOP_FEDERATION", "RunType"),
    "flwr.supercore.interceptors": ("AppIoTokenClientInterceptor",),
}
#: Names that left a module which still exists: they come from the first of these modules that has them.
_REFILLED = {
    "flwr.common": ("flwr.app", "flwr.compat.common.parameter", "flwr.compat.common.typing", "flwr.compat.common"),
    "flwr.common.typing": ("flwr.app", "flwr.compat.common.typing", "flwr.supercore.run"),
}
#: Tests that use a ``Mock`` as their grid, and nothing else of the grid.
_MOCKED = ("flwr.server.compat.grid_client_proxy_test", "flwr.server.compat.app_utils_test")


class _Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds Flower's test modules, and the modules of the tables."""

    def find_spec(self, name: str, path: Any, target: Any = None) -> importlib.machinery.ModuleSpec | None:
        if name in _GONE_MODULES:
            return importlib.machinery.ModuleSpec(name, self)
        file = SOURCE / (name.replace(".", "/") + ".py")
        if name.startswith("flwr.") and name.endswith("_test") and file.is_file():
            return importlib.util.spec_from_file_location(name, file)
        if name in _GRIDS or name in _MOVED or name == "flwr.server.grid":
            return importlib.machinery.ModuleSpec(name, self, is_package=name == "flwr.server.grid")
        return None

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> types.ModuleType | None:
        return importlib.import_module(_MOVED[spec.name]) if spec.name in _MOVED else None

    def exec_module(self, module: types.ModuleType) -> None:
        if module.__name__ in _GONE_MODULES:
            module.__getattr__ = _gone  # type: ignore[method-assign]
        if module.__name__ in _GRIDS:
            module.__dict__.update(InMemoryGrid=GridUnderTest, GrpcGrid=GridUnderTest)


def _gone(name: str) -> Any:
    if name.endswith("Request"):
        return request_type(name)
    return _create_ins_message if name == "create_ins_message" else MagicMock(name=name)


def _create_ins_message(src_node_id: int, dst_node_id: int, run_id: int) -> Any:
    """Return a message without content as protobuf, as the function of Flower's tests with this name does."""
    message = Message(RecordDict(), dst_node_id, "query")
    message.metadata.__dict__.update(_run_id=run_id, _src_node_id=src_node_id)
    return message_to_proto(message)


class _OldRun(Run):
    """Takes the argument that Flower has renamed, and needs no new one."""

    def __init__(self, *values: Any, federation: str = "", **named: Any) -> None:
        unset = {} if values else vars(Run.create_empty(0))
        super().__init__(*values, **(unset | {"federation_id": federation} | named))


class _Reader(pytest.Module):
    """Collects a file of the repository as the module of Flower's package that it is."""

    def _getobj(self) -> Any:
        name = str(self.path.relative_to(SOURCE).with_suffix("")).replace("/", ".")
        module = importlib.import_module(name)
        if name in _MOCKED:
            module.Mock = MockedGrid
        return module


def pytest_configure() -> None:
    sys.meta_path.insert(0, _Finder())
    for name, sources in _REFILLED.items():
        module = importlib.import_module(name)
        for source in map(importlib.import_module, reversed(sources)):
            for key, value in vars(source).items():
                if not key.startswith("_") and not hasattr(module, key):
                    setattr(module, key, value)
    for name, gone in _GONE_NAMES.items():
        module = importlib.import_module(name)
        for key in gone:
            setattr(module, key, getattr(module, key, MagicMock(name=key)))
    import flwr.common
    import flwr.common.typing

    flwr.common.typing.Run = _OldRun
    flwr.common.recorddict_compat = importlib.import_module(_MOVED["flwr.common.recorddict_compat"])


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> pytest.Module | None:
    return _Reader.from_parent(parent, path=file_path) if file_path.name.endswith("_test.py") else None


@pytest.fixture(autouse=True)
def _closing_grids() -> Iterator[None]:
    from flwr.supercore.task_identity import TaskIdentity

    # Flower's own tests have a fixture of this kind for each run.
    TaskIdentity.task_id, TaskIdentity.run_id, TaskIdentity.node_id = 1, 61016, 1
    yield
    opened.close()


#: By test, the error that it failed with; empty if it passed.
_outcomes: dict[str, str] = {}


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    name = report.nodeid.rpartition("flwr/")[2]
    if report.failed:
        crash = getattr(report.longrepr, "reprcrash", None)
        _outcomes[name] = crash.message if crash else str(report.longrepr)
    elif report.when == "call":
        _outcomes[name] = "" if report.passed else report.outcome


def pytest_collectreport(report: pytest.CollectReport) -> None:
    if report.failed:
        _outcomes[report.nodeid.rpartition("flwr/")[2]] = "not collected"


def pytest_sessionfinish() -> None:
    Path(os.environ["FLOWER_OUTCOMES"]).write_text(json.dumps(_outcomes))
