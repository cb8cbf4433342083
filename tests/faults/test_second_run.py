"""A second run over the same synced folders is as fast as the first: its messages travel by push, not by a scan.

The sync clients run through both runs. After the first run, their cycles remove the folders that its end has emptied,
and they never watch such a folder again.
"""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from faithful_settings import CYCLE
from faultkit.federation import AGGREGATOR, OWNERS, Federation
from faultkit.parts import assert_echo, exchange, make_app, model
from faultkit.synced import SyncedStorage
from waiting import repeatedly

from syft_flwr.emulators.syftbox import How, SyncOutcome

SMALL = model(1_000)


@pytest.fixture
def storage(tmp_path: Path) -> Iterator[SyncedStorage]:
    with SyncedStorage(tmp_path / "machines", [AGGREGATOR, *OWNERS]) as storage:
        storage.network.faithful.set_automatic(False)
        yield storage


@pytest.fixture
def federation(tmp_path: Path, storage: SyncedStorage) -> Iterator[Federation]:
    with Federation(tmp_path / "homes", storage, client_app=make_app()) as federation:
        federation.introduce()
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


def delivered(storage: SyncedStorage, how: How) -> dict[str, int]:
    """Return the number of delivered messages of this kind, by suffix."""
    records = storage.network.traffic.records("*/messages/*", outcome=SyncOutcome.DELIVERED)
    names = [record.name for record in records if record.how is how]
    return {suffix: sum(name.endswith(suffix) for name in names) for suffix in (".request", ".response")}


def test_messages_of_a_second_run_are_pushed(federation: Federation, storage: SyncedStorage) -> None:
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
