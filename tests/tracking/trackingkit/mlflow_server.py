"""A real MLflow server on this machine, as a process that a test can kill and start again."""

import os
import signal
import socket
import subprocess
import sys
import urllib.request
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from waiting import eventually

#: Seconds for a busy machine. An idle one needs five.
_START_TIMEOUT = 240.0


class MlflowServer:
    """Serves a database in a folder. It starts on entry, and again with :meth:`start` on the same port.

    Args:
        folder: the folder of its database and its log.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = int(free.getsockname()[1])
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def uri(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.kill()

    def start(self) -> None:
        """Start the server, and wait until it answers."""
        command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(self.port)]
        command += ["--backend-store-uri", f"sqlite:///{self._folder}/mlflow.db", "--workers", "1"]
        command += ["--default-artifact-root", str(self._folder / "artifacts")]
        # Its own children must not belong to the test that happens to be the first.
        environ = {name: value for name, value in os.environ.items() if name != "STARTED_BY_TEST"}
        environ |= {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
        environ |= {"HOME": str(self._folder)}
        with (self._folder / "server.log").open("ab") as log:
            self._process = subprocess.Popen(
                command, env=environ, cwd=self._folder, stdout=log, stderr=log, start_new_session=True
            )
        try:
            eventually(self._answers, "the MLflow server answers", _START_TIMEOUT)
        except BaseException:
            self.kill()
            raise

    def kill(self) -> None:
        """Kill the server with all its processes."""
        if self._process:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()

    def _answers(self) -> bool:
        assert self._process
        assert self._process.poll() is None, (self._folder / "server.log").read_text()
        try:
            with urllib.request.urlopen(f"{self.uri}/health", timeout=5) as reply:
                return bool(reply.status == 200)
        except OSError:
            return False
