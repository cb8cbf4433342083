"""The lock of a process: one process holds it, and it is released when that process ends."""

import os
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from child_script import running

from syft_flwr.errors import StoreError
from syft_flwr.locks import ProcessLock, is_held

PATIENCE = 30.0

_HOLDER = """
import sys
from pathlib import Path
from syft_flwr.locks import ProcessLock

with ProcessLock(Path(sys.argv[1]), "a client"):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_lock_error_names_the_holding_process(tmp_path: Path) -> None:
    path = tmp_path / "app" / "client.lock"
    with running(_HOLDER, path, b"held") as holder:
        with pytest.raises(StoreError, match=f"a client is already running in process {holder.pid}\\n") as caught:
            ProcessLock(path, "a client")
        assert str(holder.pid) in caught.value.hint


def test_lock_of_a_killed_process_is_released(tmp_path: Path) -> None:
    path = tmp_path / "client.lock"
    with running(_HOLDER, path, b"held") as holder:
        holder.kill()
        holder.wait(PATIENCE)

        with ProcessLock(path, "a client"), pytest.raises(StoreError, match=f"process {os.getpid()}\\n"):
            ProcessLock(path, "a client")


def test_lock_behind_a_link_truncates_no_file(tmp_path: Path) -> None:
    target = tmp_path / "notes"
    target.write_text("mine")
    (tmp_path / "client.lock").symlink_to(target)

    with pytest.raises(StoreError, match=r"client\.lock cannot be used"):
        ProcessLock(tmp_path / "client.lock", "a client")

    assert target.read_text() == "mine"


def test_closed_lock_can_be_taken_again(tmp_path: Path) -> None:
    path = tmp_path / "client.lock"
    for _ in range(3):
        lock = ProcessLock(path, "a client")
        lock.close()
        lock.close()

    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_waiting_thread_gets_the_released_lock(tmp_path: Path) -> None:
    path = tmp_path / "client.lock"
    with ThreadPoolExecutor(1) as threads:
        with ProcessLock(path, "a client"):
            waiting = threads.submit(ProcessLock, path, "a client", wait=True)
            assert not waiting.done()
        waiting.result(PATIENCE).close()


def test_refused_lock_leaves_no_open_file(tmp_path: Path) -> None:
    path = tmp_path / "client.lock"
    with ProcessLock(path, "a client"):
        before = len(os.listdir("/proc/self/fd"))
        for _ in range(5):
            with pytest.raises(StoreError):
                ProcessLock(path, "a client")
        assert len(os.listdir("/proc/self/fd")) == before


def test_invalid_lock_path_is_a_store_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(StoreError, match=r"client\.lock") as caught:
        ProcessLock(tmp_path / "file" / "client.lock", "a client")
    assert "SYFT_FLWR_HOME" in caught.value.hint


def test_look_at_a_lock_does_not_take_it(tmp_path: Path) -> None:
    path = tmp_path / "client.lock"
    assert not is_held(path)
    assert not path.exists()
    with running(_HOLDER, path, b"held") as holder:
        assert is_held(path)
        holder.kill()
        holder.wait(PATIENCE)
    assert not is_held(path)
    with ProcessLock(path, "a client"):
        assert is_held(path)


def test_link_in_the_place_of_a_lock_is_not_held(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "client.lock")
    with ProcessLock(tmp_path / "client.lock", "a client"):
        assert not is_held(tmp_path / "link")
