"""Messages travel by push, not by a scan, also from folders that a sync client has emptied before.

A cycle of the client removes the folders that its deletions empty, and it never watches such a folder again. The end of
a run empties folders, and so does a cycle that deletes pushed files by mistake.
"""

import contextlib
import fnmatch
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from faithful_settings import CYCLE
from faultkit.federation import AGGREGATOR, OWNERS, Federation
from faultkit.parts import assert_echo, exchange, make_app, model
from faultkit.synced import SyncedStorage
from waiting import eventually, repeatedly

from syft_flwr.emulators.syftbox import How, SyncOutcome
from syft_flwr.emulators.syftbox.faithful import Window

SMALL = model(1_000)


@pytest.fixture
def storage(tmp_path: Path) -> Iterator[SyncedStorage]:
    with SyncedStorage(tmp_path / "machines", [AGGREGATOR, *OWNERS]) as storage:
        storage.network.faithful.set_automatic(False)
        yield storage


@pytest.fixture
def federation(tmp_path: Path, storage: SyncedStorage) -> Iterator[Federation]:
    with Federation(tmp_path / "homes", storage, client_app=make_app()) as federation:
        yield federation


@contextlib.contextmanager
def one_run(federation: Federation, storage: SyncedStorage) -> Iterator[None]:
    """Make a run. Cycles run in its start, with one message, and in its end, but not in the block."""
    with repeatedly(storage.network.scan, CYCLE):
        federation.start()
        exchange(federation, SMALL)
    storage.settle()
    try:
        yield
    finally:
        with repeatedly(storage.network.scan, CYCLE):
            federation.stop()
        storage.settle()


def delivered(storage: SyncedStorage, how: How, owner: str = "*") -> dict[str, int]:
    """Return the number of delivered messages of this kind, by suffix."""
    records = storage.network.traffic.records(f"{owner}/*/messages/*", outcome=SyncOutcome.DELIVERED)
    names = [record.name for record in records if record.how is how]
    return {suffix: sum(name.endswith(suffix) for name in names) for suffix in (".request", ".response")}


def test_messages_of_a_second_run_are_pushed(federation: Federation, storage: SyncedStorage) -> None:
    federation.introduce()
    with one_run(federation, storage):
        for reply in exchange(federation, SMALL):
            assert_echo(reply, SMALL)

    with one_run(federation, storage):
        scanned, pushed = delivered(storage, How.SCAN), delivered(storage, How.REALTIME)
        for reply in exchange(federation, SMALL):
            assert_echo(reply, SMALL)
        after = delivered(storage, How.REALTIME)

        assert delivered(storage, How.SCAN) == scanned
        # The client may push a reply twice, if its file was put back.
        assert all(after[suffix] >= number + len(OWNERS) for suffix, number in pushed.items())


def ask(federation: Federation, storage: SyncedStorage, email: str) -> None:
    """Begin a run: the aggregator knows each key, and pushes a request to each data owner."""
    federation.introduce()
    with first_pushes_removed(storage, email, "*/messages/*.request"):
        federation.start()


def show_life(federation: Federation, storage: SyncedStorage, email: str) -> None:
    """Begin a run, and push a file of the first data owner, before the aggregator knows its key and asks it."""
    status = federation.names.status(OWNERS[0])
    others = [other for other in storage.network.participants if other != email]
    with first_pushes_removed(storage, email, f"{status}*"):
        with repeatedly(lambda: storage.network.scan(*others), CYCLE):
            federation.start()
            permissions = f"{status}syft.pub.yaml"
            eventually(lambda: permissions in storage.network.faithful.stored(), "the permissions at the server")
        storage.plant(f"{status}other.request", b"content")


@contextlib.contextmanager
def first_pushes_removed(storage: SyncedStorage, email: str, pattern: str) -> Iterator[None]:
    """Let a cycle of one client delete the files that it gets by push in the block.

    The writer of such a file makes no cycle after the write: on a busy machine, the cycle could upload the file first.
    """
    world = storage.network.faithful
    storage.settle()
    with ThreadPoolExecutor(1) as thread, world.hold(email, Window.AFTER_VIEW, wait=False) as held:
        cycle = thread.submit(storage.network.scan, email)
        held.wait()
        yield
        eventually(lambda: set(fnmatch.filter(world.journal(email), pattern)), "a pushed file in the journal")
    cycle.result()
    records = storage.network.traffic.records
    eventually(
        lambda: records(pattern, outcome=SyncOutcome.DELETED, recipient=email), "the deletion of the pushed file"
    )


@pytest.mark.parametrize(
    ("email", "arrive", "suffix"),
    [
        pytest.param(OWNERS[0], ask, ".response", id="replies"),
        pytest.param(AGGREGATOR, show_life, ".request", id="requests"),
    ],
)
def test_folder_that_the_client_made_first_is_watched(
    federation: Federation,
    storage: SyncedStorage,
    email: str,
    arrive: Callable[[Federation, SyncedStorage, str], None],
    suffix: str,
) -> None:
    arrive(federation, storage, email)
    with repeatedly(storage.network.scan, CYCLE):
        exchange(federation, SMALL)
    storage.settle()

    pushed = delivered(storage, How.REALTIME, OWNERS[0])[suffix]
    for reply in exchange(federation, SMALL):
        assert_echo(reply, SMALL)

    assert delivered(storage, How.REALTIME, OWNERS[0])[suffix] > pushed
    with repeatedly(storage.network.scan, CYCLE):
        federation.stop()
