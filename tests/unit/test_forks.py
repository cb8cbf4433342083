"""A forked child gives up the locks and pipes of its parent, so that they end with the parent."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from waiting import PATIENCE, eventually

from syft_flwr.errors import StoreError
from syft_flwr.locks import ProcessLock, is_held
from syft_flwr.simulation.temporary_folder import delete_left_folders
from syft_flwr.transport.syftbox import SyftBoxTransport

_MAKE = """
import ctypes, multiprocessing, os, sys, tempfile, time
from pathlib import Path
from syft_flwr.locks import ProcessLock

how, folder = sys.argv[1], Path(sys.argv[2])

def live():
    print(os.getpid(), flush=True)
    time.sleep(600)

def fork():
    if how == "multiprocessing":
        multiprocessing.get_context("fork").Process(target=live).start()
    elif (ctypes.CDLL(None).fork if how == "a library" else os.fork)() == 0:
        live()
    time.sleep(600)

"""
_LOCK = """
lock = ProcessLock(folder / "client.lock", "a client")
fork()
"""
#: Opens all that a child must not keep. The child tells its open files of them, and closes its copies of the objects.
_ALL = """
from syft_flwr.simulation.processes import Processes
from syft_flwr.simulation.temporary_folder import TemporaryFolder
from syft_flwr.transport._gdrive.streams.saved_state import SavedState
from syft_flwr.transport.syftbox import SyftBoxTransport

tempfile.tempdir = str(folder)
(folder / "SyftBox" / ".data").mkdir(parents=True)
transport = SyftBoxTransport(folder / "SyftBox", "do@y.org")
transport.put("do@y.org/public/a.request", bytes(4096), readers=["*"])
temporary = TemporaryFolder(keep=False)
state = SavedState(folder / "gdrive", "do@y.org")
processes = Processes()
pipe = os.readlink(f"/proc/self/fd/{processes._lifeline}")

def live():
    targets = [os.readlink(f"/proc/self/fd/{fd}") for fd in map(int, os.listdir("/proc/self/fd")) if fd > 2
               and os.path.lexists(f"/proc/self/fd/{fd}")]
    kept = [each for each in targets if each.startswith(str(folder)) or each == pipe]
    transport.close()
    temporary.close()
    state.close()
    processes.close_in_child()
    print(*kept or [os.getpid()], flush=True)
    time.sleep(600)

fork()
"""

#: Three threads take and release locks of their own. Each child tells if it has one of their files.
_BUSY = """
import threading

stopping = threading.Event()

def work(number):
    while not stopping.is_set():
        ProcessLock(folder / f"{number}.lock", "a job").close()

threads = [threading.Thread(target=work, args=(number,)) for number in range(3)]
for thread in threads:
    thread.start()
lock = ProcessLock(folder / "client.lock", "a client")
kept = 0
for _ in range(200):
    if (child := os.fork()) == 0:
        opened = [os.readlink(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd")
                  if os.path.lexists(f"/proc/self/fd/{fd}")]
        os._exit(any(path.startswith(str(folder)) for path in opened))
    kept += os.waitpid(child, 0)[1] != 0
stopping.set()
for thread in threads:
    thread.join()
print("children with a lock:", kept, flush=True)
"""


@contextmanager
def forking(script: str, how: str, folder: Path) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """Run a script that forks, and yield its process and the id of the child. Kill both at the end."""
    command = [sys.executable, "-c", _MAKE + script, how, str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        child = 0
        try:
            said = process.stdout.readline().strip()
            assert said.isdigit(), said
            child = int(said)
            yield process, child
        finally:
            process.kill()
            if child:
                os.kill(child, signal.SIGKILL)


@pytest.mark.parametrize("how", ["os.fork", "multiprocessing"])
def test_child_of_a_killed_process_keeps_no_lock(tmp_path: Path, how: str) -> None:
    path = tmp_path / "client.lock"
    with forking(_LOCK, how, tmp_path) as (parent, child):
        with pytest.raises(StoreError, match=f"already running in process {parent.pid}\n"):
            ProcessLock(path, "a client")
        parent.kill()
        parent.wait(PATIENCE)

        ProcessLock(path, "a client").close()

        os.kill(child, 0)


def test_lock_that_a_child_holds_names_the_child(tmp_path: Path) -> None:
    """Python does not see a fork in a library."""
    path = tmp_path / "client.lock"
    with forking(_LOCK, "a library", tmp_path) as (parent, child):
        parent.kill()
        parent.wait(PATIENCE)

        with pytest.raises(StoreError) as caught:
            ProcessLock(path, "a client")

        assert f"a client ended in process {parent.pid}, but its child {child} still holds {path}" in str(caught.value)
        assert f"Stop process {child}" in caught.value.hint
    eventually(lambda: not is_held(path), "the end of the child")


def test_child_keeps_no_descriptor_and_deletes_no_folder(tmp_path: Path) -> None:
    staging = tmp_path / "SyftBox" / ".syft_flwr_staging"
    with forking(_ALL, "os.fork", tmp_path) as (parent, child):
        before = [path for path in (*staging.iterdir(), *tmp_path.glob("syft-flwr-run-*")) if path.is_dir()]
        assert len(before) == 2
        parent.kill()
        parent.wait(PATIENCE)

        # The next process takes the folders of the killed one for abandoned ones, although its child lives.
        SyftBoxTransport(tmp_path / "SyftBox", "do@y.org").close()
        delete_left_folders(tmp_path)

        assert not any(path.exists() for path in before)
        os.kill(child, 0)


def test_child_of_a_moment_between_two_locks_keeps_none(tmp_path: Path) -> None:
    command = [sys.executable, "-c", _MAKE + _BUSY, "", str(tmp_path)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert (result.stdout, result.stderr) == ("children with a lock: 0\n", "")
