"""A print in the middle of another one: of a signal handler or a finalizer of the app, and of a forked child."""

import io
import os
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import FrameType, SimpleNamespace

import pytest

from syft_flwr.live.line_stream import LineStream
from syft_flwr.logbook.book import Logbook, book
from syft_flwr.logbook.own_prints import copying_prints
from syft_flwr.logbook.run_files import RunFiles, run_log_path


@pytest.fixture
def run_log(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Return the log of run 7 of this process, which the prints inside :func:`copying_prints` reach."""
    for name in ("started", "as_json", "keeps_runs", "level", "runs", "_destinations"):
        monkeypatch.setattr(book, name, getattr(Logbook(), name))
    monkeypatch.setattr(sys, "stdout", io.StringIO())
    book.start("INFO", keeps_runs=True)
    RunFiles(tmp_path, "aggregator", "app").started(7)
    return run_log_path(tmp_path, 7, "aggregator")


def _print_in_each_call(write: Callable[[], object]) -> bool:
    """Print in the middle of each call that ``write`` makes, as a signal handler does; return whether it ended."""
    printing = False

    def interrupt(_frame: FrameType, event: str, _argument: object) -> None:
        nonlocal printing
        if event in ("call", "c_call") and not printing:
            printing = True
            sys.stdout.write("inside\n")
            printing = False

    def run() -> None:
        sys.setprofile(interrupt)
        write()
        sys.setprofile(None)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(20)
    return not thread.is_alive()


def test_print_inside_a_print_does_not_block_the_log(run_log: Path) -> None:
    with copying_prints():
        assert _print_in_each_call(lambda: sys.stdout.write("outside\n"))

    # As on a terminal, they may share a line.
    assert all(text in run_log.read_text() for text in ("inside", "outside"))


def test_print_inside_a_print_does_not_block_the_display() -> None:
    shown: list[str] = []
    with LineStream(sys, "stdout", lambda line: not shown.append(line)):
        assert _print_in_each_call(lambda: sys.stdout.write("outside\n"))

    assert all(text in "".join(shown) for text in ("inside", "outside"))


def test_forked_child_prints_while_another_thread_logs(run_log: Path) -> None:
    held, done = threading.Event(), threading.Event()

    def hold() -> None:
        # Flower's threads log while the app forks.
        with book._destinations[0].__self__._lock:  # type: ignore[attr-defined]
            held.set()
            done.wait(20)

    holder = threading.Thread(target=hold)
    with copying_prints():
        holder.start()
        assert held.wait(5)
        child = os.fork()
        if not child:
            threading.Timer(10, os._exit, (1,)).start()
            sys.stdout.write("of the child\n")
            os._exit(0)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        done.set()
        holder.join()

    assert status == 0
    assert "of the child" in run_log.read_text()


@pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")
def test_forked_child_prints_while_the_display_writes() -> None:
    seen, there = os.pipe()
    written, done = threading.Event(), threading.Event()

    class Busy(io.RawIOBase):
        """A terminal that takes the text of the display slowly. Its buffer is locked meanwhile."""

        def writable(self) -> bool:
            return True

        def fileno(self) -> int:
            return there

        def write(self, data: object) -> int:
            written.set()
            done.wait(30)
            return len(bytes(data))  # type: ignore[call-overload,no-any-return]

    terminal = io.TextIOWrapper(io.BufferedWriter(Busy()), encoding="utf-8")
    terminal.write("table")
    display = threading.Thread(target=terminal.flush)
    place = SimpleNamespace(stdout=terminal)
    with LineStream(place, "stdout", lambda _: True) as stream:
        display.start()
        assert written.wait(5)
        child = os.fork()
        if not child:
            threading.Timer(20, os._exit, (1,)).start()
            stream.write("of the child\n")
            stream.flush()
            os._exit(0)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        done.set()
        display.join()

    assert status == 0
    assert os.read(seen, 100) == b"of the child\n"
    os.close(seen)
    terminal.detach().detach()
    os.close(there)
