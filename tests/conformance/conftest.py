"""The systems under test, and the reference result that each of them must reach."""

import sys
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import pytest

_HERE = Path(__file__).parent
sys.path[:0] = [str(_HERE), str(_HERE / "project")]
pytest.register_assert_rewrite("federations.case")

from federations.case import Federation, Outcome  # noqa: E402 - these modules are not in a package
from federations.cases import CASES  # noqa: E402
from federations.ours import FolderFederation, MemoryFederation  # noqa: E402
from federations.reference import ReferenceFederation  # noqa: E402
from flwr.supercore.task_identity import TaskIdentity  # noqa: E402


@pytest.fixture(autouse=True)
def no_identity(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Reset the run id of this process, so that no test uses the one of an earlier test."""
    monkeypatch.setenv("FLWR_TELEMETRY_ENABLED", "0")
    yield
    for name in ("task_id", "run_id", "node_id"):
        setattr(TaskIdentity, name, None)


@pytest.fixture(scope="session")
def reference() -> Callable[[str], Outcome]:
    """Return a function that maps the name of a case to its outcome on Flower itself; each case runs once."""
    return cache(lambda name: ReferenceFederation().run(CASES[name]))


@pytest.fixture(params=["reference", "memory"])
def federation(request: pytest.FixtureRequest, tmp_path: Path) -> Federation:
    """Return each system in turn.

    The reference is one of them, because its own result must not depend on the order of replies.
    """
    makers: dict[str, Callable[[], Federation]] = {
        "reference": ReferenceFederation,
        "memory": lambda: MemoryFederation(tmp_path),
    }
    return makers[request.param]()


@pytest.fixture
def processes(tmp_path: Path) -> Federation:
    """Return the federation in which every participant is a process, and every app is another one."""
    return FolderFederation(tmp_path)
