"""Start the processes of one measurement, sample their memory, and end all of them.

The memory of a process is the kernel's high-water mark (``VmHWM``), read four times a second. The memory of a
participant is the sum over its processes that live at the same time. This sum is an upper bound: shared memory is
counted in each process, and the peaks may be at different times.
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
    """A measurement gave no result."""


@dataclass(slots=True)
class Usage:
    """Memory and written bytes of one participant's processes."""

    #: Peak memory in bytes, summed over the processes that live at the same time.
    memory: int = 0
    #: Peak memory in bytes of the largest process, by program name.
    largest: dict[str, int] = field(default_factory=dict)
    #: Bytes written to storage, by process id.
    written: dict[int, int] = field(default_factory=dict)


@dataclass(slots=True)
class _Participant:
    role: str
    process: "subprocess.Popen[bytes]"
    log: Path
    usage: Usage


class Processes:
    """Starts the processes of one measurement. At the end of the context it ends them and all their descendants.

    Args:
        folder: folder for the logs.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._participants: list[_Participant] = []
        self._stopped = threading.Event()
        self._sampler = threading.Thread(target=self._sample_until_stopped, daemon=True)
        # A process that outlives its parent becomes a child of this one, which can then end it.
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
        """Start a process in a role (``server`` or ``client``), and sample it and its descendants."""
        log = self._folder / f"{role}-{len(self._participants)}.log"
        with log.open("wb") as file:
            process = subprocess.Popen(
                command, env=os.environ | environment, stdin=subprocess.DEVNULL, stdout=file, stderr=file
            )
        self._participants.append(_Participant(role, process, log, Usage()))
        return process

    def wait_for(self, path: Path, timeout: float) -> None:
        """Wait until a file exists.

        Raises:
            MeasurementError: a process ended before that, or ``timeout`` seconds are over. The text has the end of the
                logs.
        """
        deadline = time.monotonic() + timeout
        while not path.exists():
            ended = [participant.log for participant in self._participants if participant.process.poll() is not None]
            if path.exists():
                return
            if ended or time.monotonic() > deadline:
                why = (
                    "a process ended early; its log ends with"
                    if ended
                    else f"no result within {timeout:.0f} s; the logs end with"
                )
                raise MeasurementError(f"{why}\n{self._log_tails(ended)}")
            time.sleep(0.05)

    def wait_for_all(self, timeout: float) -> None:
        """Wait until every process has ended, but at most ``timeout`` seconds; the rest is ended with the context."""
        deadline = time.monotonic() + timeout
        for participant in self._participants:
            with contextlib.suppress(subprocess.TimeoutExpired):
                participant.process.wait(max(0.0, deadline - time.monotonic()))

    def said(self, role: str) -> str:
        """Return the last part of each log of a role."""
        return self._log_tails([participant.log for participant in self._participants if participant.role == role])

    def _log_tails(self, logs: Sequence[Path]) -> str:
        paths = logs or [participant.log for participant in self._participants[:2]]
        return "\n".join(f"{path.name}:\n{path.read_text(errors='replace')[-_LOG_TAIL:]}" for path in paths)

    def usage(self, role: str) -> Usage:
        """Return the usage of a role: the largest memory of a participant, and the written bytes of all of them."""
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
        # The process may end at any moment, and a defunct process has no memory.
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
    """Yield the id of each process and the id of its parent."""
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
    """Kill every descendant of this process; repeat until none is found, because they may start new ones."""
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
