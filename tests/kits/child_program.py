"""A program as a child process with a log: a test can stop, kill, pause and start it again.

The kernel kills the program if the thread that started it ends without a clean-up, for instance with the test process.
"""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

_GRACE = 10.0
#: Asks the kernel for SIGKILL at the end of the parent (``PR_SET_PDEATHSIG``), then becomes the program.
_LAUNCHER = "import ctypes, os, sys; ctypes.CDLL(None).prctl(1, 9, 0, 0, 0); os.execv(sys.argv[1], sys.argv[1:])"


class ChildProgram:
    """A program that a test can start many times, one process at a time. Its log grows over all of them.

    Args:
        command: the program with its arguments.
        folder: the working folder; made if missing.
        environment: replaces the environment of this process.
    """

    def __init__(self, command: Sequence[str], folder: Path, log: Path, environment: Mapping[str, str]) -> None:
        self.command = list(command)
        self.folder = folder
        self.log = log
        self.environment = dict(environment)
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def exit_code(self) -> int | None:
        """Return the exit code of the latest process; None if it runs or if the program was never started."""
        return self._process.poll() if self._process else None

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        assert not self.is_running, f"{self.log.stem} runs already"
        self.folder.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-I", "-S", "-c", _LAUNCHER, *self.command]
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                command,
                cwd=self.folder,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                # A group of its own, so that a signal also reaches the processes that the program starts.
                start_new_session=True,
            )

    def pause(self) -> None:
        """Let the program stand still, as a machine that sleeps."""
        self._send(signal.SIGSTOP)

    def resume(self) -> None:
        self._send(signal.SIGCONT)

    def kill(self) -> None:
        """End the program with SIGKILL, and wait for its end."""
        self._send(signal.SIGKILL)
        if self._process:
            self._process.wait()

    def stop(self) -> None:
        """End the program with SIGTERM, or with SIGKILL if it takes too long."""
        self._send(signal.SIGCONT)
        self._send(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            if self._process:
                self._process.wait(_GRACE)
        # Also the processes that it started.
        self.kill()

    def tail(self, size: int = 3_000) -> str:
        """Return the end of the log."""
        return self.log.read_text(errors="replace")[-size:] if self.log.exists() else ""

    def _send(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError):
            if self._process:
                os.killpg(self._process.pid, number)
