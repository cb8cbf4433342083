"""The processes of one measurement: started, watched until they end, and none left behind.

Memory is the kernel's own high-water mark (``VmHWM``) of each process, read four times a second. A participant's
memory is that of its processes which live at the same time, added up: what they share is counted in each of them, and
their peaks need not coincide, so it is an upper bound.
"""

import contextlib
import ctypes
import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

_PR_SET_CHILD_SUBREAPER = 36
_INTERVAL = 0.25
_GRACE = 5.0
_LOG_TAIL = 3000


class MeasurementError(Exception):
    """A measurement came to no result."""


@dataclass(slots=True)
class Usage:
    """What one participant's processes used."""

    #: Bytes: the most at one time, added up over its processes.
    memory: int = 0
    #: Bytes of the largest process of each kind.
    largest: dict[str, int] = field(default_factory=dict)
    #: Bytes that each process, by its id, caused to be written to storage.
    written: dict[int, int] = field(default_factory=dict)


@dataclass(slots=True)
class _Participant:
    role: str
    process: "subprocess.Popen[bytes]"
    log: Path
    usage: Usage


class Processes:
    """Starts the processes of one measurement and ends them all, with all that they started.

    Args:
        folder: where their logs go.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._participants: list[_Participant] = []
        self._stopped = threading.Event()
        self._sampler = threading.Thread(target=self._sample_until_stopped, daemon=True)
        # What outlives its parent becomes our child, so that it can be found and ended.
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)

    def __enter__(self) -> Self:
        self._sampler.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stopped.set()
        self._sampler.join()
        for participant in reversed(self._participants):
            participant.process.terminate()
        deadline = time.monotonic() + _GRACE
        for participant in self._participants:
            try:
                participant.process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                participant.process.kill()
                participant.process.wait()
        _end_orphans()

    def start(self, role: str, command: Sequence[str], environment: dict[str, str]) -> "subprocess.Popen[bytes]":
        """Start a process in a role (``server`` or ``client``) and watch it and its descendants."""
        log = self._folder / f"{role}-{len(self._participants)}.log"
        with log.open("wb") as file:
            process = subprocess.Popen(
                command, env=os.environ | environment, stdin=subprocess.DEVNULL, stdout=file, stderr=file
            )
        self._participants.append(_Participant(role, process, log, Usage()))
        return process

    def wait_for(self, path: Path, timeout: float) -> None:
        """Wait until a file is there.

        Raises:
            MeasurementError: a process ended before, or the time is over; with the ends of the logs.
        """
        deadline = time.monotonic() + timeout
        while not path.exists():
            ended = [participant.log for participant in self._participants if participant.process.poll() is not None]
            if path.exists():
                return
            if ended or time.monotonic() > deadline:
                why = "a process ended early" if ended else f"no result within {timeout:.0f} s"
                raise MeasurementError(f"{why}\n{self._log_tails(ended)}")
            time.sleep(0.05)

    def wait_for_all(self, timeout: float) -> None:
        """Wait until every process has ended by itself; those that have not are ended later."""
        deadline = time.monotonic() + timeout
        for participant in self._participants:
            with contextlib.suppress(subprocess.TimeoutExpired):
                participant.process.wait(max(0.0, deadline - time.monotonic()))

    def said(self, role: str) -> str:
        """Return the ends of a role's logs."""
        return self._log_tails([participant.log for participant in self._participants if participant.role == role])

    def _log_tails(self, logs: Sequence[Path]) -> str:
        paths = logs or [participant.log for participant in self._participants[:2]]
        return "\n".join(f"{path.name}:\n{path.read_text(errors='replace')[-_LOG_TAIL:]}" for path in paths)

    def usage(self, role: str) -> Usage:
        """Return what a role used: of several participants the largest memory, and all that they wrote."""
        found = [participant.usage for participant in self._participants if participant.role == role]
        largest: dict[str, int] = {}
        for usage in found:
            for name, size in usage.largest.items():
                largest[name] = max(size, largest.get(name, 0))
        written = {pid: size for usage in found for pid, size in usage.written.items()}
        return Usage(max(usage.memory for usage in found), largest, written)

    def _sample_until_stopped(self) -> None:
        while not self._stopped.wait(_INTERVAL):
            parents = dict(_parents())
            for participant in list(self._participants):
                _sample(participant.usage, _with_descendants(participant.process.pid, parents))


def _sample(usage: Usage, pids: Sequence[int]) -> None:
    total = 0
    for pid in pids:
        # It may end at any moment, and a defunct process has no memory.
        with contextlib.suppress(OSError, KeyError, IndexError):
            status = _fields(pid, "status")
            peak = int(status["VmHWM"].split()[0]) * 1024
            total += peak
            name = _name(pid)
            usage.largest[name] = max(peak, usage.largest.get(name, 0))
            usage.written[pid] = int(_fields(pid, "io")["write_bytes"])
    usage.memory = max(usage.memory, total)


def _fields(pid: int, name: str) -> dict[str, str]:
    lines = Path(f"/proc/{pid}/{name}").read_text(encoding="ascii", errors="replace").splitlines()
    return {key: value.strip() for key, _, value in (line.partition(":") for line in lines)}


def _name(pid: int) -> str:
    """Return the script or module that a process runs, such as ``flower-superlink`` or ``worker``."""
    arguments = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\x00")
    return arguments[2].rpartition(".")[2] if arguments[1] == "-m" else Path(arguments[1]).name


def _parents() -> Iterator[tuple[int, int]]:
    """Yield each process and its parent."""
    for folder in Path("/proc").iterdir():
        if folder.name.isdecimal():
            with contextlib.suppress(OSError):
                status = (folder / "stat").read_text(encoding="ascii", errors="replace")
                yield int(folder.name), int(status.rpartition(")")[2].split()[1])


def _with_descendants(root: int, parents: dict[int, int]) -> list[int]:
    found = [root]
    for pid in found:
        found += [child for child, parent in parents.items() if parent == pid]
    return found


def _end_orphans() -> None:
    """End every descendant of this process; those that started others while we looked are met in the next turn."""
    deadline = time.monotonic() + _GRACE
    while time.monotonic() < deadline:
        _, *descendants = _with_descendants(os.getpid(), dict(_parents()))
        if not descendants:
            return
        for pid in descendants:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        time.sleep(0.05)
