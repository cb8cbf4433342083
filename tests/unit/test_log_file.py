"""A local run replaces the logs of earlier runs in a folder of the user, and no other file."""

import os
import signal
import sys
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from syft_flwr.errors import ConfigError
from syft_flwr.simulation.log_file import MARK, open_log, require_own, rewrite


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "do@x.org.log"


def _make(log: Path, kind: str) -> None:
    target = log.with_name("target")
    target.write_bytes(MARK)
    match kind:
        case "file":
            log.write_bytes(b"my notes\n")
        case "mark in the second line":
            log.write_bytes(b"\n" + MARK)
        case "a part of the mark":
            log.write_bytes(MARK[:-1])
        case "empty file":
            log.touch()
        case "folder":
            log.mkdir()
        case "link":
            log.symlink_to(target)
        case "lost link":
            log.symlink_to(log.with_name("nothing"))
        case "pipe":
            os.mkfifo(log)


def _status(path: Path) -> tuple[int, int, int, int]:
    status = path.lstat()
    return status.st_mode, status.st_ino, status.st_size, status.st_mtime_ns


@pytest.mark.parametrize(
    "kind",
    ["file", "mark in the second line", "a part of the mark", "empty file", "folder", "link", "lost link", "pipe"],
)
def test_foreign_file_in_the_place_of_a_log_is_kept(log: Path, kind: str) -> None:
    _make(log, kind)
    before = _status(log)
    content = log.read_bytes() if log.is_file() else b""
    for check in (require_own, open_log):
        with pytest.raises(ConfigError, match="is no log of an earlier run") as caught:
            check(log)
        assert str(log) in str(caught.value)
        assert "move this file away" in caught.value.hint
    rewrite(log, bytes.upper)
    assert _status(log) == before
    assert (log.read_bytes() if log.is_file() else b"") == content
    assert {path.name for path in log.parent.iterdir()} == {log.name, "target"}


def test_log_of_an_earlier_run_is_replaced(log: Path) -> None:
    with open_log(log) as first:
        first.write(b"first\n")
        with open_log(log) as second:
            # A process of the earlier run may still write.
            first.write(b"late\n")
            second.write(b"second\n")
    assert log.read_bytes() == MARK + b"second\n"


def _write_until_killed(log: Path, lines: int) -> bool:
    """Write a log in a child that is killed after so many lines of code; return whether it was killed."""
    child = os.fork()
    if not child:
        left = lines

        def step(frame: FrameType, event: str, _: Any) -> Any:
            nonlocal left
            if not frame.f_code.co_filename.endswith(("log_file.py", "files.py")):
                return None
            if event == "line":
                left -= 1
                if left < 0:
                    os.kill(os.getpid(), signal.SIGKILL)
            return step

        sys.settrace(step)
        try:
            open_log(log).write(b"text\n")
        finally:
            os._exit(0)
    return os.WIFSIGNALED(os.waitpid(child, 0)[1])


def test_log_of_a_run_killed_at_any_step_is_replaced(log: Path) -> None:
    lines = 0
    while _write_until_killed(log, lines):
        with open_log(log) as file:
            file.write(b"next\n")
        assert log.read_bytes() == MARK + b"next\n"
        lines += 1
    assert lines > 10
    assert log.read_bytes() == MARK + b"text\n"


def test_log_is_rewritten_line_by_line(log: Path) -> None:
    with open_log(log) as file:
        file.write(b"a\nb\n")
    rewrite(log, bytes.upper)
    assert log.read_bytes() == MARK + b"A\nB\n"
    assert [path.name for path in log.parent.iterdir()] == [log.name]
