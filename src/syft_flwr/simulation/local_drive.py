"""A Google Drive for one run: the emulator, in a process of its own that ends with the run, however that ends."""

import json
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
from syft_flwr.simulation.stand_in import Usage
from syft_flwr.transport._gdrive.streams.poller import DELAY

#: Seconds to wait for its counters.
_PATIENCE = 5.0
#: Seconds; a drive on this machine may be asked more often than Google's.
_POLL_INTERVAL = 0.5


class LocalDrive:
    """A running emulator.

    Args:
        emails: its accounts.
        folder: a private folder of the run; the tokens go to ``tokens`` there.
        logs: its errors go to ``drive.log`` there.
        latency: how long its calls take, ``none`` or ``real``.

    Raises:
        RunError: it cannot be started.
    """

    def __init__(self, emails: Sequence[str], folder: Path, logs: Path, *, latency: str = "none") -> None:
        tokens = folder / "tokens"
        tokens.mkdir(mode=0o700, parents=True, exist_ok=True)
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
        with log.open("wb") as errors:
            self._process = subprocess.Popen(
                # It ends when its standard input does: with this process, however that ends.
                [*command, "--latency", latency, "--until-stdin-closes"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                start_new_session=True,
            )
        line = self._process.stdout.readline() if self._process.stdout else b""
        if not line:
            self.close()
            raise RunError("the Google Drive emulator cannot be started", hint=f"Its log says why: {log}.")
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
        """Return what makes a participant use this drive."""
        return {
            FIELDS["email"].environment: email,
            FIELDS["poll_interval"].environment: str(_POLL_INTERVAL),
            FIELDS["gdrive_api"].environment: self.url,
            FIELDS["gdrive_token_path"].environment: self._tokens[email],
        }

    def usage(self) -> list[Usage]:
        """Return what each account used up to now."""
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

    def close(self) -> None:
        """End it. A second call does nothing."""
        for stream in (self._process.stdin, self._process.stdout):
            if stream:
                stream.close()
        try:
            self._process.wait(_PATIENCE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
