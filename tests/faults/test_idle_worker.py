"""A data owner without requests gives its worker back, and serves the next request with the same state."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from faultkit.clock import StillClock
from faultkit.federation import OWNERS, Federation
from faultkit.storage import FolderStorage
from waiting import eventually

OWNER = OWNERS[0]


@contextlib.contextmanager
def federation_with(root: Path, storage: FolderStorage, idle_after: str | float) -> Iterator[Federation]:
    options = {OWNER: {"idle_after": idle_after}}
    with Federation(root / "homes", storage, [OWNER], clock=StillClock(), options=options) as federation:
        federation.start()
        yield federation


def wait_until_idle(federation: Federation) -> None:
    """Wait until the client waits for its next request."""
    thread = federation[OWNER].thread
    assert thread is not None
    eventually(lambda: thread.ident in federation.clock.asleep, "the wait for a request")


def is_running(process: object) -> bool:
    return psutil.pid_exists(int(str(process)))


def test_idle_worker_is_given_back_and_its_state_is_kept(tmp_path: Path, folder_with_workers: FolderStorage) -> None:
    with federation_with(tmp_path, folder_with_workers, 60) as federation:
        (first,) = federation.assert_served()
        wait_until_idle(federation)
        federation.clock.advance(59)
        # The aggregator is there and sends heartbeats, but no request.
        federation[OWNER].spy.wait_for_scans(2)
        assert is_running(first["process"])
        federation.clock.advance(1)
        eventually(lambda: not is_running(first["process"]), "the end of the worker")
        assert federation.grid.ping(5.0)[OWNER]
        (second,) = federation.assert_served()
        assert (first["messages"], second["messages"]) == (1, 2)
        assert second["process"] != first["process"]
        # The new worker is given back, too.
        wait_until_idle(federation)
        federation.clock.advance(60)
        eventually(lambda: not is_running(second["process"]), "the end of the second worker")


def test_worker_that_got_no_request_is_given_back(tmp_path: Path, folder_with_workers: FolderStorage) -> None:
    with federation_with(tmp_path, folder_with_workers, 60) as federation:
        worker = eventually(
            lambda: [child for child in psutil.Process().children() if "syft_flwr" in " ".join(child.cmdline())],
            "the worker",
        )
        wait_until_idle(federation)
        federation.clock.advance(60)
        eventually(lambda: not any(map(psutil.Process.is_running, worker)), "the end of the worker")
        federation.assert_served()


@pytest.mark.parametrize("idle_after", ["none", 1e9])
def test_worker_can_be_kept_without_end(
    tmp_path: Path, folder_with_workers: FolderStorage, idle_after: str | float
) -> None:
    with federation_with(tmp_path, folder_with_workers, idle_after) as federation:
        (first,) = federation.assert_served()
        wait_until_idle(federation)
        federation.clock.advance(10_000_000)
        federation[OWNER].spy.wait_for_scans(2)
        assert is_running(first["process"])
        (second,) = federation.assert_served()
        assert second["process"] == first["process"]
