"""Starts the processes of the participants, each in its own session, and ends them together."""

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
from syft_flwr.forks import close_in_children, close_now
from syft_flwr.simulation.federation import Seat
from syft_flwr.simulation.log_file import open_log
from syft_flwr.text import signal_name

#: Seconds between SIGTERM and SIGKILL for a participant. A client needs up to eight to end its worker.
_GRACE = 10.0
#: Seconds between two checks of the processes.
TICK = 0.05


class Process:
    """The process of one participant, with its exit code."""

    def __init__(self, seat: Seat, process: "subprocess.Popen[bytes]") -> None:
        self.seat = seat
        #: None while the process runs; a negative number is the signal that ended it.
        self.exit_code: int | None = None
        #: The supervisor ended it, so its exit code is not a failure.
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
        """Return the exit code or the name of the signal; empty while the process runs."""
        if self.exit_code is None:
            return ""
        return str(self.exit_code) if self.exit_code >= 0 else signal_name(-self.exit_code)

    @property
    def seconds(self) -> float:
        return (self._ended or time.monotonic()) - self._started

    def poll(self) -> None:
        """Record whether the process has ended; if so, kill the other processes of its group."""
        if self.exit_code is None and (code := self._process.poll()) is not None:
            self.exit_code, self._ended = code, time.monotonic()
            self._signal(signal.SIGKILL)

    def end(self, number: signal.Signals) -> None:
        """Send a signal to the process group, if the process still runs."""
        self.poll()
        if self.exit_code is None:
            self.stopped = True
            self._signal(number)

    def _signal(self, number: signal.Signals) -> None:
        # macOS reports "not permitted" for a group that contains only zombies.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, number)


class Processes:
    """All processes of a run. The end of the ``with`` block ends them all."""

    def __init__(self) -> None:
        self._all: list[Process] = []
        self._reader, self._lifeline = os.pipe()
        close_in_children(self)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.end(lambda: False)
        self.close_in_child()

    def close_in_child(self) -> None:
        """Close the lifeline, also in a forked child: the participants must see the end of this process."""
        self._lifeline, self._reader = close_now(self._lifeline), close_now(self._reader)

    def start(self, seat: Seat, project_dir: Path, environ: Mapping[str, str], log: Path) -> Process:
        """Start one participant in the current folder, with its output in the file ``log``.

        Raises:
            RunError: the system cannot start it.
            ConfigError: another program wrote a file in the place of the log.
        """
        command = [sys.executable, "-P", "-m", f"{__package__}.seat_process"]
        try:
            with open_log(log) as file:
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
            raise RunError(
                f"{seat.label} cannot be started: {error}",
                hint="Free memory and disk space, then start the run again.",
            ) from error
        started = Process(seat, process)
        self._all.append(started)
        return started

    def poll(self) -> None:
        for process in self._all:
            process.poll()

    def end(self, hurry: Callable[[], bool]) -> None:
        """End all processes: SIGTERM first, then SIGKILL after some seconds, or as soon as ``hurry`` returns True."""
        deadline = time.monotonic() + _GRACE
        for process in self._all:
            process.end(signal.SIGTERM)
        while any(process.runs for process in self._all):
            if hurry() or time.monotonic() > deadline:
                for process in self._all:
                    process.end(signal.SIGKILL)
            time.sleep(TICK)
            self.poll()
