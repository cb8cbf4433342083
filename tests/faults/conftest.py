"""Fixtures for the tests of faults: the kit ``faultkit``, and a check that no client met an unexpected error."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

_HERE = Path(__file__).parent
sys.path.insert(0, str(_HERE))
pytest.register_assert_rewrite("faultkit.federation", "faultkit.resuming", "recordkit.rows")

from drivekit.fixtures import ann, ben_of_drive, emulator  # noqa: E402, F401 - importable from here on
from faultkit.federation import AGGREGATOR, OUTSIDER, OWNERS  # noqa: E402 - importable from here on
from faultkit.storage import FolderStorage, MemoryStorage  # noqa: E402
from faultkit.synced import SyncedStorage  # noqa: E402
from flwr.supercore.task_identity import TaskIdentity  # noqa: E402
from identities import anna, ben, eve  # noqa: E402, F401


@pytest.fixture(autouse=True)
def no_stumbling_watcher(logged: list[str]) -> Iterator[None]:
    """Fail a test in which a scanner thread logged an error that our code does not expect."""
    yield
    stumbled = [line for line in logged if "met an error" in line]
    assert not stumbled, stumbled[0]


@pytest.fixture
def breakable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Put the app ``breakable_app:client_app`` on the import path; return a function after which it cannot be loaded."""
    folder = tmp_path / "breakable"
    folder.mkdir()
    module = folder / "breakable_app.py"
    module.write_text("from faultkit.app import client_app\n")
    monkeypatch.syspath_prepend(folder)

    def break_it() -> None:
        module.write_text("import no_such_module\n")

    return break_it


@pytest.fixture(autouse=True)
def no_identity() -> Iterator[None]:
    """Remove the run id that a test left in the process, so that the next test cannot use it."""
    yield
    for name in ("task_id", "run_id", "node_id"):
        setattr(TaskIdentity, name, None)


@pytest.fixture
def memory() -> MemoryStorage:
    return MemoryStorage()


@pytest.fixture
def synced(tmp_path: Path) -> Iterator[SyncedStorage]:
    """Return SyftBox folders on a machine for each participant. Apps run in the process of the client."""
    with SyncedStorage(tmp_path / "machines", [AGGREGATOR, *OWNERS, OUTSIDER]) as storage:
        yield storage


@pytest.fixture(params=["memory", "syftbox"])
def storage(request: pytest.FixtureRequest) -> MemoryStorage | SyncedStorage:
    """Return a storage in memory for one test, and synchronised folders for another."""
    found: MemoryStorage | SyncedStorage = request.getfixturevalue(
        {"memory": "memory", "syftbox": "synced"}[request.param]
    )
    return found


@pytest.fixture
def folder(tmp_path: Path) -> FolderStorage:
    """Return a SyftBox folder. Apps run in the process of the client."""
    return FolderStorage(tmp_path / "SyftBox")


@pytest.fixture
def folder_with_workers(tmp_path: Path) -> FolderStorage:
    """Return a SyftBox folder. The app of each data owner runs in a worker process."""
    return FolderStorage(tmp_path / "SyftBox", workers=True)


@pytest.fixture(params=["folder", "syftbox"])
def storage_with_workers(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[FolderStorage | SyncedStorage]:
    """Return a folder for one test, and synchronised folders for another. Apps run in worker processes."""
    if request.param == "folder":
        yield FolderStorage(tmp_path / "SyftBox", workers=True)
        return
    with SyncedStorage(tmp_path / "machines", [AGGREGATOR, *OWNERS], workers=True) as storage:
        yield storage
