"""A pytest plugin that runs test files of Flower's repository against the installed Flower, with SyftGrid as the grid.

Only the test files come from the repository. Flower's classes of the grid are replaced by :class:`GridUnderTest`. Names
that Flower has moved since the repository's release are given back. The outcomes go to ``FLOWER_OUTCOMES``.
"""

import importlib.abc
import importlib.machinery
import importlib.util
import json
import os
import shutil
import sys
import tempfile
import types
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import pytest
from flwr.supercore.run import Run

from syft_flwr.config import load_settings
from syft_flwr.fl_orchestrator import SyftGrid
from syft_flwr.fl_orchestrator.participant import Participant
from syft_flwr.transport.memory import MemoryNetwork

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
_opened = ExitStack()


class GridUnderTest(SyftGrid):
    """A SyftGrid over memory whose data owners are offline, made with the arguments of Flower's grids."""

    def __init__(self, state_factory: Any = None, **_unused: Any) -> None:
        self.state = state_factory.state() if state_factory else None
        home = Path(tempfile.mkdtemp())
        _opened.callback(shutil.rmtree, home)
        email = "ds@university.example"
        transport = _opened.enter_context(closing(MemoryNetwork().transport(email)))
        participant = Participant(load_settings(environ={}, email=email, home=home), transport, in_process=True)
        found = self.state.get_nodes.return_value if self.state else ()
        numbers = list(found) if isinstance(found, list) else [404, 200]
        owners = [f"do{number}@hospital.example" for number in numbers]
        super().__init__("flower-tests", owners, participant)
        # The tests name their nodes; our ids come from emails.
        self._nodes._by_id = dict(zip(numbers, owners, strict=True)) | dict.fromkeys((0, 1, 123), owners[0])
        _opened.callback(self.close)

    def get_node_ids(self) -> list[int]:
        return [node for node in super().get_node_ids() if node not in (0, 1, 123)]


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
            module.__getattr__ = lambda name: MagicMock(name=name)  # type: ignore[method-assign]
        if module.__name__ in _GRIDS:
            module.__dict__.update(InMemoryGrid=GridUnderTest, GrpcGrid=GridUnderTest)


class _OldRun(Run):
    """Takes the argument that Flower has renamed."""

    def __init__(self, *values: Any, federation: str = "", **named: Any) -> None:
        super().__init__(*values, **({"federation_id": federation} | named))


class _Reader(pytest.Module):
    """Collects a file of the repository as the module of Flower's package that it is."""

    def _getobj(self) -> Any:
        name = str(self.path.relative_to(SOURCE).with_suffix("")).replace("/", ".")
        return importlib.import_module(name)


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
    _opened.close()


_outcomes: dict[str, str] = {}


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    name = report.nodeid.rpartition("flwr/")[2]
    if report.failed or report.when == "call":
        _outcomes[name] = report.outcome


def pytest_collectreport(report: pytest.CollectReport) -> None:
    if report.failed:
        _outcomes[report.nodeid.rpartition("flwr/")[2]] = "not collected"


def pytest_sessionfinish() -> None:
    Path(os.environ["FLOWER_OUTCOMES"]).write_text(json.dumps(_outcomes))
