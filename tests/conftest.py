"""Fixtures for every test: an environment without the settings of this machine, and a check for leftover processes."""

import ast
import contextlib
import os
import secrets
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from hypothesis import settings
from loguru import logger

from syft_flwr.logbook.book import Logbook, book

# No deadline, because a busy machine must not fail a test. No database, because tests leave no files.
settings.register_profile("syft-flwr", deadline=None, database=None, max_examples=50, print_blob=True)
settings.load_profile("syft-flwr")

# Kits that several test folders use are stored in ``kits``.
sys.path.insert(0, str(Path(__file__).parent / "kits"))
# Pytest must know these modules before a test imports them.
pytest.register_assert_rewrite(
    "child_program", "child_script", "drivekit", "flower_bundle", "leftovers", "waiting", "syft_flwr.testing"
)


def _reset_signals() -> None:
    """Reset the signal handling of this process to that of a program started in a terminal.

    A script that runs the tests with ``&`` or ``nohup`` ignores some signals. Every child of a test would inherit this.
    """
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
        # The tests themselves still survive the end of their terminal, and a child does not inherit a handler.
        signal.signal(signal.SIGHUP, lambda *_: None)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGINT, signal.SIGTERM, signal.SIGHUP))


_reset_signals()


def _parse_in_turns() -> None:
    """Let one thread at a time use Python's parser, because Python 3.11 counts the depth of the trees of all threads together.

    NumPy parses the header of each array that it loads. With several apps in threads of this process, it raised a
    ``SystemError`` about a recursion depth. A participant of a user has its app in a process of its own.
    """
    turn, parse = threading.RLock(), ast.parse

    def parse_alone(*arguments: Any, **options: Any) -> Any:
        with turn:
            return parse(*arguments, **options)

    ast.parse = parse_alone
    # A fork must not copy the turn of another thread.
    os.register_at_fork(before=turn.acquire, after_in_parent=turn.release, after_in_child=turn.release)


_parse_in_turns()

_SCRUBBED = ("SYFT", "GDRIVE_", "FLWR_")
_MARK = "STARTED_BY_TEST"
_PATIENCE = 5.0


class _Starts:
    """Notes whether this process started another one: a search for processes costs more than most tests."""

    def __init__(self) -> None:
        self.noted = True
        self._children: set[psutil.Process] = set()
        sys.addaudithook(self._note)

    def _note(self, event: str, _: object) -> None:
        if event in _STARTING:
            self.noted = True

    def children(self) -> set[psutil.Process]:
        """Return the processes that this one has started, directly or not."""
        if self.any():
            self._children = set(psutil.Process().children(recursive=True))
            self.noted = bool(self._children)
        return self._children

    def any(self) -> bool:
        """Return whether a process may have been started. ``multiprocessing`` starts one without an event."""
        tasks = Path("/proc/self/task")
        return self.noted or not tasks.is_dir() or any(_own_children(task) for task in tasks.iterdir())


def _own_children(task: Path) -> str:
    try:
        return (task / "children").read_text()
    except OSError:
        # The thread has ended.
        return ""


#: The audit events of Python for the start of a process.
_STARTING = frozenset(("subprocess.Popen", "os.fork", "os.forkpty", "os.posix_spawn"))
_starts = _Starts()


def _marked(mark: str) -> set[psutil.Process]:
    """Return the processes that inherited ``mark``, also if their parent has ended."""
    found = set()
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if f"{_MARK}={mark}".encode() in (folder / "environ").read_bytes():
                found.add(psutil.Process(int(folder.name)))
        except (OSError, psutil.Error):
            continue
    return found


def _running(mark: str) -> set[psutil.Process]:
    own = psutil.Process()
    return {*own.children(recursive=True), *_marked(mark)} - {own}


def _started_by(processes: set[psutil.Process]) -> set[psutil.Process]:
    """Return the processes that these ones have started, such as a new tab of a browser that several tests use."""
    found: set[psutil.Process] = set()
    for process in processes:
        with contextlib.suppress(psutil.Error):
            found.update(process.children(recursive=True))
    return found


def _describe(process: psutil.Process) -> str:
    try:
        return f"{process.pid} {' '.join(process.cmdline())}"
    except psutil.Error:
        return str(process.pid)


def _is_ours(thread: threading.Thread) -> bool:
    """Return whether a thread must end with its test: each non-daemon thread, and each of our own code or watchdog."""
    target = getattr(thread, "_target", None)
    modules = (type(thread).__module__, getattr(target, "__module__", None) or "")
    return not thread.daemon or any(module.startswith(("syft_flwr", "watchdog")) for module in modules)


@pytest.fixture(autouse=True)
def nothing_left_running(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Fail a test that leaves a running process, or a thread of our code."""
    mark = secrets.token_hex(8)
    monkeypatch.setenv(_MARK, mark)
    threads_before = set(threading.enumerate())
    processes_before = _starts.children()
    yield
    deadline = time.monotonic() + _PATIENCE
    left = [thread for thread in threading.enumerate() if thread not in threads_before and _is_ours(thread)]
    for thread in left:
        thread.join(max(0.0, deadline - time.monotonic()))
    left_running = _running(mark) - processes_before if _starts.any() else set()
    left_running -= _started_by(processes_before)
    _, alive = psutil.wait_procs(left_running, timeout=_PATIENCE)
    described = [_describe(process) for process in alive]
    for process in alive:
        process.kill()
    psutil.wait_procs(alive, timeout=_PATIENCE)
    hanging = [thread.name for thread in left if thread.is_alive()]
    assert not described, f"processes left running: {described}"
    assert not hanging, f"threads left running: {hanging}"


@pytest.fixture(autouse=True)
def clean_machine(
    nothing_left_running: None, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Remove the settings of the person who runs the tests, and set an empty home folder."""
    for name in list(os.environ):
        if name.startswith(_SCRUBBED) or name in {"DATA_DIR", "OUTPUT_DIR"}:
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path_factory.mktemp("home")))
    monkeypatch.setenv("FLWR_TELEMETRY_ENABLED", "0")


@pytest.fixture(autouse=True)
def no_log_of_a_command() -> Iterator[None]:
    """End the log that a command began in this process: the next test has none."""
    yield
    for name in ("started", "level", "as_json", "keeps_runs", "is_file", "runs", "_destinations"):
        setattr(book, name, getattr(Logbook(), name))


@pytest.fixture
def logged() -> Iterator[list[str]]:
    """Return the list of lines that are logged during a test, as ``LEVEL message``."""
    lines: list[str] = []
    sink = logger.add(lambda message: lines.append(str(message).rstrip("\n")), format="{level} {message}", level=0)
    yield lines
    logger.remove(sink)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Return a folder on its own file system of 256 KiB. Skip the test for users who may not mount one."""
    folder = tmp_path / "small-disk"
    folder.mkdir()
    mount, umount = shutil.which("mount"), shutil.which("umount")
    if not mount or not umount:
        pytest.skip("this machine has no mount")
    command = [mount, "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(folder)]
    if subprocess.run(command, check=False, capture_output=True).returncode:
        pytest.skip("this user may not mount a file system")
    yield folder
    # Lazily, because a failed test may still have an open file there.
    subprocess.run([umount, "-l", str(folder)], check=True)
