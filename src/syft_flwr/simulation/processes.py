"""The participants' processes: each the leader of a session of its own, all of them ended together."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from syft_flwr.errors import RunError
from syft_flwr.simulation.federation import Seat

#: Seconds between asking a participant to end and ending it. A client needs up to four to end its worker.
_GRACE = 5.0
#: Seconds between two looks at the processes.
TICK = 0.05


class Process:
    """One participant's process and how it ended."""

    def __init__(self, seat: Seat, process: "subprocess.Popen[bytes]") -> None:
        self.seat = seat
        #: None while it runs; below 0 it is the signal that ended it.
        self.exit_code: int | None = None
        #: We ended it, so its exit code tells nothing about it.
        self.stopped = False
        self._process = process
        self._started = time.monotonic()
        self._ended: float | None = None

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def runs(self) -> bool:
        return self.exit_code is None

    @property
    def failed(self) -> bool:
        return bool(self.exit_code) and not self.stopped

    @property
    def how_it_ended(self) -> str:
        """The exit code, or the name of the signal; empty while it runs."""
        if self.exit_code is None:
            return ""
        return str(self.exit_code) if self.exit_code >= 0 else signal.Signals(-self.exit_code).name

    @property
    def seconds(self) -> float:
        return (self._ended or time.monotonic()) - self._started

    def poll(self) -> None:
        """Note whether it has ended; what it left in its group goes too."""
        if self.exit_code is None and (code := self._process.poll()) is not None:
            self.exit_code, self._ended = code, time.monotonic()
            self._signal(signal.SIGKILL)

    def end(self, number: signal.Signals) -> None:
        """Send a signal to the process and all that it started in its group."""
        self.poll()
        if self.exit_code is None:
            self.stopped = True
            self._signal(number)

    def _signal(self, number: signal.Signals) -> None:
        # macOS says "not permitted" of a group of which only zombies are left.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, number)


class Processes:
    """All processes of a run. On leaving, none of them is left."""

    def __init__(self) -> None:
        self._all: list[Process] = []
        self._reader, self._lifeline = os.pipe()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.end(lambda: False)
        os.close(self._lifeline)
        os.close(self._reader)

    def start(self, seat: Seat, project_dir: Path, environ: Mapping[str, str], log: Path) -> Process:
        """Start one participant, in the current folder; what it prints goes to ``log``.

        Raises:
            RunError: the system cannot start it.
        """
        command = [sys.executable, "-P", "-m", f"{__package__}.seat_process"]
        try:
            with log.open("wb") as file:
                process = subprocess.Popen(
                    [*command, str(self._reader), seat.role, str(project_dir)],
                    env=environ,
                    stdin=subprocess.DEVNULL,
                    stdout=file,
                    stderr=subprocess.STDOUT,
                    pass_fds=(self._reader,),
                    start_new_session=True,
                )
        except OSError as error:
            raise RunError(f"{seat.label} cannot be started: {error}") from error
        started = Process(seat, process)
        self._all.append(started)
        return started

    def poll(self) -> None:
        for process in self._all:
            process.poll()

    def end(self, hurry: Callable[[], bool]) -> None:
        """End all that still run: asked first, and killed after a few seconds or as soon as ``hurry`` says so."""
        deadline = time.monotonic() + _GRACE
        for process in self._all:
            process.end(signal.SIGTERM)
        while any(process.runs for process in self._all):
            if hurry() or time.monotonic() > deadline:
                for process in self._all:
                    process.end(signal.SIGKILL)
            time.sleep(TICK)
            self.poll()
