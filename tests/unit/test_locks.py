"""The lock of a process: one process holds it, and it is released when that process ends."""

import fcntl
import os
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from child_script import running

from syft_flwr import lock_table
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


@pytest.fixture
def no_flock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let each further try of a lock in this process be an error."""

    def refuse(*_: object) -> None:
        raise AssertionError("a look at a lock took it")

    monkeypatch.setattr("syft_flwr.locks.fcntl.flock", refuse)


def test_look_at_a_free_lock_tries_no_lock(tmp_path: Path, no_flock: None) -> None:
    for name, content in (("empty", ""), ("ended", f"1\n{lock_table.process_namespace()}")):
        (tmp_path / name).write_text(content)
        assert not is_held(tmp_path / name)


def test_look_at_a_held_lock_tries_no_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "client.lock"
    with ProcessLock(path, "a client"):
        monkeypatch.setattr(fcntl, "flock", None)
        assert is_held(path)
        if (child := os.fork()) == 0:
            os._exit(not is_held(path))
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0, "the child sees the lock of its parent"
    assert not is_held(path)


def test_lock_that_others_may_share_is_not_held(tmp_path: Path) -> None:
    path = tmp_path / "client.lock"
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_SH)
        assert not is_held(path)


def test_missing_table_of_locks_is_replaced_by_a_try(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "client.lock"
    monkeypatch.setattr(lock_table, "TABLE", tmp_path / "locks")
    with ProcessLock(path, "a client"):
        assert is_held(path)
    assert not is_held(path)


def test_lock_of_another_container_is_found_by_a_try(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The table does not show it, and the names of its processes differ."""
    path = tmp_path / "client.lock"
    (tmp_path / "locks").write_text("")
    monkeypatch.setattr(lock_table, "TABLE", tmp_path / "locks")
    with ProcessLock(path, "a client"):
        assert not is_held(path)
        path.write_text("77\nother/pid:[4026532000]")
        assert is_held(path)
        path.write_text("77")
        assert is_held(path), "the file of an older release"


def test_lock_is_found_by_its_process_if_the_device_differs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "client.lock"
    monkeypatch.setattr(lock_table, "TABLE", tmp_path / "locks")
    with ProcessLock(path, "a client"):
        number, me = path.stat().st_ino, os.getpid()
        found = {}
        for line in (
            f"1: FLOCK  ADVISORY  WRITE {me} 00:fff1:{number} 0 EOF",
            f"1: FLOCK  ADVISORY  WRITE {me + 1} 00:fff1:{number} 0 EOF",
            f"1: FLOCK  ADVISORY  WRITE {me} 00:fff1:{number + 1} 0 EOF",
            f"1: -> FLOCK  ADVISORY  WRITE {me} 00:fff1:{number} 0 EOF",
            "1: FLOCK  ADVISORY  WRITE 0 none 0 EOF",
        ):
            (tmp_path / "locks").write_text(line)
            found[line] = is_held(path)
    assert list(found.values()) == [True, False, False, False, False]
