"""Runs the Google Drive emulator for one run, in a separate process that always ends with the run."""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from contextlib import closing
from http.client import HTTPConnection
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

from syft_flwr.config.search import FIELDS
from syft_flwr.emulators import gdrive
from syft_flwr.errors import RunError
from syft_flwr.fl_orchestrator.import_path import without_current_folder
from syft_flwr.forks import close_in_children
from syft_flwr.private_files import make_private_folder
from syft_flwr.simulation.log_file import open_log
from syft_flwr.simulation.stand_in import Usage
from syft_flwr.transport._gdrive.streams.poller import DELAY

#: Seconds to wait for the counters of the emulator, and for its end.
_PATIENCE = 5.0
#: Poll interval in seconds. The emulator can be polled more often than Google.
_POLL_INTERVAL = 0.5


class LocalDrive:
    """A running emulator.

    Args:
        emails: the emails of its accounts.
        folder: a private folder of the run; the tokens are written to ``tokens`` in it.
        logs: the folder for its error log ``drive.log``.
        latency: the latency of its calls, ``none`` or ``real``.

    Raises:
        RunError: the emulator cannot be started.
    """

    def __init__(self, emails: Sequence[str], folder: Path, logs: Path, *, latency: str = "none") -> None:
        tokens = folder / "tokens"
        make_private_folder(tokens)
        users = [argument for email in dict.fromkeys(emails) for argument in ("--user", email)]
        command = [
            sys.executable,
            "-P",
            "-m",
            gdrive.__name__,
            "--port",
            "0",
            "--tokens",
            str(tokens),
            *users,
        ]
        log = logs / "drive.log"
        with open_log(log) as errors:
            self._process = subprocess.Popen(
                # The emulator ends when its standard input closes, thus also after a kill of this process.
                [*command, "--latency", latency, "--until-stdin-closes"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                start_new_session=True,
                env=without_current_folder(os.environ),
            )
        close_in_children(self)
        line = self._process.stdout.readline() if self._process.stdout else b""
        if not line:
            self.close()
            raise RunError("the Google Drive emulator cannot be started", hint=f"Read its log: {log}.")
        ready: dict[str, Any] = json.loads(line)
        self.url, self._tokens = ready["url"], ready["tokens"]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    @property
    def delay(self) -> float:
        return DELAY * _POLL_INTERVAL

    def environment(self, email: str) -> dict[str, str]:
        """Return the environment variables with which a participant uses this emulator."""
        return {
            FIELDS["email"].environment: email,
            FIELDS["poll_interval"].environment: str(_POLL_INTERVAL),
            FIELDS["gdrive_api"].environment: self.url,
            FIELDS["gdrive_token_path"].environment: self._tokens[email],
        }

    def usage(self) -> list[Usage]:
        """Return the use of each account up to now."""
        address = urlsplit(self.url)
        with closing(HTTPConnection(str(address.hostname), address.port, timeout=_PATIENCE)) as connection:
            connection.request("GET", "/emulator/meters")
            meters: dict[str, dict[str, Any]] = json.load(connection.getresponse())
        return [
            Usage(
                email=email,
                calls=sum(meter["calls"].values()),
                requests=meter["http"],
                units=meter["units"],
                bytes_up=meter["bytes_up"],
                bytes_down=meter["bytes_down"],
            )
            for email, meter in meters.items()
        ]

    def close_in_child(self) -> None:
        """Close the pipes of the emulator, also in a forked child: it ends with this process."""
        for stream in (self._process.stdin, self._process.stdout):
            if stream:
                stream.close()

    def close(self) -> None:
        """End the emulator. A second call does nothing."""
        self.close_in_child()
        try:
            self._process.wait(_PATIENCE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
