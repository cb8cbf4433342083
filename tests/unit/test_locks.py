"""The lock that one process holds, and that ends with its process."""

import os
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from child_script import running

from syft_flwr.errors import StoreError
from syft_flwr.locks import ProcessLock

PATIENCE = 30.0

_HOLDER = """
import sys
from pathlib import Path
from syft_flwr.locks import ProcessLock

with ProcessLock(Path(sys.argv[1]), "a watcher"):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_lock_names_the_process_that_holds_it(tmp_path: Path) -> None:
    path = tmp_path / "app" / "client.lock"
    with running(_HOLDER, path, b"held") as holder:
        with pytest.raises(StoreError, match=f"a watcher is already running in process {holder.pid}$") as caught:
            ProcessLock(path, "a watcher")
        assert str(holder.pid) in caught.value.hint


def test_a_lock_goes_with_its_holder_however_it_ends(tmp_path: Path) -> None:
    path = tmp_path / "client.lock"
    with running(_HOLDER, path, b"held") as holder:
        holder.kill()
        holder.wait(PATIENCE)

        with ProcessLock(path, "a watcher"), pytest.raises(StoreError, match=f"process {os.getpid()}$"):
            ProcessLock(path, "a watcher")


def test_a_lock_is_free_again_after_it_was_closed(tmp_path: Path) -> None:
    path = tmp_path / "client.lock"
    for _ in range(3):
        lock = ProcessLock(path, "a watcher")
        lock.close()
        lock.close()

    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_who_waits_gets_the_lock_when_the_other_is_done(tmp_path: Path) -> None:
    path = tmp_path / "client.lock"
    with ThreadPoolExecutor(1) as threads:
        with ProcessLock(path, "a watcher"):
            waiting = threads.submit(ProcessLock, path, "a watcher", wait=True)
            assert not waiting.done()
        waiting.result(PATIENCE).close()


def test_a_lock_that_is_refused_leaves_nothing_open(tmp_path: Path) -> None:
    path = tmp_path / "client.lock"
    with ProcessLock(path, "a watcher"):
        before = len(os.listdir("/proc/self/fd"))
        for _ in range(5):
            with pytest.raises(StoreError):
                ProcessLock(path, "a watcher")
        assert len(os.listdir("/proc/self/fd")) == before


def test_a_place_where_no_lock_can_be_is_a_store_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(StoreError, match=r"client\.lock") as caught:
        ProcessLock(tmp_path / "file" / "client.lock", "a watcher")
    assert "SYFT_FLWR_HOME" in caught.value.hint
