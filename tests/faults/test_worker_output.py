"""Shows what becomes of the prints of a ClientApp: each line is marked and inert, and a flood of them is bounded."""

import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from faultkit.lone_worker import LoneWorker, lone_worker
from waiting import eventually

from syft_flwr.fl_orchestrator import worker_output
from syft_flwr.log import console
from syft_flwr.logbook import allowance
from syft_flwr.logbook.book import book
from syft_flwr.logbook.line import LogLine

#: Bytes that a process may grow during a flood of 50 MB.
_GROWTH = 30_000_000


@pytest.fixture
def lone(tmp_path: Path) -> Iterator[LoneWorker]:
    with lone_worker(tmp_path) as lone:
        yield lone


@pytest.fixture
def kept(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[LogLine]]:
    """Return the lines that the files of a command would get."""
    lines: list[LogLine] = []
    monkeypatch.setattr(book, "started", True)

    def keep(line: LogLine, app: str) -> None:
        assert app == "lone"
        lines.append(line)

    book.join(keep)
    with console(lambda _: None):
        yield lines
    book.leave(keep)


def texts(kept: list[LogLine]) -> list[tuple[str, str, str]]:
    return [(line.source, line.level, line.message) for line in kept]


def test_prints_and_lines_of_flower_are_marked(lone: LoneWorker, kept: list[LogLine], logged: list[str]) -> None:
    lone.answer(
        "statements",
        "from flwr.common.logger import log; from loguru import logger\n"
        "print('printed'); log(30, 'by Flower'); os.write(2, b'half '); logger.debug('hidden')\n"
        "logger.error('by loguru'); print('\\x1b[31mred\\x1b[0m\\x1b]0;t\\x07\\x9b')",
    )
    assert texts(kept) == [
        ("app", "INFO", "printed"),
        ("flower", "WARNING", "by Flower"),
        ("app", "INFO", "half "),
        ("app", "ERROR", "by loguru"),
        ("app", "INFO", r"red\x9b"),
    ]
    assert lone.error("raise", "memory").startswith("app-raised: ")
    assert logged[-1].startswith(f"ERROR message {2:032x} of run 7 (lone) failed (reference ")


@pytest.mark.parametrize("removed", ["0", ""])
def test_app_may_remove_the_default_sink_of_loguru(lone: LoneWorker, kept: list[LogLine], removed: str) -> None:
    lone.answer(
        "statements", f"import loguru; loguru.logger.remove({removed}); loguru.logger.error('no')\nprint('yes')"
    )
    assert texts(kept) == [("app", "INFO", "yes")]


def test_print_cannot_forge_a_marked_line(lone: LoneWorker, kept: list[LogLine], logged: list[str]) -> None:
    forged = r'\x1e0123456789abcdef ["ERROR","ours","forged"]'
    lone.answer("statements", f"print('''{forged}''')")
    assert [line.source for line in kept] == ["app"]
    assert not any("forged" in entry for entry in logged)


@pytest.mark.parametrize("line", ["b'x' * 50_000_000", "(b'x' * 49 + b'\\n') * 100_000"])
def test_flood_of_prints_is_bounded(lone: LoneWorker, kept: list[LogLine], logged: list[str], line: str) -> None:
    before = lone.answer()["process"]
    grown = psutil.Process().memory_info().rss
    lone.answer(
        "statements", f"data = memoryview({line})\nwhile data: data = data[os.write(1, data):]\nos.write(1, b'\\n')"
    )
    assert psutil.Process().memory_info().rss - grown < _GROWTH
    assert lone.answer()["process"] == before
    assert 0 < sum(len(line.message) for line in kept) < 1_000_000
    lone.worker.close()
    assert all(len(line.message) < 10_000 for line in kept)
    assert len(kept) == 1 or any("lines are left out" in entry for entry in logged)


def test_console_that_blocks_does_not_block_the_app(lone: LoneWorker, monkeypatch: pytest.MonkeyPatch) -> None:
    released = threading.Event()
    with console(lambda _: released.wait(60)):
        lone.answer("statements", "print('x' * 1_000, flush=True)\nfor n in range(10_000): print(n)")
        assert not released.is_set()
        released.set()
        lone.worker.close()


@pytest.mark.parametrize("line", [b"x\n", b"0123456789\n", b'\x1e{} ["INFO","ours",""]\n'])
def test_lines_that_wait_are_bounded_however_short(line: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(allowance, "_BURST", 1e9)
    output = worker_output.WorkerOutput("lone", "{}")
    released = threading.Event()
    child = subprocess.Popen(
        [sys.executable, "-c", f"import os\nfor _ in range(100): os.write(1, {line!r} * 1_000)"],
        stdout=output.descriptor,
    )
    output.start()
    with console(lambda _: released.wait(60)):
        assert child.wait(60) == 0
        eventually(lambda: output._ended, "the end of the pipe")
        assert 5_000 < len(output._waiting) < 20_000
        released.set()
        output.close()


def test_child_that_keeps_the_pipe_does_not_delay_the_end(tmp_path: Path, kept: list[LogLine]) -> None:
    with lone_worker(tmp_path) as lone:
        # Without the mark in its environment, it is not found as a member of the family.
        lone.answer(
            "statements",
            "print(subprocess.Popen(['sleep', '60'], env={}, start_new_session=True).pid)\nos.write(1, b'no line break')",
        )
    child = psutil.Process(int(kept[0].message))
    try:
        assert child.is_running()
        assert kept[-1].message == "no line break"
        assert not [thread for thread in threading.enumerate() if thread.name.startswith("worker-output")]
    finally:
        child.kill()
        eventually(lambda: not child.is_running() or child.status() == psutil.STATUS_ZOMBIE, "the end of the child")


def test_progress_bar_is_one_line(lone: LoneWorker, kept: list[LogLine]) -> None:
    lone.answer("statements", "for n in range(101): print(f'\\r{n} %', end='', flush=True)\nprint()")
    assert [line.message for line in kept] == ["100 %"]


def test_app_that_takes_the_log_away_gets_its_reply(lone: LoneWorker, tmp_path: Path) -> None:
    path = tmp_path / "own file"
    lone.answer(
        "statements",
        "from flwr.common.logger import log\n"
        f"own = os.open({str(path)!r}, os.O_WRONLY | os.O_CREAT)\n"
        "import fcntl; numbers = [n for n in range(200, 300) if os.path.exists(f'/proc/self/fd/{n}')]\n"
        "number = next(n for n in numbers if os.path.samestat(os.fstat(n), os.fstat(2)))\n"
        "os.dup2(own, number); log(30, 'by Flower')",
    )
    assert path.read_bytes() == b""


def test_forked_child_of_an_app_can_log(lone: LoneWorker, kept: list[LogLine]) -> None:
    lone.answer(
        "statements",
        "from flwr.common.logger import log\n"
        "stop = threading.Event()\n"
        "def busy():\n"
        "    while not stop.is_set(): log(20, 'parent')\n"
        "thread = threading.Thread(target=busy); thread.start()\n"
        "for _ in range(20):\n"
        "    child = os.fork()\n"
        "    if not child: log(20, 'child'); os._exit(0)\n"
        "    os.waitpid(child, 0)\n"
        "stop.set(); thread.join()",
    )
    assert any(line.message == "child" for line in kept)
