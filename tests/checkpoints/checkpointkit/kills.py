"""Save checkpoints in processes that are killed: ``kills.py FOLDER``.

The program prints a report of every kill as JSON.
"""

import json
import os
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from syft_flwr.fl_orchestrator import Checkpoints

EVENTS = ("open", "os.link", "os.mkdir", "os.remove", "os.rename", "os.rmdir")


def save(folder: Path, first: int, last: int, size: int) -> None:
    checkpoints = Checkpoints(folder, metric="score")
    for number in range(first, last + 1):
        checkpoints.save(number, {"a": np.full(size, number, np.float32), "b": np.array(number)}, {"score": number})


def fork(work: Callable[[], None]) -> int:
    child = os.fork()
    if child:
        return child
    try:
        work()
    except BaseException as error:  # noqa: BLE001 - a fork must not return
        sys.stderr.write(f"{error}\n")
        os._exit(1)
    os._exit(0)


def die_at(event_number: int) -> None:
    seen = 0

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal seen
        if event in EVENTS:
            seen += 1
            if seen == event_number:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)


def identify(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    return status.st_ino, status.st_mtime_ns


def is_writing(folder: Path) -> bool:
    try:
        return bool(os.listdir(folder / ".syft_flwr_saving"))
    except FileNotFoundError:
        return False


def die_while(child: int, folder: Path, saves: int, looks: int) -> None:
    """Kill ``child`` after ``saves`` complete saves, at the ``looks``-th look that finds the next save in progress."""
    deadline = time.monotonic() + 20
    before = identify(folder / "last.safetensors")
    while (saves or looks) and time.monotonic() < deadline:
        now = identify(folder / "last.safetensors")
        if saves:
            saves -= now != before
            before = now
        else:
            looks -= is_writing(folder)
    os.kill(child, signal.SIGKILL)


def look(folder: Path) -> list[int | None]:
    """Return the rounds of the last and the best checkpoint, and check every array in them."""
    checkpoints = Checkpoints(folder, metric="score")
    found = []
    for one in (checkpoints.last(), checkpoints.best()):
        assert one is None or all((array == one.server_round).all() for array in one.arrays.values())
        found.append(one and one.server_round)
    return found


def save_two_and_die(folder: Path, event_number: int) -> None:
    import safetensors.numpy  # noqa: F401 - before the events are counted

    die_at(event_number)
    save(folder, 3, 4, 1000)


def between_calls(root: Path) -> Iterator[tuple[Any, ...]]:
    """Kill at each file system call in turn: two rounds are saved before, and two more during the kill."""
    save(root / "before", 1, 2, 1000)
    for event_number in range(1, 1000):
        folder = root / str(event_number)
        shutil.copytree(root / "before", folder)
        code = os.waitstatus_to_exitcode(os.waitpid(fork(partial(save_two_and_die, folder, event_number)), 0)[1])
        found = look(folder)
        save(folder, found[0] + 1, found[0] + 1, 1000)
        yield code, found, look(folder), sorted(os.listdir(folder))
        if code != -signal.SIGKILL:
            return


def while_writing(root: Path) -> Iterator[tuple[Any, ...]]:
    """Kill during the write of a larger file, many times in the same folder."""
    folder = root / "writing"
    done = 0
    for turn in range(15):
        child = fork(partial(save, folder, done + 1, done + 10_000, 1_000_000))
        die_while(child, folder, turn % 2, 1 + turn % 5)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        found = look(folder)
        left = sum(len(files) for _, _, files in os.walk(folder))
        yield code, done, found, left, (folder / ".syft_flwr_saving").exists()
        done = found[0] or 0


def main(root: Path) -> None:
    found = {"calls": list(between_calls(root)), "writing": list(while_writing(root))}
    sys.stdout.write(json.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
